"""A fuzz of keys: equal items have one key, others have another, and no item is changed by it."""

from __future__ import annotations

import collections
import random
from typing import Any

import litserve as ls

from fuzz.facts import describe
from fuzz.leaves import BUILTINS, LEAVES, NAMES, another_layout
from litcache import cached_predict
from litcache.errors import KeyEncodingError

Spec = tuple[Any, ...]
"""A leaf's number, or a container's kind and its parts: unequal specs are unequal items."""

KINDS = ("list", "tuple", "dict", "ordered", "set", "frozenset")


def _api(digest: str) -> Any:
    class Keys(ls.LitAPI):
        @cached_predict(digest=digest, version="1", namespace="keys")
        def predict(self, x):
            return x

    return Keys()


APIS = [_api("blake"), _api("sha256")]


def key(item: Any, number: int = 0) -> bytes | None:
    """Return the key of an item; `None` if it has none."""
    try:
        return APIS[number].predict.cache.key(item)  # type: ignore[no-any-return]
    except KeyEncodingError:
        return None


def check(seed: int) -> int:
    """Draw an item, an equal one and one that differs slightly, and compare their keys.

    Args:
        seed: What they follow from.

    Returns:
        How many keys were compared.

    Raises:
        AssertionError: If a key is wrong, or an item changed.
    """
    rng = random.Random(seed)
    spec = draw(rng, depth=rng.choice((0, 1, 2, 3)))
    other = mutate(spec, rng)
    number = rng.randrange(len(APIS))
    state = rng.getstate()
    item = build(spec, rng)
    rng.setstate(state)
    twin, again, differs = build(spec, rng), build(spec, rng), build(other, rng)
    first = key(item, number)
    assert first is not None, f"seed {seed}: {item!r:.500} has no key"
    assert first == key(item, number), f"seed {seed}: {item!r:.500} has two keys"
    assert first == key(again, number), f"seed {seed}: {item!r:.500} has two keys"
    assert describe(item) == describe(twin), f"seed {seed}: keying changed {item!r:.500}"
    assert spec == other or first != key(differs, number), (
        f"seed {seed}: {item!r:.500} and {differs!r:.500} share a key"
    )
    return 2


def draw(rng: random.Random, depth: int) -> Spec:
    """Return a random item."""
    if not depth:
        return ("leaf", rng.randrange(len(LEAVES)))
    kind = rng.choice(KINDS)
    count = rng.choice((0, 1, 1, 2, 3))
    if kind in ("set", "frozenset"):
        return kind, tuple(sorted(rng.sample(NAMES, count)))
    if kind in ("dict", "ordered"):
        keys = rng.sample(NAMES, count)
        pairs = tuple((place, draw(rng, depth - 1)) for place in keys)
        return kind, tuple(sorted(pairs)) if kind == "dict" else pairs
    return kind, tuple(draw(rng, depth - 1) for _ in range(count))


def build(spec: Spec, rng: random.Random) -> Any:
    """Return the item of a spec, another object each time, in any order and memory layout."""
    kind, parts = spec
    if kind == "leaf":
        return another_layout(LEAVES[parts](), rng)
    if kind in ("set", "frozenset"):
        members = [BUILTINS[place]() for place in parts]
        rng.shuffle(members)
        return set(members) if kind == "set" else frozenset(members)
    if kind in ("dict", "ordered"):
        pairs = [(BUILTINS[place](), build(part, rng)) for place, part in parts]
        if kind == "ordered":
            return collections.OrderedDict(pairs)
        rng.shuffle(pairs)
        return dict(pairs)
    built = [build(part, rng) for part in parts]
    return built if kind == "list" else tuple(built)


def mutate(spec: Spec, rng: random.Random) -> Spec:
    """Return a spec that differs in one place."""
    kind, parts = spec
    ways = [_wrap]
    if kind == "leaf":
        ways += [_other_leaf] * 3
    else:
        ways.append(_other_kind)
        if parts and kind in ("list", "tuple"):
            ways += [_inside, _inside, _one_less, _swap, _flatten]
        if parts and kind in ("dict", "ordered"):
            ways += [_inside_value, _inside_value, _one_less]
        if parts and kind in ("set", "frozenset"):
            ways.append(_one_less)
    return rng.choice(ways)(spec, rng)


def _wrap(spec: Spec, rng: random.Random) -> Spec:
    return rng.choice(("list", "tuple")), (spec,)


def _other_leaf(spec: Spec, rng: random.Random) -> Spec:
    return "leaf", rng.randrange(len(LEAVES))


def _other_kind(spec: Spec, rng: random.Random) -> Spec:
    kin = (("list", "tuple"), ("set", "frozenset"), ("dict", "ordered"))
    pair = next(pair for pair in kin if spec[0] in pair)
    return pair[1 - pair.index(spec[0])], spec[1]


def _inside(spec: Spec, rng: random.Random) -> Spec:
    place = rng.randrange(len(spec[1]))
    changed = mutate(spec[1][place], rng)
    return spec[0], (*spec[1][:place], changed, *spec[1][place + 1 :])


def _inside_value(spec: Spec, rng: random.Random) -> Spec:
    place = rng.randrange(len(spec[1]))
    name, part = spec[1][place]
    return spec[0], (*spec[1][:place], (name, mutate(part, rng)), *spec[1][place + 1 :])


def _one_less(spec: Spec, rng: random.Random) -> Spec:
    place = rng.randrange(len(spec[1]))
    return spec[0], spec[1][:place] + spec[1][place + 1 :]


def _swap(spec: Spec, rng: random.Random) -> Spec:
    return spec[0], spec[1][::-1]


def _flatten(spec: Spec, rng: random.Random) -> Spec:
    """Move the parts of the first part, if it has some, one level up."""
    first, *rest = spec[1]
    if first[0] not in ("list", "tuple"):
        return _one_less(spec, rng)
    return spec[0], (*first[1], *rest)
