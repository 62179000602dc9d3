"""Counters, the files that processes share them in, and the log."""
