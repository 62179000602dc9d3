"""Tensors go to a device with streams, and leave it, beside what a model computes there.

No machine of the tests has such a device. Torch's module of one (as `torch.cuda`) is injected: it
notes what is asked of it, and its tensors lie on the CPU. So the order of what is queued is tested,
and not that a device keeps it.
"""

import contextlib

import pytest

from litcache.stores.base import NewEntry
from litcache.values import codec, devices, layouts
from litcache.values.elements import tensor_bytes
from litcache.values.rows import merge_rows

torch = pytest.importorskip("torch")
DEVICE = torch.device("cuda", 0)


class Stream:
    def __init__(self, streams, name, **options):
        self.streams, self.name, self.options = streams, name, options

    def wait_stream(self, other):
        self.streams.notes.append((self.name, "waits for", other.name))

    def synchronize(self):
        self.streams.notes.append(("the thread", "waits for", self.name))


class Streams:
    """What torch's module of a type of device does, on the CPU."""

    def __init__(self):
        self.notes = []
        self.default = Stream(self, "default")
        self.current = self.default
        self.made = 0

    def Stream(self, **options):
        self.made += 1
        return Stream(self, f"lane {self.made}", **options)

    def current_stream(self, device):
        assert device == DEVICE
        return self.current

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before


@pytest.fixture
def streams(monkeypatch):
    """A device with streams; copies to it and recorded uses are noted, each with its stream."""
    fake = Streams()
    copy, record, copy_in = torch.Tensor.to, "record_stream", torch.Tensor.copy_

    def to(tensor, target, *args, non_blocking=False, **options):
        if target != DEVICE:
            return copy(tensor, target, *args, **options)
        fake.notes.append((fake.current.name, "copies", tensor.numel(), non_blocking))
        return tensor.clone()

    def copy_(tensor, source, non_blocking=False):
        if non_blocking:
            fake.notes.append((fake.current.name, "copies", source.numel(), non_blocking))
        return copy_in(tensor, source)

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "copy_", copy_)
    monkeypatch.setattr(
        torch.Tensor, record, lambda tensor, stream: fake.notes.append(("recorded", stream.name))
    )
    monkeypatch.setattr(devices, "streams_of", lambda device: fake)
    devices._lane.cache_clear()
    yield fake
    devices._lane.cache_clear()


def rows_of(values, made_on="cuda", store_as=None):
    """The entries of the rows of a tensor as if a device had made them."""
    layout = layouts.tensor_layout(b"T", values.dtype, tuple(values.shape[1:]), made_on)
    return [NewEntry(layout, tensor_bytes(row)) for row in values]


def test_rows_of_hits_go_to_the_device_by_one_copy_on_a_stream_of_their_own(streams):
    values = torch.arange(12.0).view(4, 3)
    merged = merge_rows(rows_of(values), "cuda:0")
    assert merged.tolist() == values.tolist()
    assert streams.notes == [
        ("lane 1", "copies", 48, True),
        ("default", "waits for", "lane 1"),
        ("recorded", "default"),
    ]
    assert streams.current is streams.default
    merge_rows(rows_of(values), "cuda:0")
    assert streams.made == 1  # for ever


def test_narrow_bytes_are_copied_and_widened_on_that_stream(streams, monkeypatch):
    values = torch.randn(4, 8)
    widened = layouts.narrow_tensors.widened

    def noted(*args):
        streams.notes.append((streams.current.name, "widens"))
        return widened(*args)

    monkeypatch.setattr(layouts.narrow_tensors, "widened", noted)
    entries = []
    for layout, payload in codec.encode_many(list(values), "float16"):
        kind = layouts.parse(layout)
        made = layouts.tensor_layout(b"t", kind.dtype, kind.shape, "cuda", kind.store_as)
        entries.append(NewEntry(made, payload))
    decoded = codec.decode_many(entries, "cuda:0")
    assert [row.tolist() for row in decoded] == values.half().float().tolist()
    assert streams.notes == [
        ("lane 1", "copies", 64, True),  # two bytes for each
        ("lane 1", "widens"),
        ("default", "waits for", "lane 1"),
        ("recorded", "default"),
    ]


def test_in_the_stream_of_hits_nothing_waits(streams):
    with devices.beside("cuda:0"):
        merge_rows(rows_of(torch.ones(4, 3)), "cuda:0")
    assert streams.notes == [("lane 1", "copies", 48, True)]
    assert streams.current is streams.default


def leaving(monkeypatch, tensor):
    """The tensor, which says that it lies on the device."""

    class OnDevice(torch.Tensor):
        device = DEVICE

    monkeypatch.setattr(torch.Tensor, "detach", lambda t: t)
    return tensor.as_subclass(OnDevice)


def test_a_tensor_leaves_the_device_by_one_copy_after_the_kernels_that_compute_it(
    streams, monkeypatch
):
    values = torch.arange(12.0).view(4, 3)
    host = devices.to_cpu(leaving(monkeypatch, values))
    assert host.tolist() == values.tolist()
    assert streams.notes == [
        ("lane 1", "waits for", "default"),
        ("lane 1", "copies", 12, True),
        ("recorded", "lane 1"),
        ("the thread", "waits for", "lane 1"),
    ]


def test_each_way_has_its_own_stream_before_others(streams, monkeypatch):
    merge_rows(rows_of(torch.ones(4, 3)), "cuda:0")
    devices.to_cpu(leaving(monkeypatch, torch.ones(4, 3)))
    assert streams.made == 2  # a hit does not wait for the outputs of the batch that is computed
    assert devices._lane(streams, DEVICE, "to").options["priority"] == -1


def test_a_device_without_streams_is_copied_to_as_ever():
    for name in ("meta", "mps", "cpu"):
        assert devices.streams_of(torch.device(name)) is None
    merged = merge_rows(rows_of(torch.ones(4, 3), "meta"), "meta")
    assert (merged.device.type, merged.shape) == ("meta", (4, 3))
    with devices.beside("meta"), devices.beside(None), devices.beside(["cpu"]), devices.beside("x"):
        assert merge_rows(rows_of(torch.ones(4, 3), "cpu")).tolist() == [[1.0] * 3] * 4


def test_torch_names_the_streams_of_its_devices():
    assert devices.streams_of(torch.device("cuda")) is torch.cuda
    assert devices.streams_of(torch.device("xpu")) is torch.xpu


def test_without_pinned_memory_the_bytes_are_copied_as_they_are(monkeypatch):
    def none_left(*args, **options):
        raise RuntimeError("no pinned memory")

    monkeypatch.setattr(torch, "empty_like", none_left)
    data = torch.ones(3)
    assert devices._pinned(data) is data


def test_a_tensor_on_the_cpu_is_not_copied():
    tensor = torch.ones(3)
    assert devices.to_cpu(tensor) is tensor
