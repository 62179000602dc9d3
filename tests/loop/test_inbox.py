"""What a worker does with requests that it leaves to others: by a queue and a clock in hand."""

import pickle
from collections import deque
from queue import Empty
from types import SimpleNamespace

import pytest
from support.loops import SENTINEL

from litcache.loop import inbox as module
from litcache.loop.inbox import Backlog, Inbox
from litcache.testing import FakeClock


class Queue:
    """A queue that takes some time for each request that is put back."""

    def __init__(self, clock, *requests):
        self.clock, self.requests = clock, deque(requests)
        self.seconds = 0.001

    def get(self, timeout):
        if not self.requests:
            raise Empty
        return self.requests.popleft()

    def put(self, request):
        self.clock.advance(self.seconds)
        self.requests.append(request)


@pytest.fixture
def clock(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


def request(uid):
    return (0, uid, 0.0, {"text": uid})


def looked_at(backlog, inbox):
    """Look at a request as a worker that computes does; return its id if it is new."""
    new = backlog.new_of(inbox.take(0))
    backlog.leave([pickle.dumps(each) for each in new])
    return [each[1] for each in new]


def test_a_request_is_looked_at_once_and_the_others_of_its_round_before_a_pause(clock):
    queue = Queue(clock, *map(request, "abc"))
    inbox = Inbox(queue)
    backlog = Backlog(inbox, lambda: True)
    assert backlog.room(8) == 0
    assert [looked_at(backlog, inbox) for _ in "abc"] == [["a"], ["b"], ["c"]]
    assert backlog.resumes == 0
    clock.advance(100)  # however long it has computed by now
    assert looked_at(backlog, inbox) == []  # "a" again: all were seen
    assert backlog.resumes - clock() == pytest.approx(0.02, abs=0.002)
    assert [each[1] for each in queue.requests] == ["b", "c", "a"]
    clock.advance(1)
    queue.put(request("new"))
    assert [looked_at(backlog, inbox) for _ in "bca"] == [[], [], []]
    assert looked_at(backlog, inbox) == ["new"]
    assert backlog.is_empty


def test_the_pause_grows_with_what_a_round_takes(clock):
    queue = Queue(clock, *(request(str(number)) for number in range(100)))
    inbox = Inbox(queue)
    backlog = Backlog(inbox, lambda: True)
    backlog.room(8)
    for _ in range(101):
        looked_at(backlog, inbox)
    assert backlog.resumes - clock() == pytest.approx(0.2, abs=0.01)


def test_a_machine_that_stalls_in_a_round_is_no_long_round(clock):
    queue = Queue(clock, *map(request, "ab"))
    inbox = Inbox(queue)
    backlog = Backlog(inbox, lambda: True)
    backlog.room(8)
    looked_at(backlog, inbox)
    queue.seconds = 10
    looked_at(backlog, inbox)
    looked_at(backlog, inbox)  # "a" again
    assert backlog.resumes - clock() <= 1


def test_a_worker_that_is_alone_keeps_what_it_cannot_take_in_order(clock):
    queue = Queue(clock)
    backlog = Backlog(Inbox(queue), lambda: False)
    assert backlog.room(3) == 3
    backlog.leave([pickle.dumps(request(uid)) for uid in "abcde"])
    assert not queue.requests
    assert backlog.keeps
    assert not backlog.is_empty

    class Dispatcher:
        room, taken = 2, ()

        def accept(self, requests):
            assert all(each.is_started for each in requests)
            self.taken += tuple(each.uid for each in requests)
            self.room -= sum(each.uid != "b" for each in requests)  # "b" hits by now

    dispatcher = Dispatcher()
    backlog.empty_into(dispatcher)
    assert dispatcher.taken == ("a", "b", "c")
    dispatcher.room = 9
    backlog.empty_into(dispatcher)
    assert dispatcher.taken == tuple("abcde")
    assert backlog.is_empty


def test_others_are_asked_for_once_a_batch(clock):
    asked = []
    backlog = Backlog(Inbox(Queue(clock)), lambda: asked.append(1) or len(asked) > 1)
    assert [backlog.room(3), backlog.room(2)] == [3, 2]

    class Dispatcher:
        room = 0

    backlog.empty_into(Dispatcher())
    assert [backlog.room(3), backlog.room(2)] == [0, 0]
    assert len(asked) == 2


def test_the_inbox_is_closed_by_the_sentinel(clock):
    inbox = Inbox(Queue(clock, request("a"), SENTINEL, request("b")))
    assert inbox.take(0, 9) == [request("a")]
    assert inbox.closed
    assert inbox.take(0, 9) == []
