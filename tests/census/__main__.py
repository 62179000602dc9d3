"""Runs the zoo and writes the page of the docs: `python -m census` in the folder of tests.

`python -m census language` does the same with the experiment of a language on `self`, which takes
minutes. With names of services, what became of those is printed, and no page is written.
"""

from __future__ import annotations

import argparse
import time

from census import page, zoo


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m census", description=__doc__)
    parser.add_argument("names", nargs="*", help="`language`, or names of services")
    parser.add_argument("--seeds", type=int, default=100, help="of the experiment")
    asked = parser.parse_args()
    if asked.names == ["language"]:
        with zoo.quiet():
            text = page.languages(asked.seeds)
        page.PAGE.write_text(page.put("language", text))
        print(text)
    elif asked.names:
        for name in asked.names:
            show(name)
    else:
        found = []
        for shape in zoo.shapes():
            found.append(zoo.found(shape))
            print(f"{shape.name:26}{shape.expected:8}{found[-1].bare}")
        page.PAGE.write_text(page.put("zoo", page.table(found)))
        print(page.figures(found))


def show(name: str) -> None:
    """Print what became of one service."""
    (shape,) = [shape for shape in zoo.shapes() if shape.name == name]
    start = time.perf_counter()
    found = zoo.found(shape)
    print(f"{name}: {shape.kind}, {shape.shows}: {shape.expected}")
    for outcome, run in ((found.bare, found.run), (found.with_option, found.option_run)):
        if run:
            why = run.refusal or run.disagreement
            print(f"  {outcome}, {run.served} of {len(run.requests)} from the cache  {why}")
    print(f"  {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
