"""LitServe's own test suite, with every LitAPI cached."""
