"""What begins anew in a forked child, and what is called around the fork."""

import gc
import os
import threading

import pytest

from litcache.forks import Forkable, begin_anew

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class Recorder(Forkable):
    def __init__(self):
        self.calls = []
        begin_anew(self)

    def before_fork(self):
        self.calls.append("before")

    def after_fork_in_parent(self):
        self.calls.append("parent")

    def after_fork_in_child(self):
        self.calls.append("child")


def forked(answer):
    """Return what `answer()` returns in a forked child, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, str(answer()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def test_parent_and_child_each_get_their_own_call_after_the_one_before():
    resources = [Recorder(), Recorder()]
    in_child = forked(lambda: [resource.calls for resource in resources])
    assert in_child == str([["before", "child"]] * 2)
    assert [resource.calls for resource in resources] == [["before", "parent"]] * 2


def test_a_resource_need_not_do_anything():
    resource = Forkable()
    begin_anew(resource)
    assert forked(lambda: "went on") == "went on"


def test_a_child_of_a_child_begins_anew_again():
    resource = Recorder()
    in_grandchild = forked(lambda: forked(lambda: resource.calls))
    assert in_grandchild == str(["before", "child", "before", "child"])


def test_a_child_of_the_tests_collects_no_garbage_of_theirs_after_its_own_fork_either():
    def collects():
        in_grandchild = forked(gc.isenabled)
        return [gc.isenabled(), in_grandchild]

    assert gc.isenabled()
    assert forked(collects) == str([False, "False"])
    assert gc.isenabled()


def test_a_resource_that_is_collected_is_called_no_more():
    calls = Recorder().calls
    gc.collect()
    assert forked(lambda: calls) == "[]"


def test_one_that_raises_keeps_the_others_from_nothing(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda error: told.append(str(error.exc_value)))

    class Raising(Forkable):
        broken = True

        def before_fork(self):
            if self.broken:
                raise ValueError("at a fork")

        after_fork_in_parent = after_fork_in_child = before_fork

    raising = [Raising() for _ in range(5)]
    for resource in raising[:3]:
        begin_anew(resource)
    resources = [Recorder() for _ in range(5)]
    for resource in raising[3:]:
        begin_anew(resource)
    in_child = forked(lambda: [resource.calls for resource in resources])
    Raising.broken = False
    assert in_child == str([["before", "child"]] * 5)
    assert [resource.calls for resource in resources] == [["before", "parent"]] * 5
    assert told == ["at a fork"] * 2


def test_a_lock_held_over_the_fork_is_free_on_both_sides():
    class Locked(Forkable):
        def __init__(self):
            self.lock = threading.Lock()
            begin_anew(self)

        def before_fork(self):
            self.lock.acquire()

        def after_fork_in_parent(self):
            self.lock.release()

        def after_fork_in_child(self):
            self.lock.release()

    resource = Locked()
    assert forked(lambda: resource.lock.acquire(timeout=10)) == "True"
    assert resource.lock.acquire(timeout=10)


def test_a_resource_may_make_another_one_while_it_begins_anew():
    class Making(Forkable):
        made = None

        def after_fork_in_child(self):
            self.made = Recorder()

    resource = Making()
    begin_anew(resource)
    assert forked(lambda: resource.made.calls) == "[]"
    assert forked(lambda: forked(lambda: resource.made.calls)) == "[]"


def test_threads_that_fork_and_register_at_once_do_not_disturb_each_other():
    start = threading.Barrier(4)
    found = []

    def fork():
        start.wait()
        for _ in range(10):
            resource = Recorder()
            found.append(forked(lambda resource=resource: resource.calls[-2:]))

    def register():
        start.wait()
        kept = [Recorder() for _ in range(2_000)]
        assert all(r.calls == ["before", "parent"] * (len(r.calls) // 2) for r in kept)

    threads = [threading.Thread(target=work) for work in (fork, fork, register, register)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [str(["before", "child"])] * 20
