"""Traffic of which nothing comes again, for the admission of a cache."""

import random

from litcache.engine.admission import ROUND
from litcache.stores import NewEntry

ENTRY = NewEntry(b"", b"payload")
BATCH = 64


def keys(generator, count=BATCH):
    return [generator.randbytes(16) for _ in range(count)]


def missed(admission, asked, wanted=()):
    """Let keys miss; return those whose entries are stored."""
    kept = admission.choose(dict.fromkeys(asked, ENTRY), wanted)
    if admission.is_due:
        admission.look()
    return kept


def flood(admission, generator, misses):
    """Let keys miss that are asked for once; return how many are stored."""
    return sum(len(missed(admission, keys(generator))) for _ in range(0, misses, BATCH))


def until_refusing(admission, misses=20 * ROUND):
    generator = random.Random(7)
    while not admission.is_refusing:
        assert misses > 0, "it does not refuse"
        misses -= BATCH
        flood(admission, generator, BATCH)
    return generator
