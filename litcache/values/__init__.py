"""Outputs to entries, and back."""
