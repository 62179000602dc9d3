"""Arrays and scalars of numpy, tensors of torch, and arrays of other libraries."""

from __future__ import annotations

from typing import Any

from litcache import arrays
from litcache.keys.writer import inherits, loaded
from litcache.trial.answers.freezer import PLAIN_PARTS, Freezer, Unfit, class_kind
from litcache.trial.answers.frozen import Array, Exact, Node, Number
from litcache.trial.answers.objects import beside, with_attributes

# dtypes whose elements are compared as they are; other elements are bytes, text or objects.
_NUMERIC = "biufc"


def read(to: Freezer, cls: type, value: Any) -> Node | None:
    """Freeze an array, a tensor, or a scalar of numpy; `None` for others."""
    if inherits(cls, loaded("torch", "Tensor")):
        return _once(to, value, _tensor)
    if inherits(cls, loaded("numpy", "ndarray")):
        return _once(to, value, _array)
    if inherits(cls, loaded("numpy", "generic")):
        return _scalar(to, cls, value)
    if hasattr(cls, "__array__") and hasattr(cls, "dtype") and loaded("numpy", "ndarray"):
        return _once(to, value, _foreign)
    return None


def _once(to: Freezer, value: Any, freeze: Any) -> Node:
    """Freeze an array that several parts may be only once."""
    known = to.kept.get(id(value))
    if known is None:
        known = to.kept[id(value)] = (value, freeze(to, value))
    return known[1]


def _array(to: Freezer, value: Any) -> Node:
    numpy = arrays.numpy()
    kind = class_kind(type(value))
    if isinstance(value, numpy.ma.MaskedArray):  # what is under the mask does not count
        data = value.filled(numpy.zeros((), value.dtype))
        return to.fields(kind, {"data": data, "mask": numpy.ma.getmaskarray(value)})
    content = _elements(to, numpy.ndarray.view(value, numpy.ndarray), kind)
    if arrays.is_array(value) or isinstance(value, numpy.memmap):
        return content
    return with_attributes(to, value, content)


def _elements(to: Freezer, value: Any, name: str) -> Node:
    """Freeze the elements of an array, whatever they are."""
    dtype = value.dtype
    kind = f"{name} of {dtype.name if dtype.kind not in 'SU' else dtype.type.__name__}"
    if dtype.names is not None:
        return to.fields(kind, {field: value[field] for field in dtype.names})
    to.take(size=value.size * dtype.itemsize)
    if dtype.kind in _NUMERIC:
        data = value.astype(dtype.newbyteorder("="), order="C", copy=True)
    elif dtype.kind in "mM":
        data = value.astype(dtype.newbyteorder("="), order="C", copy=True).view("i8")
    elif dtype.kind == "V" and "float" in dtype.name:  # bfloat16 and float8 of ml_dtypes
        data = value.astype("f4")
    else:
        to.require(value.size // PLAIN_PARTS)
        elements = value.reshape(-1).tolist()
        return to.items(f"{kind} and shape {value.shape}", len(elements), elements)
    return Array(kind, tuple(value.shape), data)


def _scalar(to: Freezer, cls: type, value: Any) -> Node:
    """Freeze a scalar of numpy."""
    kind, of = class_kind(cls), value.dtype.kind
    if of == "f":
        return Number(kind, float(value))
    if of == "c":
        return Number(kind, complex(value))
    if of in "biSU":
        return Exact(kind, value.item())
    if of == "u":
        return Exact(kind, int(value))
    if of in "mM":
        count = int(value.view("i8"))
        # The text of a time of no unit raises.
        text = str(count) if value.dtype.name.endswith("64") else str(value)
        return Exact(f"{kind} {value.dtype.name}", count, text)
    return _elements(to, arrays.numpy().asarray(value), kind)


def _tensor(to: Freezer, value: Any) -> Node:
    torch = arrays.torch()
    exact = value if arrays.is_tensor(value) else value.detach().as_subclass(torch.Tensor)
    fault = arrays.tensor_fault(exact)
    if fault is not None:
        raise Unfit(fault)
    to.take(size=exact.numel() * exact.element_size())
    whole = exact.detach().cpu()
    data = whole.clone(memory_format=torch.contiguous_format)
    dtype = str(exact.dtype).removeprefix("torch.")
    content = Array(f"{class_kind(type(value))} of {dtype}", tuple(exact.shape), data)
    return beside(to, value, content, arrays.tensor_attributes(value))


def _foreign(to: Freezer, value: Any) -> Node:
    """Freeze an array of jax, tensorflow or another library by what it gives numpy."""
    return _elements(to, arrays.numpy().array(value), class_kind(type(value)))
