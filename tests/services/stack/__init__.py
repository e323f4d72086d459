"""Real services without a container engine: each is a context manager that tests and benchmarks both use."""
