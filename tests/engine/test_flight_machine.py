"""Single-flight against its rules: callers in whatever order, each step of each taken by hand.

The machine is what drives the steps (`engine/run.py`), so there are no threads and no time passes
by itself.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import litserve as ls
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from litcache import cached_predict
from litcache.engine import call as calls
from litcache.engine.claims import LEADERS
from litcache.engine.modes import Batch, Unbatched
from litcache.engine.run import advance, computation, settle
from litcache.engine.steps import Ask, Compute, Wait
from litcache.litapi.state import cache_of
from litcache.testing import FakeClock

TEXTS = ["a", "b", "not stored"]
NUMBERS = st.integers(0, 99)
LIMIT = 30.0
"""So long a call waits for others."""

LONGEST = 1000
"""So many steps end every call that can end."""

STEPS = settings(
    max_examples=200,
    stateful_step_count=40,
    phases=(Phase.explicit, Phase.generate),  # steps are few: a failure is short as it is
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class NotStored:
    """An output that no store can hold."""

    def __init__(self, row):
        self.row = row


class ModelError(Exception):
    """The model cannot bear what it got."""


class Interrupt(BaseException):
    """Ctrl-C, or the end of a task."""


def one_of(callers, number):
    """Return the caller that a number drawn at random stands for."""
    return callers[number % len(callers)]


@dataclasses.dataclass(eq=False)
class Caller:
    """One call of the method, and what is known of it from outside.

    Attributes:
        texts: What it asked for.
        asked: The revision and the time at its look-up.
        refreshes: Whether it wants outputs whose computation begins after that.
        misses: Its state in the engine.
        steps: The steps that settle it.
        step: The step that it is at; `None` before the first.
        began: The revision and the time when the model began on what it computes.
        overdue: Whether another call has waited for it in vain.
        lost: Texts that it claimed and that others need not wait for any more.
        waits_since: When its first wait began.
        claims: The claims that it has had.
        given: The texts that the model has computed for it while others could wait for them.
        served: The texts that it has waited for and that were computed.
        floor: For each text, a time before which no output of it was begun, by an earlier refresh.
    """

    texts: list[str]
    asked: tuple[int, int]
    refreshes: bool
    misses: Any
    steps: Any
    step: Any = None
    began: tuple[int, int] = (0, 0)
    overdue: bool = False
    lost: set[str] = dataclasses.field(default_factory=set)
    waits_since: float | None = None
    floor: dict[str, int] = dataclasses.field(default_factory=dict)
    claims: list[Any] = dataclasses.field(default_factory=list)
    given: set[str] = dataclasses.field(default_factory=set)
    served: set[str] = dataclasses.field(default_factory=set)

    @property
    def computed(self) -> list[str]:
        """The texts that the model computes for it now."""
        return list(self.step.part.argument) if isinstance(self.step, Compute) else []

    @property
    def waits(self) -> bool:
        """Whether it is at a step that only others can end."""
        return isinstance(self.step, Wait) and not self.step.claim.done


class SingleFlight(RuleBasedStateMachine):
    """Callers of one cached method, beside what each of them must get."""

    def __init__(self) -> None:
        super().__init__()
        self.refreshing = False

        class API(ls.LitAPI):
            @cached_predict(refresh_if=lambda item: self.refreshing)
            def predict(self, texts):
                raise AssertionError("the machine is the model")

        self.api = API(max_batch_size=8)
        self.api.request_timeout = LIMIT
        self.cache = cache_of(self.api, "predict")
        self.keys = {text: self.api.predict.cache.key(text) for text in TEXTS}
        self.clock = FakeClock(1000.0)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(calls, "time", SimpleNamespace(monotonic=self.clock))
        self.live: list[Caller] = []
        self.known: list[Caller] = []
        self.revision = self.now = 0
        self.renewed: dict[str, int] = {}

    # ------------------------------------------------------------------ what may happen

    @rule(
        texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3),
        refreshes=st.sampled_from([False, False, True]),
    )
    def look_up(self, texts, refreshes):
        self.refreshing, self.now = refreshes, self.now + 1
        call = Batch(list(texts))
        misses = self.cache.lookup(call)
        steps = None if misses is None else settle(self.cache, misses, computation)
        caller = Caller(texts, (self.revision, self.now), refreshes, misses, steps)
        caller.floor = {text: self.renewed.get(text, 0) for text in texts}
        if misses is None:
            self.check(caller, call)
        else:
            self.live.append(caller)
            self.known.append(caller)

    def able(self):
        return [caller for caller in self.live if not caller.waits]

    def begun(self):
        return [caller for caller in self.live if caller.step is not None]

    def waiting(self):
        return [caller for caller in self.live if caller.waits]

    @precondition(able)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4))
    def callers_go_on(self, numbers):
        for number in numbers:
            if self.able():
                self.take(one_of(self.able(), number))

    @precondition(begun)
    @rule(number=NUMBERS, error=st.sampled_from([ModelError, Interrupt, None]))
    def a_caller_ends_early(self, number, error):
        """Let the model fail, or Ctrl-C come wherever a caller is, or let its task be closed."""
        caller = one_of(self.begun(), number)
        if error is None:
            self.leave(caller, caller.steps.close)
        elif error is Interrupt or caller.computed:
            self.raise_in(caller, error())

    @precondition(waiting)
    @rule(number=NUMBERS, seconds=st.sampled_from([0.5, LIMIT]))
    def a_wait_is_in_vain(self, number, seconds):
        """Let a caller wait as long as its step says, or until nothing is left of its time."""
        self.clock.advance(seconds)
        self.send(one_of(self.waiting(), number), False)

    @rule()
    def clear(self):
        self.cache.store.clear()
        self.revision += 1

    # ------------------------------------------------------------------ how it goes on

    def take(self, caller):
        step = caller.step
        if isinstance(step, Compute):
            outputs = [self.output(caller, text) for text in step.part.argument]
            if caller.misses.claim is not None and not caller.misses.claim.done:
                caller.given.update(set(caller.computed) - {"not stored"})
            self.send(caller, (Unbatched(outputs), 1.0))
        elif isinstance(step, Wait):
            waits = caller.misses.waits.items()
            here = {caller.texts[at] for at, claim in waits if claim is step.claim}
            for leader in self.known:
                if leader.claims == [step.claim]:
                    caller.served |= leader.given & here
            self.send(caller, True)
        elif isinstance(step, Ask):
            self.send(caller, step.function())
        else:
            self.send(caller, None)

    def output(self, caller, text):
        row = [text, *caller.began]
        return NotStored(row) if text == "not stored" else row

    def send(self, caller, reply):
        holders, self.now = self.holders(), self.now + 1
        caller.step = advance(caller.steps, reply)
        if caller.misses.claim is not None and caller.misses.claim not in caller.claims:
            caller.claims.append(caller.misses.claim)
            caller.lost = set()
        if isinstance(caller.step, Wait) and caller.waits_since is None:
            caller.waits_since = self.clock()
        for claim, owner in holders.values():
            if claim is not None and claim.done and owner is not caller and not owner.overdue:
                assert self.is_late(caller), "given up on too early"
                owner.overdue = True
        self.look_at_holders(caller, holders)
        if caller.step is None:
            self.live.remove(caller)
            self.check(caller, caller.misses.call)
        elif isinstance(caller.step, Compute):
            caller.began = self.revision, self.now
            self.may_compute(caller)

    def is_late(self, caller):
        """Return whether a caller has waited for as long as it may."""
        since = caller.waits_since
        return since is not None and self.clock() >= since + LIMIT

    def raise_in(self, caller, error):
        """Let a step fail: its caller gets that error, and nobody else any."""

        def fail():
            with pytest.raises(type(error)) as raised:
                caller.steps.throw(error)
            assert raised.value is error

        self.leave(caller, fail)

    def leave(self, caller, end):
        """End a caller early."""
        holders = self.holders()
        end()
        self.live.remove(caller)
        self.look_at_holders(caller, holders, may_take=False)

    def holders(self):
        """Return the claim on each text, and whose it is."""
        claims = {text: self.cache.flight.holder(self.keys[text]) for text in TEXTS}
        owners = {claim: caller for caller in self.live for claim in caller.claims}
        return {text: (claim, owners.get(claim)) for text, claim in claims.items()}

    def look_at_holders(self, caller, before, *, may_take=True):
        """Nobody takes a text from one who computes it, but for the reasons that there are."""
        for text, (claim, owner) in before.items():
            holder = self.cache.flight.holder(self.keys[text])
            if owner in (None, caller) or holder is claim:
                continue
            assert may_take, f"{text} is not claimed any more"
            assert holder is not None, f"{text} is not claimed any more"
            is_of_another_epoch = holder.epoch != claim.epoch
            reasons = caller.refreshes, owner.overdue, self.is_late(caller), is_of_another_epoch
            assert any(reasons), f"{text} was taken from who computes it"
            owner.lost.add(text)

    def may_compute(self, caller):
        """Nobody computes what another one computes, whom others may wait for."""
        stored = [text for text in caller.computed if text != "not stored"]
        assert len(set(stored)) == len(stored)
        assert set(caller.computed) <= set(caller.texts) - caller.served
        by_itself = caller.misses.failed_leaders >= LEADERS
        if by_itself:
            caller.lost = set(TEXTS)
        if not self.is_late(caller) and not by_itself and not caller.refreshes:
            found = [text for text in stored if self.is_stored(text)]
            assert not found or caller.asked[0] < self.revision, f"{found} is there by now"
        for other in () if by_itself else self.live:
            both = set(stored) & set(other.computed)
            assert other is caller or both <= other.lost | caller.lost, f"{both} are computed twice"

    def check(self, caller, call):
        """A caller that ends has its own outputs, no older than what it asked for allows."""
        outputs = call.result(None)
        assert len(outputs) == len(caller.texts)
        for text, output in zip(caller.texts, outputs, strict=True):
            found, revision, began = output.row if isinstance(output, NotStored) else output
            assert found == text
            assert revision >= caller.asked[0], "computed before a clear that came first"
            assert began > caller.asked[1] or not caller.refreshes, "older than the refresh"
            assert began > caller.floor[text], "older than a refresh that had ended"
            # What a later refresh computes, too, only that one stores.
            may_renew = caller.asked[0] == self.revision and text not in caller.lost
            if caller.refreshes and may_renew and text != "not stored":
                self.renewed[text] = caller.asked[1]

    def is_stored(self, text):
        try:
            self.api.predict.cache.get(text)
        except KeyError:
            return False
        return True

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def who_is_waited_for_is_there(self):
        held = {claim for caller in self.live for claim in caller.claims}
        for caller in self.live:
            assert not caller.waits or caller.step.claim in held
        for claim in self.cache.flight._claims.values():
            assert claim in held, "the claim of a call that is over"

    def teardown(self):
        """Everybody ends, without another fault or clear; nothing is left."""
        try:
            for _ in range(LONGEST):
                if not self.able():
                    break
                self.take(self.able()[0])
                self.who_is_waited_for_is_there()
            assert not self.live, "callers wait for each other"
            assert self.cache.flight._claims == {}
        finally:
            self.patch.undo()


def test_single_flight_keeps_its_rules_in_whatever_order():
    run_state_machine_as_test(SingleFlight, settings=STEPS)


def test_a_leader_that_computes_an_item_twice_takes_nothing_back_from_its_followers():
    machine = SingleFlight()
    machine.look_up(texts=["a", "not stored", "not stored"], refreshes=False)
    machine.look_up(texts=["a"], refreshes=False)
    leader, follower = machine.live
    for caller in (leader, follower, leader, leader):
        machine.take(caller)
    assert machine.live == [follower]
    machine.take(follower)
    assert machine.live == [], "it computes what its leader has computed"
    machine.teardown()
