"""The look at the source of services that others wrote for another purpose: is it right of them?"""

# ruff: noqa: E402 - without these packages the module skips before it imports them

import pytest

for package in ("torch", "pandas", "PIL"):
    pytest.importorskip(package)

import census.shapes  # noqa: F401 - puts the services into the zoo
from census.shape import SHAPES

from litcache.trial.source.look import look

# Its author's services, which a cache serves well, and what is found in them nevertheless.
UNWANTED = {
    "OcrFiles": "files that never change",
    "EmbedThreads": "a counter that stands for float noise",
}


def test_nine_of_ten_findings_in_the_zoo_are_of_services_that_a_cache_makes_wrong():
    findings = [(shape, look(shape.api, [shape.method])) for shape in SHAPES]
    of_good = {s.name: len(f) for s, f in findings if f and s.expected == "cache"}
    assert of_good.keys() <= UNWANTED.keys()
    count = sum(len(found) for _, found in findings)
    assert count >= 40
    assert sum(of_good.values()) <= 0.1 * count


def test_most_services_of_the_zoo_that_keep_something_on_self_are_found():
    on_self = [s for s in SHAPES if s.expected == "never" and "on `self`" in s.shows]
    found = [s for s in on_self if any(f.cause == "state" for f in look(s.api, [s.method]))]
    assert len(on_self) >= 15
    assert len(found) >= 0.9 * len(on_self)
