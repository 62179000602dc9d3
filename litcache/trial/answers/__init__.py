"""Answers frozen, so that nobody can change them, and compared."""
