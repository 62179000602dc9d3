"""Keys: 16 bytes of an item and its context."""
