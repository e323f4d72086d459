"""Real processes that are killed, and servers that forget."""
