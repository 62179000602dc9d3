"""A differential fuzz: random APIs, each beside its twin without the decorator."""
