"""The hit rate by the size of a store, as a picture: SVG that any browser shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log2

from litcache.commands.curve import Point
from litcache.sizes import format_bytes

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 40, 48
_LINE = "#2563eb"
_RULE = "#d4d4d8"


def picture(points: Sequence[Point], chosen: Point, title: str) -> str:
    """Return the picture.

    Args:
        points: The hit rates by size, the smallest size first.
        chosen: The point to mark: where more memory stops to pay.
        title: What stands above it.

    Returns:
        The text of an SVG file.

    Example:
        >>> point = Point(1 << 20, 0.5, 0.0)
        >>> picture([point], point, "log").startswith("<svg ")
        True
    """
    first, last = log2(points[0].max_bytes), log2(points[-1].max_bytes)

    def x(point: Point) -> float:
        part = (log2(point.max_bytes) - first) / (last - first) if last > first else 0.5
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(rate: float) -> float:
        return _TOP + (1 - min(1.0, max(0.0, rate))) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#3f3f46">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 22, f"Hit rate by size of store: {title}", "start", size=14),
    ]
    for tenths in range(0, 11, 2):
        height = y(tenths / 10)
        parts.append(_rule(_LEFT, height, _WIDTH - _RIGHT, height))
        parts.append(_text(_LEFT - 6, height + 4, f"{10 * tenths} %", "end"))
    foot = _HEIGHT - _BOTTOM + 16
    parts += [_text(x(point), foot, format_bytes(point.max_bytes)) for point in points]
    band = [(x(p), y(p.hit_rate + p.error)) for p in points]
    band += [(x(p), y(p.hit_rate - p.error)) for p in reversed(points)]
    parts.append(f'<polygon points="{_path(band)}" fill="{_LINE}" opacity="0.15"/>')
    line = [(x(p), y(p.hit_rate)) for p in points]
    style = f'fill="none" stroke="{_LINE}" stroke-width="2"'
    parts.append(f'<polyline points="{_path(line)}" {style}/>')
    parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{_LINE}"/>' for a, b in line]
    parts.append(_rule(x(chosen), _TOP, x(chosen), _HEIGHT - _BOTTOM, "#16a34a"))
    said = f"{format_bytes(chosen.max_bytes)}: {chosen.hit_rate:.1%}, enough"
    parts.append(_text(x(chosen) - 6, _HEIGHT - _BOTTOM - 8, said, "end"))
    return "\n".join([*parts, "</svg>", ""])


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)


def _rule(x1: float, y1: float, x2: float, y2: float, color: str = _RULE) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(text)}</text>"
    )
