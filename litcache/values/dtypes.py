"""Dtypes in a form that msgpack can hold, and that gives back exactly the same dtype."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from litcache import arrays
from litcache.values.packing import MALFORMED

_LEVELS = 32
_ELEMENTARY = re.compile(
    r"([<>|])(?:[?biufcSUV]\d{1,10}|[mM]8(?:\[\d{0,9}(?:[YMWDhms]|[munpfa]s)\])?)(:[ilqpILQPgGc]\d*)?"
)

_NOTED = (
    "the metadata of its dtype would not come back: return value.astype(value.dtype.str), "
    "or this of each of its fields"
)


def dtype_form(dtype: Any) -> object:
    """Return a form of a dtype that msgpack can hold.

    Args:
        dtype: A `numpy.dtype`.

    Returns:
        The form, from which `read_dtype` makes exactly that dtype.

    Raises:
        TypeError: If the dtype has no such form: objects, records, dtypes of other libraries,
            dtypes with metadata.

    Example:
        >>> import numpy as np
        >>> dtype_form(np.dtype(">f4"))
        '>f4'
    """
    fault = TypeError(f"arrays of dtype {dtype} are not stored")
    if dtype.hasobject:
        raise fault
    if dtype.metadata is not None:
        raise TypeError(_NOTED)
    form: object
    if dtype.subdtype is not None:
        form = [dtype_form(dtype.subdtype[0]), list(dtype.shape)]
    elif dtype.names is not None:
        fields = [(*dtype.fields[name], None)[:3] for name in dtype.names]
        parts = [dtype_form(field[0]) for field in fields]
        offsets, titles = [field[1] for field in fields], [field[2] for field in fields]
        form = [dtype.itemsize, dtype.isalignedstruct, list(dtype.names), parts, offsets, titles]
    else:
        form = dtype.str + _variant(dtype)
    try:
        read = read_dtype(form)
    except MALFORMED:
        raise fault from None
    if read != dtype or read.type is not dtype.type:
        raise fault
    return form


def _variant(dtype: Any) -> str:
    """Return what the string of a dtype leaves out: `long long`, and how exact `long double` is."""
    numpy = arrays.numpy()
    if dtype.char in "gG":
        return f":{dtype.char}{numpy.finfo(dtype).nmant}"
    return "" if numpy.dtype(dtype.str).char == dtype.char else f":{dtype.char}"


def read_dtype(form: Any, levels: int = _LEVELS) -> Any:
    """Return the dtype of a form.

    Args:
        form: What `dtype_form` returned, or any other bytes that were unpacked.
        levels: How deep dtypes may be nested.

    Returns:
        The dtype.

    Raises:
        Exception: One of `MALFORMED`, if this machine has no such dtype.
    """
    numpy = arrays.numpy()
    if not levels:
        raise ValueError("dtypes nested too deeply")
    if isinstance(form, str):
        return _read_elementary(form)
    if len(form) == 2:
        return numpy.dtype((read_dtype(form[0], levels - 1), tuple(form[1])))
    itemsize, aligned, names, parts, offsets, titles = form
    fields = {
        "names": names,
        "formats": [read_dtype(part, levels - 1) for part in parts],
        "offsets": offsets,
        "itemsize": itemsize,
    }
    if any(titles):
        fields["titles"] = titles
    return numpy.dtype(fields, align=bool(aligned))


def _read_elementary(text: str) -> Any:
    numpy = arrays.numpy()
    match = _ELEMENTARY.fullmatch(text)
    if match is None:
        raise ValueError(f"no dtype: {text!r}")
    order, variant = match.groups()
    dtype = numpy.dtype(variant[1]).newbyteorder(order) if variant else numpy.dtype(text)
    if dtype.hasobject or dtype.str + _variant(dtype) != text:
        raise ValueError(f"no dtype of this machine: {text!r}")
    return dtype


@lru_cache(1)
def torch_dtypes() -> dict[str, Any]:
    """Return the dtypes of the tensors that are stored, by name."""
    torch = arrays.torch()
    dtypes = [dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)]
    names = {str(dtype).removeprefix("torch."): dtype for dtype in dtypes}
    return {name: dtype for name, dtype in names.items() if not name.startswith("q")}
