"""The engine: look up, compute, store; it never calls LitServe."""
