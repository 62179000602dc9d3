"""The page of the docs that shows what becomes of each service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from census import language
from census.before import BEFORE
from census.language import REQUESTS, Row
from census.zoo import Found

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
_MARKED = r"(<!-- {}:[^>]*-->\n).*?(<!-- end -->)"
_HEAD = ("kind", "what it shows", "bare, 0.4.0", "bare", "with the option", "the option")
_MEANT = {
    "cache": "Services that should be cached, right with the bare decorator",
    "option": "Services that should be cached, right with one option",
    "never": "Services that should not be cached",
}


def table(found: Sequence[Found]) -> str:
    """Return the tables of the zoo, one for each class that is expected."""
    parts = []
    for expected, title in _MEANT.items():
        rows = [each for each in found if each.shape.expected == expected]
        parts.append(f"### {title} ({len(rows)})\n\n{_rows(rows)}")
    return "\n".join([figures(found), *parts])


def _rows(found: Sequence[Found]) -> str:
    lines = [_row(_HEAD), _row(["---"] * len(_HEAD))]
    for each in found:
        shape = each.shape
        option = f"`{shape.option_text}`" if "`" not in shape.option_text else shape.option_text
        outcomes = (BEFORE[shape.name], each.bare, each.with_option or "")
        shown = ["**wrong**" if outcome == "wrong" else outcome for outcome in outcomes]
        lines.append(_row([shape.kind, shape.shows, *shown, option if shape.has_option else ""]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return ("| " + " | ".join(cells) + " |").replace("|  |", "| |").replace("|  |", "| |")


def shares(found: Sequence[Found]) -> dict[str, float]:
    """Return the figures of the zoo.

    Returns:
        How many are `wrong` now, bare or with an option, and were `wrong_before`; of those that
        should be cached, the shares that are right `bare`, were so `before`, and are right bare or
        with their `option`.
    """
    good = [each for each in found if each.shape.expected != "never"]
    return {
        "wrong": sum("wrong" in (each.bare, each.with_option) for each in found),
        "wrong_before": sum(BEFORE[each.shape.name] == "wrong" for each in found),
        "before": sum(BEFORE[each.shape.name] == "right" for each in good) / len(good),
        "bare": sum(each.bare == "right" for each in good) / len(good),
        "option": sum("right" in (each.bare, each.with_option) for each in good) / len(good),
    }


def figures(found: Sequence[Found]) -> str:
    """Return the figures of the zoo, as a table."""
    share = shares(found)
    good = sum(each.shape.expected != "never" for each in found)
    return f"""| of {len(found)} services | 0.4.0 | now |
| --- | --- | --- |
| silently wrong | {share["wrong_before"]} | {share["wrong"]} |
| of the {good} that should be cached, right with the bare decorator | {share["before"]:.0%} \
| {share["bare"]:.0%} |
| right with at most one option | | {share["option"]:.0%} |
"""


def languages(seeds: int) -> str:
    """Run the experiment with a language, and return its tables."""
    plain = language.rows(seeds, verifies=(0.0, 0.001))
    noisy = language.rows(seeds, ids=True, verifies=(0.0, 0.001))
    return f"""Requests of one text and one language are equal:

{_languages(plain)}
Each request carries an id of its own, so that none is equal to another:

{_languages(noisy)}"""


def _languages(rows: Iterable[Row]) -> str:
    head = ("in another language", "`verify`", "caching ended in", "wrong answers", "in")
    lines = [_row(head), _row(["---"] * len(head))]
    for row in rows:
        cells = (f"{row.share:.0%}", f"{row.verify:g}", f"{row.ended} of {row.seeds}")
        wrong = (f"{row.wrong} of {row.seeds * REQUESTS:,}", f"{row.wrong_seeds} of {row.seeds}")
        lines.append(_row([*cells, *wrong]))
    return "\n".join(lines) + "\n"


def put(name: str, text: str) -> str:
    """Return the page with a text between the markers of a name."""
    pattern = re.compile(_MARKED.format(name), re.DOTALL)
    page, count = pattern.subn(lambda match: match[1] + text + match[2], PAGE.read_text())
    assert count == 1, f"{PAGE.name} has no place named {name}"
    return page
