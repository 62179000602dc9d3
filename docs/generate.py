"""Writes the tables of kinds into the pages, between their markers.

python docs/generate.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import kinds
from kinds import Kind

DOCS = Path(__file__).parent
_HEADS = {
    ("items", "cached"): ("an item", "what of it counts"),
    ("items", "uncached"): ("no key has", "give instead"),
    ("outputs", "cached"): ("an output", "how it comes back"),
    ("outputs", "uncached"): ("not stored is", "return instead"),
    ("methods", "refused"): ("a method", "what to do"),
}
_MARKED = re.compile(r"(<!-- (\w+) that are (\w+):[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """Return a page with the tables that its markers name."""
    return _MARKED.sub(lambda match: match[1] + _table(match[2], match[3]) + match[4], text)


def _table(name: str, verdict: str) -> str:
    rows: Sequence[Kind] = getattr(kinds, name.upper())
    lines = ["| {} | {} |".format(*_HEADS[name, verdict]), "| --- | --- |"]
    for kind in rows:
        if kind.verdict == verdict:
            instead = kind.remedy if verdict == "refused" or not kind.remedy else f"`{kind.remedy}`"
            lines.append(f"| {kind.what} | {kind.note or instead} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all pages anew."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text()
        new = page(text)
        if new != text:
            path.write_text(new)
            print(f"{path.name}: written anew")  # noqa: T201 - what a person is told


if __name__ == "__main__":
    main()
