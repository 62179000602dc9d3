"""What a look at the source finds, and the usual causes of a disagreement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A place in the source where data passes the cache, or an output differs each time.

    Attributes:
        file: The file.
        line: The line.
        attribute: What it is about: `self.language`, or what is called.
        message: What happens, and what to do.
        cause: `state`, `setup`, `clock`, `random`, `uuid`, `file` or `neighbours`.
        method: The cached method.
        leaves: Whether it is what the method leaves for a later hook. A hit leaves nothing, and
            outputs that are equal do not show that.
    """

    file: str
    line: int
    attribute: str
    message: str
    cause: str
    method: str = ""
    leaves: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


_USUAL = {
    "state": "an attribute of self that one hook sets and a later one reads (let the item, or the "
    "output, carry it)",
    "file": "an item or output that names a file (key=contents)",
    "clock": "a clock in the output (take it in encode_response)",
    "random": "an output that is sampled (seed it, or do not cache it)",
    "uuid": "an id made for each request (make it in encode_response)",
    "neighbours": "an output that depends on its neighbours in the batch (padding without a mask, "
    "options of the first for all)",
    "setup": "a model that was changed in place (version=, or cache.renew())",
    "key": "key= leaves out what the output carries",
}


def causes(findings: Iterable[Finding]) -> list[str]:
    """Return the usual causes of a disagreement, those that the source shows first.

    Args:
        findings: What `look` has found.

    Returns:
        A line for each cause.
    """
    findings = list(findings)
    shown = {finding.cause for finding in findings}
    return [*map(str, findings), *(text for cause, text in _USUAL.items() if cause not in shown)]
