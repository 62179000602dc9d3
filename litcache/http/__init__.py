"""The HTTP tier: whole responses."""
