"""Avro, columnar: compile a schema once to a small program, then run it over a whole batch."""
