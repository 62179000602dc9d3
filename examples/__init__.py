"""Runnable examples: `python -m examples.text_embeddings.server` in the repository's folder."""
