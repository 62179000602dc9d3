"""Objects that begin anew in a forked child; one registration with Python serves all of them."""

import os
import threading
import weakref
from contextlib import ExitStack


class Forkable:
    """An object with threads, locks, files or counts, which belong to one process."""

    def before_fork(self) -> None:
        """Leave nothing half done: the child gets a copy of the memory as it is now."""

    def after_fork_in_parent(self) -> None:
        """Go on as before the fork."""

    def after_fork_in_child(self) -> None:
        """Begin anew: the parent's other threads are gone, and their locks stay locked."""


_resources: weakref.WeakSet[Forkable] = weakref.WeakSet()
_lock = threading.RLock()  # held during a fork; a resource that begins anew may make another one


def begin_anew(resource: Forkable) -> None:
    """Call the methods of a resource at each fork.

    The caller must hold no lock that the resource's `before_fork` takes.
    """
    with _lock:
        _resources.add(resource)


def _at_fork(method: str) -> None:
    # It runs them in reverse, each of them even if another one raises.
    with ExitStack() as steps:
        if method == "before_fork":
            _lock.acquire()
        else:
            steps.callback(_lock.release)
        for resource in list(_resources):
            steps.callback(getattr(resource, method))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _at_fork("before_fork"),
        after_in_parent=lambda: _at_fork("after_fork_in_parent"),
        after_in_child=lambda: _at_fork("after_fork_in_child"),
    )
