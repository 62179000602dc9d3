"""Pictures of the docs, drawn from results that are there: `python -m benchmarks.pictures`.

Each is drawn from the JSON of the benchmark that measures it, into docs/images/.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure  # without pyplot: no window, no global state

from benchmarks.common import RESULTS, ROOT, note

IMAGES = ROOT / "docs" / "images"
COLOURS = ("#1f9d6b", "#5b8def", "#d97706", "#9aa0a6", "#a855f7", "#dc2626", "#374151")
Tables = dict[str, list[dict[str, Any]]]


def hit_rates(tables: Tables) -> Figure:
    """Return hit rate by size, a line a policy, beside the optimum."""
    traces: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for title, rows in tables.items():
        if found := re.match(r"(\w+), (\d+)% of its items", title):
            lines = traces.setdefault(found[1], defaultdict(list))
            for row in rows:
                lines[row["name"]].append((int(found[2]), row["value"]))
    figure = Figure(figsize=(9, 3.4), dpi=140, layout="constrained")
    for place, (trace, lines) in enumerate(traces.items()):
        axes = figure.add_subplot(1, len(traces), place + 1)
        for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
            style = "--" if name == "optimum" else "-"
            axes.plot(*zip(*points, strict=True), style, color=colour, label=name,
                      linewidth=2.4 if name == "MemoryStore" else 1.3)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(shares := [point[0] for point in points], [f"{n} %" for n in shares])
        _plain(axes, trace, "size of the store, of the distinct items", "hit rate")
    figure.axes[0].legend(fontsize=7.5, frameon=False)
    return figure


def entry_bytes(tables: Tables) -> Figure:
    """Return bytes an entry and hit rates by `store_as`, as bars."""
    chosen = [title for title in tables if title.startswith(("Bytes", "Hit rate"))]
    figure = Figure(figsize=(9, 2.6), dpi=140, layout="constrained")
    for place, title in enumerate(chosen):
        axes = figure.add_subplot(1, len(chosen), place + 1)
        rows = tables[title]
        bars = axes.bar([row["name"] for row in rows], [row["value"] for row in rows],
                        color=COLOURS[: len(rows)])  # fmt: skip
        form = "{:,.0f}" if title.startswith("Bytes") else "{:.3f}"
        axes.bar_label(bars, [form.format(row["value"]) for row in rows], fontsize=8)
        axes.tick_params(labelsize=8)
        _plain(axes, title.split(", 5 %")[0], "", "")
    return figure


def look_ups(tables: Tables) -> Figure:
    """Return what a look-up and a write cost as a store grows, beside each other for each store."""
    figure = Figure(figsize=(9, 3), dpi=140, layout="constrained")
    beside = None
    for place, (title, rows) in enumerate(tables.items()):
        axes = beside = figure.add_subplot(1, len(tables), place + 1, sharey=beside)
        lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for row in rows:
            if found := re.fullmatch(r"(.*), ([\d,]+) entries", row["name"]):
                lines[found[1]].append((int(found[2].replace(",", "")), row["value"]))
        for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
        axes.set_xscale("log")
        _plain(axes, title.split(",")[0], "entries in the store", "" if place else "µs an item")
    figure.axes[0].legend(fontsize=7.5, frameon=False)
    return figure


def _plain(axes: Any, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(x, fontsize=8.5)
    axes.set_ylabel(y, fontsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)


PICTURES: dict[str, tuple[str, Callable[[Tables], Figure]]] = {
    "hit_rate": ("hit_rates.png", hit_rates),
    "store_as": ("store_as.png", entry_bytes),
    "growth": ("look_ups.png", look_ups),
}


def main() -> None:
    for benchmark, (name, draw) in PICTURES.items():
        path: Path = RESULTS / f"{benchmark}.json"
        if path.exists():
            draw(json.loads(path.read_text("utf-8"))["tables"]).savefig(IMAGES / name)
            note(f"{IMAGES / name} from {path.name}")


if __name__ == "__main__":
    main()
