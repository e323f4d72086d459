"""A simulated Debezium connector: row operations in, messages in a connector's form out.

`database` holds committed rows; `debezium` simulates the connector with `envelope`, `columns` and `schemas`; `messages`
is its output port, `targets` an archive or Kafka; `corpus` are genuine messages beside the simulated ones.
"""
