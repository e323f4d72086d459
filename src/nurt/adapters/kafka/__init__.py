"""Kafka: one worker's share of topics as a log, and what nurt publishes.

`log` assigns, reads and commits, by `drain` (columns straight out of librdkafka) or `messages` (the library's own
way); `outage` waits, `topics` lists and makes, `settings` says how it is reached. `profile_sink` and `stock_sink`
publish in fenced transactions; `control_log` is the control topic; `published_back`
reads what a topic was told, `requeue` puts messages from quarantine on theirs; `schema_registry` speaks Confluent's
protocol.

What may come in: whatever imports confluent_kafka.
"""
