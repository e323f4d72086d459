"""Invented databases and their change streams: the messages of a Debezium connector, without a connector.

For tests, benchmarks and the demo. The bytes have the shape of a real connector's (`tests/corpus`); no person in them
exists.
"""
