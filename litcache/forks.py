"""What begins anew in a forked child: one registration with the operating system for all of it."""

from __future__ import annotations

import os
import threading
import weakref


class Forkable:
    """What holds threads, locks, files or counts that belong to one process."""

    def before_fork(self) -> None:
        """Get ready for a fork, in the thread that forks."""

    def after_fork_in_parent(self) -> None:
        """Go on in the process that forked."""

    def after_fork_in_child(self) -> None:
        """Begin anew, since the threads of the parent are not there and its locks may be held."""


class _Forking(threading.local):
    """The resources that were told of the fork that this thread is in."""

    resources: tuple[Forkable, ...] = ()


_resources: weakref.WeakSet[Forkable] = weakref.WeakSet()
_forking = _Forking()


def begin_anew(resource: Forkable) -> None:
    """Tell a resource of every fork, for as long as it lives.

    Args:
        resource: What begins anew in a forked child.
    """
    _resources.add(resource)


def _before() -> None:
    while True:
        try:
            _forking.resources = tuple(_resources)
            break
        except RuntimeError:  # another thread adds one: a lock could be held in the child
            continue
    for resource in _forking.resources:
        resource.before_fork()


def _after_in_parent() -> None:
    for resource in _forking.resources:
        resource.after_fork_in_parent()
    _forking.resources = ()


def _after_in_child() -> None:
    for resource in _forking.resources:
        resource.after_fork_in_child()
    _forking.resources = ()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
