"""Kafka: one worker's part of topics as a log, and what nurt publishes.

`log` assigns, reads and commits, by `drain` (columns straight out of librdkafka) or `messages` (by the library);
`outage` waits for brokers, `topics` lists and creates topics, `partitioning` says where their keys lie, `settings` how
Kafka is reached. `profile_sink` and
`stock_sink` publish in fenced transactions; `control_log` is the control topic; `published_back` reads published
messages back, `requeue` puts messages from quarantine on their topics; `schema_registry` speaks Confluent's protocol.

What may come in: all code that imports confluent_kafka.
"""
