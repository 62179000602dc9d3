"""What begins anew in a forked child: one registration with the operating system for all of it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol


class Forkable(Protocol):
    """What holds threads, locks, files or counts that belong to one process."""

    def after_fork_in_child(self) -> None:
        """Begin anew, since the threads of the parent are not there and its locks may be held."""


_children: weakref.WeakSet[Forkable] = weakref.WeakSet()


def begin_anew(resource: Forkable) -> None:
    """Have a resource begin anew in every forked child, for as long as it lives.

    Args:
        resource: Anything with `after_fork_in_child` that can be weakly referenced.
    """
    _children.add(resource)


def _after_in_child() -> None:
    for resource in list(_children):
        resource.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
