"""Checks in a forked process."""

import os
import signal
import warnings

SECONDS = 30


def in_a_fork(check):
    """Return what a forked process's check returned, or `hung` if it took too long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        ended = 1
        try:
            # A child that hangs is ended by the alarm.
            signal.alarm(SECONDS)
            ended = 0 if check() else 1
        finally:
            os._exit(ended)
    status = os.waitpid(child, 0)[1]
    return "hung" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status) == 0
