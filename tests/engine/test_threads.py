"""litcache's own threads."""

import os

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
