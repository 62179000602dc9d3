"""Runnable examples: `python -m examples.text_embeddings` in the repository's folder."""
