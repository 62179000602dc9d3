"""A store in Redis, Valkey or a cluster."""
