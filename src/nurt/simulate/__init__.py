"""Invented databases and their change streams: what a Debezium connector would write, without one.

For tests, benchmarks and the demo. The bytes have the shape of a real connector's (`tests/corpus`); nobody in them
exists.
"""
