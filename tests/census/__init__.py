"""A zoo of services, each run beside its twin without a cache: what the cache makes of each."""
