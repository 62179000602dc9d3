"""The trial: the cache proves itself on a service, or says why it will not."""
