"""What litcache knows of LitServe's LitAPI."""
