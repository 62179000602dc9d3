"""A LitServe loop that answers hits before a batch is formed."""
