"""The look at the source of a class: what passes the cache, without running anything of it."""
