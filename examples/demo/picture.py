"""The picture of a demo, drawn from its demo.json: `python -m examples.demo.picture JSON PNG`."""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure  # without pyplot: no window, no global state

NAMES = {"none": "no cache", "decorator": "@cached_predict", "tiers": "all tiers"}
COLOURS = ("#9aa0a6", "#5b8def", "#1f9d6b")


def draw(figures: dict[str, Any], path: Path) -> None:
    """Write the picture as a PNG."""
    figure_of(figures).savefig(path)


def figure_of(figures: dict[str, Any]) -> Figure:
    """Return requests/s and the median latency of the three runs, side by side."""
    runs = figures["runs"]
    figure = Figure(figsize=(9, 2.9), dpi=160, layout="constrained")
    for place, (title, key, form) in enumerate(
        (("requests/s", "requests_per_second", ",.0f"), ("median latency, ms", "p50_ms", ".1f"))
    ):
        axes = figure.add_subplot(1, 2, place + 1)
        values = [runs[kind][key] for kind in NAMES]
        bars = axes.barh(list(NAMES.values()), values, color=COLOURS, height=0.62)
        first = values[0]
        labels = [f"{values[0]:{form}}"] + [
            f"{value:{form}}  ({value / first:.1f} ×)" if place == 0 else f"{value:{form}}"
            for value in values[1:]
        ]
        axes.bar_label(bars, labels, padding=4)
        axes.set_xlim(0, max(values) * 1.28)
        axes.invert_yaxis()
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
    figure.supxlabel(
        f"{figures['model']}; {figures['machine'].split(',')[0]}, {figures['clients']} clients; "
        f"{100 * figures['hit_rate']:.0f} % of {runs['none']['requests']:,} requests were repeats",
        fontsize=8.5,
        color="#5f6368",
    )
    return figure


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
