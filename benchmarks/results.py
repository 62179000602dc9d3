"""Writes benchmarks/RESULTS.md from the results that are there: `python -m benchmarks.results`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.common import RESULTS, ROOT

PAGE = ROOT / "benchmarks" / "RESULTS.md"
# Why a figure is short: the beginning of its name, by benchmark, and what a profile shows.
WHY: dict[tuple[str, str], str] = {
    (
        "hits",
        "litcache, ",
    ): "in the same minutes 0.5.0 had 1.46 to 1.57 × on this machine, so it "
    "is no slower; on another it had 1.13 to 1.24 ×, and why was not looked into.",
    ("hits", "a"): "0.14 of the ratio is msgpack, which writes each of the contexts once.",
    (
        "misses",
        "",
    ): "by hand (digests, a copy of each row, a dict) 32 such misses take half of the time of a "
    "`MemoryStore`, and half of that is for the 13 new pages that the kernel gives for the payloads"
    " of a batch. The rest is the call itself, a quarter, and the nodes and claims. Of a "
    "`SharedStore`, the look-up takes 0.3 µs warm (its sketch is asked, not SQLite); the benchmark "
    "sleeps between calls, and a `MemoryStore` that sleeps as long takes 1 µs more, too. Of a "
    "`RedisStore`, 1.3 µs are the look-up, half of it the system's for one packet each way.",
    (
        "growth",
        "set, evicting",
    ): "two pages of the index change for each entry: that of the new hash, and that of the "
    "evicted one. To write one into the WAL takes 5 µs, to copy it back 3 µs.",
    ("growth", "get"): "the index outgrows the caches of SQLite and of the processor.",
    (
        "end_to_end",
        "",
    ): "with one worker each reaches 90 to 119 %. Two workers, their two HTTP processes and the "
    "clients keep both cores busy, so whatever the tiers take is time: behind `CacheMiddleware` "
    "`web12` takes 4.9 CPU seconds, the ideal 3.8. Of the 1.1 between them, the model has 0.25 "
    "(smaller batches, and 55 texts that both HTTP processes computed at once; with a lease none), "
    "the threads that look up and write for each miss 0.5 (0.55 ms a miss, of which the store "
    "itself takes 0.05), and the event loops 0.4, nearly half of it for hits.",
    ("workers", ""): "with a lease it is 0: what several processes compute at once is written "
    "several times, takes room in the ring, and evicts.",
    ("middleware", ""): "as `http_hits`, which is the same with less noise.",
    ("partial_hits", ""): "the fixed cost of a call that misses, about as much as the same by hand "
    "takes in all: 90 calls of Python functions more than a hit, none above 3 µs, whose code the "
    "model and the peers have driven out of the processor's caches (warm, the whole takes a third "
    "of what stands here). Claims take a twentieth, rows to entries a tenth, the store a tenth.",
    ("store_as", ""): "the conversion of 64 rows takes numpy 11 µs, a fifth of the floor.",
    (
        "trial",
        "",
    ): "another machine had 0.98 ×; this one had 1.05 to 1.07 × with 0.7.0 a day before, "
    "too. The digest of a request and the signature of `decode_request` make up for each other, "
    "and do not cost the same on both.",
    (
        "http_hits",
        "",
    ): "the profile is flat. Under uvicorn, where caches are cold, the look-up takes "
    "3.0 µs, the key 2.1, the headers 2.0, the trial 1.7, counts and headers of the hit 1.7, all "
    "calls and checks around them 3.7. The least that was written by hand (headers, body, key, a "
    "dict, the digest of the client, a lock and two messages in one function) reaches 0.77 to "
    "0.86 ×.",
}

_HEAD = """# Results

Written by `python -m benchmarks` (or `python -m benchmarks.results` from results that are there).
Compare ratios within one table, not microseconds between machines; how to read each is said in
[the README](README.md). The tables of partial_hits, keys, redis_store, loop, http_hits and
middleware are of 0.8.0, on a machine that takes half as long again as that of the others, and more
at times. The others are of 0.7.0; those of memory, growth, workers, end_to_end and scale come of a
third machine.
"""


def write(names: Iterable[str]) -> None:
    """Write the page: the figures that have a target, then every table of every benchmark."""
    contents = [json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in names]
    parts = [_HEAD, "## Figures to reach\n", _figures(contents)]
    for content in contents:
        parts.append(f"## {content['benchmark']}\n")
        parts.append(
            f"`{content['command']}`, {content['date']}, {content['machine']}, "
            f"Python {content['python']}\n"
        )
        for title, rows in content["tables"].items():
            parts.append(f"### {title}\n\n{_table(rows)}")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def _figures(contents: Sequence[dict[str, Any]]) -> str:
    lines = ["| benchmark | figure | target | measured | |", "| --- | --- | --- | --- | --- |"]
    short = []
    for content in contents:
        name = content["benchmark"]
        for row in (row for rows in content["tables"].values() for row in rows):
            if row["passed"] is None:
                continue
            verdict = "pass" if row["passed"] else "**SHORT**"
            lines.append(
                f"| {name} | {row['name']} | {row['target']} | {_measured(row)} | {verdict} |"
            )
            if not row["passed"]:
                short.append(f"* {name}, {row['name']}: {_why(name, row['name'])}")
    text = "\n".join(lines) + "\n"
    return text + ("\nWhy the short ones are short:\n\n" + "\n".join(short) + "\n" if short else "")


def _why(benchmark: str, figure: str) -> str:
    for (name, beginning), reason in WHY.items():
        if name == benchmark and figure.startswith(beginning):
            return reason
    return "not explained yet."


def _measured(row: dict[str, Any]) -> str:
    if row["target"].endswith("×"):
        return f"{row['ratio']:.2f} ×"
    return f"{row['value']:.4g} {row['unit']}".rstrip()


def _table(rows: Sequence[dict[str, Any]]) -> str:
    with_ratio = any(row["ratio"] is not None for row in rows)
    lines = ["| | measured |" + (" × the floor |" if with_ratio else "")]
    lines.append("| --- | --- |" + (" --- |" if with_ratio else ""))
    for row in rows:
        value = f"{row['value']:,}" if isinstance(row["value"], int) else f"{row['value']:.4g}"
        line = f"| {row['name']} | {value} {row['unit']}".rstrip() + " |"
        if with_ratio:
            line += f" {row['ratio']:.2f} × |" if row["ratio"] is not None else " |"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from benchmarks.__main__ import ALL

    write([name for name in ALL if (RESULTS / f"{name}.json").exists()])
