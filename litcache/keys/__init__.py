"""An item and its context into 16 bytes."""
