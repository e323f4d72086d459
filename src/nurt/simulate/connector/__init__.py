"""A simulated Debezium connector: row operations in, messages as a connector writes them out.

`database` holds committed rows; `debezium` plays the connector with `envelope`, `columns` and `schemas`; `messages`
is where it writes, `targets` an archive or Kafka; `corpus` are genuine messages to play beside.
"""
