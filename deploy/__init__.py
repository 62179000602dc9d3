"""A service with two workers, Valkey, Prometheus and Grafana: see docs/operations.md."""
