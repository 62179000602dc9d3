"""Testing a cached LitAPI, and stores, without a server."""
