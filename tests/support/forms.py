"""Which values have one canonical form."""

from litcache.keys.encoder import canonical


def collisions(values, digest="blake"):
    """Pairs of values, of which every one should differ from every other, that share a form."""
    seen, found = {}, []
    for value in values:
        other = seen.setdefault(canonical(value, digest), value)
        if other is not value:
            found.append((other, value))
    return found
