"""The caching toolkit for LitServe."""

__version__ = "0.1.0"
