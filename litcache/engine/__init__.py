"""The engine: look up, have the misses computed, store. It never calls LitServe or the model."""
