"""A server with everything on, under faults that a seed draws; `make soak`."""
