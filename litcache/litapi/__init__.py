"""The decorator, and everything that litcache knows about LitServe's `LitAPI`."""
