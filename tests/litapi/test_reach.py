"""What `encode_response` names, and that no service is served otherwise because of its trial."""

import asyncio
import functools
import hashlib
import os
import threading
import time
import weakref
from contextvars import ContextVar

import litserve as ls
import pytest
import torch

from litcache import cached_predict
from litcache.litapi.reach import reached
from litcache.testing import APIRunner

CURRENT = ContextVar("current", default=None)


class Base(ls.LitAPI):
    def setup(self, device):
        self.kept = []

    def decode_request(self, request):
        return request["text"]

    def predict(self, text):
        return text.upper()


class Unlinks(Base):
    def decode_request(self, request):
        self.path = os.path.join(self.folder, "upload")
        with open(self.path, "w") as file:
            file.write(request["text"])
        return request["text"]

    def predict(self, text):
        with open(self.path) as file:
            return file.read().upper()

    def encode_response(self, output):
        os.unlink(self.path)
        return {"text": output}


class SetsVariable(Base):
    def decode_request(self, request):
        CURRENT.set(request["text"])
        return request["text"]

    def predict(self, text):
        return str(CURRENT.get())

    def encode_response(self, output):
        CURRENT.set(None)
        return {"text": output}


class Releases(Base):
    def setup(self, device):
        self.slots = threading.BoundedSemaphore(1)

    def decode_request(self, request):
        assert self.slots.acquire(timeout=5)
        return request["text"]

    def encode_response(self, output):
        self.slots.release()
        return {"text": output}


class Waits(Base):
    def setup(self, device):
        self.written = threading.Event()

    def decode_request(self, request):
        self.written.clear()
        return request["text"]

    def predict(self, text):
        self.written.set()
        return text.upper()

    def encode_response(self, output):
        assert self.written.wait(5)
        return {"text": output}


class Counts(Base):
    def setup(self, device):
        self.ids = (number for number in range(100))
        self.chain = hashlib.sha256()

    def encode_response(self, output):
        self.chain.update(output.encode())
        return {"text": output, "id": next(self.ids), "chain": self.chain.hexdigest()}


class Views(Base):
    def setup(self, device):
        self.data = bytearray(1)
        self.view = memoryview(self.data)

    def encode_response(self, output):
        self.view[0] += 1
        return {"text": output, "count": self.data[0]}


class Infers(Base):
    def setup(self, device):
        with torch.inference_mode():
            self.corpus = torch.ones(2, 2)
            self.layer = torch.nn.Linear(2, 2)

    def encode_response(self, output):
        return {"text": output, "corpus": self.corpus.tolist(), "of": self.layer.in_features}


class Gone(Base):
    def setup(self, device):
        self.last = weakref.proxy(Base())

    def encode_response(self, output):
        return {"text": output, "is": type(self.last).__name__}


class Remembers(Base):
    @functools.cache  # noqa: B019 - that it keeps what it is called with is the point
    def title(self, number):
        return f"number {number}"

    def encode_response(self, output):
        return {"text": output, "title": self.title(1)}


SERVICES = [Unlinks, SetsVariable, Releases, Waits, Counts, Views, Infers, Gone, Remembers]


@pytest.mark.parametrize("service", SERVICES, ids=lambda cls: cls.__name__)
def test_a_service_is_served_in_its_trial_as_without_it(service, tmp_path):
    class Cached(service):
        predict = cached_predict(service.predict)

    def answers(cls, trial):
        api = cls()
        api.folder = str(tmp_path)
        with APIRunner(api, trial=trial) as runner:
            found = [runner.run({"text": text}) for text in ("a", "a", "b", "a", "a")]
            return found, getattr(api.predict, "cache", None)

    expected, _ = answers(service, None)
    found, cache = answers(Cached, 16)
    assert found == expected
    assert (cache.info().state, cache.info().verified) == ("trial", 3)


class Leaves(Base):
    """Leaves its result on self, for `encode_response`."""

    @cached_predict
    def predict(self, texts):
        assert "bad" not in texts
        self.labels = [text.upper() for text in texts]
        return [len(text) for text in texts]

    def encode_response(self, output):
        return {"length": output, "label": self.labels[-1]}


def test_a_request_that_fails_beside_a_tried_hit_does_not_end_rehearsals():
    with APIRunner(Leaves(max_batch_size=2), trial=16) as runner:
        runner.run({"text": "ab"})
        runner.run({"text": "ab"})  # watched, then rehearsed
        with pytest.raises(AssertionError):
            runner.run_batch([{"text": "ab"}, {"text": "bad"}])
        runner.run({"text": "xy"})
        assert runner.run({"text": "ab"})["label"] == "AB"
        assert "'XY' from the cache" in runner.api.predict.cache.info().disagreement


@pytest.mark.filterwarnings("ignore:.*LitServe will asyncify")
def test_the_trial_of_an_async_api_ends_though_responses_of_several_calls_are_encoded_at_a_time():
    class Together(Base):
        @cached_predict
        async def predict(self, text):
            self.kept.append(text)
            if len(self.kept) % 4 == 0:
                self.all_are_here.set()
            await self.all_are_here.wait()  # so all go on one after the other, then their threads
            return text.upper()

        def encode_response(self, output):
            return {"text": output}

    with APIRunner(Together(enable_async=True), trial=8) as runner:
        for _ in range(5):
            runner.api.all_are_here = asyncio.Event()
            runner.run_batch([{"text": text} for text in "abcd"])
        info = runner.api.predict.cache.info()
    assert (info.state, info.verified) == ("on", 8)


def test_a_clock_of_whole_seconds_is_no_disagreement(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])

    class ClockAPI(Base):
        @cached_predict
        def predict(self, text):
            now[0] += 1.5  # the model takes its time
            return text.upper()

        def encode_response(self, output):
            return {"text": output, "created": int(time.time())}

    with APIRunner(ClockAPI(), trial=16) as runner:
        for _ in range(4):
            runner.run({"text": "a"})
        info = runner.api.predict.cache.info()
    assert (info.state, info.verified, info.disagreement) == ("trial", 3, "")


def test_what_is_not_named_is_not_copied():
    class Large(Base):
        def setup(self, device):
            self.ids = list(range(100_000))
            self.label = "a"

        def encode_response(self, output):
            return {"text": output, "label": self.label}

    assert "label" in reached(Large()).names
    assert "ids" not in reached(Large()).names


def test_a_hook_that_reads_attributes_by_their_names_may_name_any():
    class Reads(Base):
        def encode_response(self, output):
            return {"text": output, "kept": getattr(self, "kep" + "t")}

    assert reached(Reads()).names is None
