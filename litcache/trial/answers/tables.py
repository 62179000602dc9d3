"""DataFrames, Series and indexes of pandas and polars: columns, dtypes, index."""

from __future__ import annotations

from typing import Any

from litcache.keys.writer import inherits, loaded
from litcache.trial.answers.freezer import Freezer, class_kind
from litcache.trial.answers.frozen import Fields, Node
from litcache.trial.answers.places import Key, Step


def read(to: Freezer, cls: type, value: Any) -> Node | None:
    """Freeze a table or a column of pandas or polars; `None` for others."""
    for library, read_frame, read_column in (
        ("pandas", _pandas_frame, _pandas_series),
        ("polars", _polars_frame, _polars_series),
    ):
        if inherits(cls, loaded(library, "DataFrame")):
            return read_frame(to, value)
        if inherits(cls, loaded(library, "Series")):
            return read_column(to, value)
    if inherits(cls, loaded("pandas", "Index")):
        return _pandas_column(to, class_kind(cls), value)
    return None


def _pandas_frame(to: Freezer, frame: Any) -> Node:
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])]
    found = [_pandas_column(to, "a column", column) for column in columns]
    parts = _named(to, frame.columns.tolist(), found)
    parts[Key("attribute", "index", "index")] = _pandas_column(to, "an index", frame.index)
    return Fields(class_kind(type(frame)), parts)


def _pandas_series(to: Freezer, series: Any) -> Node:
    parts: dict[Step, Any] = {
        "name": to.node(series.name),
        "index": _pandas_column(to, "an index", series.index),
        "values": _pandas_column(to, "a column", series),
    }
    return Fields(class_kind(type(series)), parts)


def _pandas_column(to: Freezer, kind: str, column: Any) -> Node:
    dtype = column.dtype
    if hasattr(dtype, "construct_array_type") or dtype.kind == "O":  # not one of numpy's own
        return to.items(f"{kind} of {dtype}", len(column), column.tolist())
    return to.node(column.to_numpy())


def _polars_frame(to: Freezer, frame: Any) -> Node:
    found = [_polars_column(to, column) for column in frame.get_columns()]
    return Fields(class_kind(type(frame)), _named(to, frame.columns, found))


def _polars_series(to: Freezer, series: Any) -> Node:
    parts: dict[Step, Any] = {
        "name": to.node(series.name),
        "values": _polars_column(to, series),
    }
    return Fields(class_kind(type(series)), parts)


def _polars_column(to: Freezer, column: Any) -> Node:
    dtype = column.dtype
    if dtype.is_numeric() and not column.null_count() and not str(dtype).startswith("Decimal"):
        return to.node(column.to_numpy())
    return to.items(f"a column of {dtype}", len(column), column.to_list())


def _named(to: Freezer, names: list[Any], columns: list[Node]) -> dict[Step, Any]:
    """Return the columns by their names, and the order of the names."""
    order = to.items("list", len(names), names)
    parts: dict[Step, Any] = {Key("attribute", "columns", "columns"): order}
    for name, column in zip(names, columns, strict=True):
        step = to.key(name)
        while step in parts:  # of two columns with one name
            step = Key("column", (step,), f"{name}")
        parts[step] = column
    return parts
