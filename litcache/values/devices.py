"""The devices of tensors, and how tensors get there and back: one copy a batch, on its own stream.

Where a device has streams, the kernels of a model are queued on its default stream, one after
the other. A copy that is queued there waits for them. So each way has its own stream: bytes of hits
go to the device beside what the model computes, and outputs leave it when they are there, not when
all is done that was queued since. Memory on this side is pinned: only then does a copy not hold up
the thread that asks for it.

Concurrency: safe to use from any number of threads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from litcache import arrays

_URGENT = -1  # the priority of a stream whose work is short, before that of the default stream


def placement(made_on: str, device: object) -> Any:
    """Return the device for a stored tensor when it is read.

    Args:
        made_on: The type of the device that it was stored from, such as `"cuda"`.
        device: LitServe's `api.device`: a string, a `torch.device`, a list of them, or `None`.

    Returns:
        The `torch.device` of `device`, if it is of the type `made_on`; `None` for the CPU.

    Example:
        >>> placement("cpu", "cuda:1") is None
        True
    """
    if made_on == "cpu":
        return None
    target = _device(device)
    return target if target is not None and target.type == made_on else None


def _device(device: object) -> Any:
    """Return the `torch.device` of LitServe's `api.device`; `None` if torch knows none."""
    wanted = device[0] if isinstance(device, (list, tuple)) and device else device
    if not wanted:
        return None
    try:
        return arrays.torch().device(wanted)
    except (RuntimeError, TypeError):  # LitServe knows this device, but torch does not
        return None


def streams_of(device: Any) -> Any:
    """Return torch's module of a type of device, such as `torch.cuda`, if it has streams."""
    module = getattr(arrays.torch(), device.type, None)
    if device.type == "cpu" or not hasattr(module, "current_stream"):
        return None
    return module if hasattr(module, "stream") and hasattr(module, "Stream") else None


@lru_cache(64)
def _lane(streams: Any, device: Any, way: str) -> Any:
    """Return the stream of one way to or from a device."""
    return streams.Stream(device=device, priority=_URGENT)


def to_device(buffer: bytearray, device: Any, read: Callable[[Any], Any]) -> Any:
    """Copy bytes to a device, and read them there.

    Args:
        buffer: The bytes, at least one.
        device: The device.
        read: Makes the result of a tensor of bytes on the device.

    Returns:
        The result. What the calling thread queues from now on, on its current stream, waits for it.
    """
    data = arrays.torch().frombuffer(buffer, dtype=arrays.torch().uint8)
    streams = streams_of(device)
    if streams is None:
        return read(data.to(device))
    current, lane = streams.current_stream(device), _lane(streams, device, "to")
    with streams.stream(lane):
        # torch does not use pinned memory again before the copies from it are done.
        result = read(_pinned(data).to(device, non_blocking=True))
    if current != lane:
        current.wait_stream(lane)
        result.record_stream(current)  # its memory is used again after what current does with it
    return result


def to_cpu(tensor: Any) -> Any:
    """Return a tensor in the memory of the CPU; a tensor that lies there is not copied.

    Args:
        tensor: A dense tensor. The calling thread's current stream computes it.
    """
    if tensor.device.type == "cpu":
        return tensor
    streams = streams_of(tensor.device)
    if streams is None:
        return tensor.cpu()
    tensor = tensor.detach().contiguous()
    current, lane = streams.current_stream(tensor.device), _lane(streams, tensor.device, "from")
    host = _pinned(arrays.torch().empty(tensor.shape, dtype=tensor.dtype, device="cpu"), fill=False)
    lane.wait_stream(current)  # for the kernels that compute it, and for none that come later
    with streams.stream(lane):
        host.copy_(tensor, non_blocking=True)
    tensor.record_stream(lane)
    lane.synchronize()
    return host


def _pinned(data: Any, *, fill: bool = True) -> Any:
    """Return pinned memory of the size of a tensor; the tensor itself where none can be pinned."""
    try:
        pinned = arrays.torch().empty_like(data, pin_memory=True)
    except RuntimeError:  # the system lets a process pin so much
        return data
    return pinned.copy_(data) if fill else pinned


def beside(device: object) -> AbstractContextManager[Any]:
    """Return a context in which this thread's current stream is that of hits.

    What is queued in it waits for the tensors of hits, and for nothing that a model computes.

    Args:
        device: LitServe's `api.device`.
    """
    if "torch" not in sys.modules:
        return nullcontext()
    target = _device(device)
    streams = None if target is None else streams_of(target)
    if streams is None:
        return nullcontext()
    context: AbstractContextManager[Any] = streams.stream(_lane(streams, target, "to"))
    return context
