"""The outside world: Redis, Kafka, registries, archives, analytics stores."""
