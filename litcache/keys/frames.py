"""The canonical msgpack of DataFrames and Series of pandas and polars: columns, dtypes, index."""

from __future__ import annotations

from typing import Any

from litcache.keys.leaves import clock, date
from litcache.keys.writer import (
    Code,
    Handler,
    Unencodable,
    Writer,
    class_name,
    ext,
    inherits,
    loaded,
)


def handler_of(cls: type) -> Handler | None:
    """Return the handler of a class of pandas or polars; `None` for others."""
    root = cls.__module__.partition(".")[0]
    if root == "polars":
        return _polars_handler(cls)
    return _pandas_handler(cls) if root == "pandas" else None


def _pandas_handler(cls: type) -> Handler | None:
    if cls is loaded("pandas", "DataFrame"):
        return _frame
    if cls is loaded("pandas", "Series"):
        return _series
    if inherits(cls, loaded("pandas", "Index")):
        return _index
    if cls is loaded("pandas", "Timestamp"):
        return _timestamp
    if cls is loaded("pandas", "Timedelta"):
        return _timedelta
    if cls in (type(loaded("pandas", "NA")), type(loaded("pandas", "NaT"))):
        return lambda to, value: to.record(class_name(cls))
    return None


def _frame(to: Writer, frame: Any) -> bytes:
    columns = [_values(to, frame.iloc[:, at]) for at in range(frame.shape[1])]
    head = {"attrs": frame.attrs, "columns": frame.columns, "index": frame.index}
    return to.record("pandas.DataFrame", **head, values=columns)


def _series(to: Writer, series: Any) -> bytes:
    head = {"attrs": series.attrs, "name": series.name, "index": series.index}
    return to.record("pandas.Series", **head, values=_values(to, series))


def _index(to: Writer, index: Any) -> bytes:
    """Encode an index by its class, names and values; a range by its bounds."""
    name = class_name(type(index))
    if type(index) is loaded("pandas", "RangeIndex"):
        bounds = [index.start, index.stop, index.step]
        return to.record(name, names=list(index.names), bounds=bounds)
    if type(index) is loaded("pandas", "MultiIndex"):
        levels: Any = [index.get_level_values(at) for at in range(index.nlevels)]
    else:
        levels = _values(to, index)
    return to.record(name, names=list(index.names), freq=getattr(index, "freqstr", None), of=levels)


def _values(to: Writer, column: Any) -> list[object]:
    """Return the dtype of a column and its values as arrays, or one by one."""
    dtype, text = column.dtype, str(column.dtype)
    if text == "object":
        return [text, column.tolist()]
    if not hasattr(dtype, "construct_array_type"):
        return [text, column.to_numpy()]
    kind = type(dtype).__name__
    if kind == "CategoricalDtype":
        held = column.array
        return [kind, dtype.ordered, dtype.categories, held.codes]
    if kind in ("DatetimeTZDtype", "StringDtype", "BooleanDtype") or hasattr(dtype, "numpy_dtype"):
        return [text, class_name(type(dtype)), column.tolist()]
    raise Unencodable(f"it has a column of dtype {text}; give it as value.astype(str)")


def _timestamp(to: Writer, value: Any) -> bytes:
    parts = [*date(value), *clock(value), value.nanosecond, value.unit]
    return ext(Code.RECORD, to.pack("pandas.Timestamp") + to.pack(parts))


def _timedelta(to: Writer, value: Any) -> bytes:
    parts = [value.days, value.seconds, value.microseconds, value.nanoseconds, value.unit]
    return ext(Code.RECORD, to.pack("pandas.Timedelta") + to.pack(parts))


def _polars_handler(cls: type) -> Handler | None:
    if cls is loaded("polars", "DataFrame"):
        return _polars_frame
    return _polars_series if cls is loaded("polars", "Series") else None


def _polars_frame(to: Writer, frame: Any) -> bytes:
    return to.record("polars.DataFrame", height=frame.height, columns=frame.get_columns())


def _polars_series(to: Writer, series: Any) -> bytes:
    dtype = series.dtype
    text = str(dtype)
    if dtype.is_numeric() and not series.null_count() and not text.startswith("Decimal"):
        values: object = series.to_numpy()
    elif "Object" in text:
        raise Unencodable("it has a column of Python objects; leave it out, as value.drop(name)")
    elif "Categorical" in text or "Enum" in text:
        values = series.to_list()
    else:
        values = series.to_physical().to_list()  # Python's own times would lose the nanoseconds
    return to.record("polars.Series", name=series.name, dtype=text, values=values)
