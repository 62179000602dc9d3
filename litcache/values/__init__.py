"""An output into an entry, and back."""
