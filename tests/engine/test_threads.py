"""litcache's own threads."""

import asyncio
import os
import threading

import pytest

from litcache.engine import threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    assert threads.submit(len, "four").result(60) == 4
    child = os.fork()
    if not child:
        os._exit(threads.submit(len, "seven").result(60))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 5


def test_without_another_thread_a_step_runs_in_this_one(monkeypatch):
    def none_left(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads._pool, "_threads", None)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    ran = asyncio.run(threads.run(threading.get_ident))
    assert ran == threading.get_ident()
