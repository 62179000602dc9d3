"""DataFrames and Series: columns, dtypes and index."""

import datetime as dt

import pytest
from support.forms import collisions

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical


def pandas_values():
    pd = pytest.importorskip("pandas")
    np = pytest.importorskip("numpy")
    frame, series = pd.DataFrame, pd.Series
    zone = pd.Timestamp("2020-01-01", tz="Europe/Paris")
    noted = frame({"a": [1]})
    noted.attrs["unit"] = "m"
    ordered = pd.Categorical(["x", "y"], ordered=True)
    return [
        frame(),
        frame({"a": []}),
        frame({"a": [1, 2]}),
        frame({"a": [1, 2]}, dtype="i4"),
        frame({"a": [1.0, 2]}),
        frame({"a": [1, None]}),
        frame({"a": [True, False]}),
        frame({"b": [1, 2]}),
        frame({"a": [1, 2], "b": [3, 4]}),
        frame({"b": [3, 4], "a": [1, 2]}),
        frame({"a": [2, 1]}),
        frame({"a": [1, 2]}, index=[1, 2]),
        frame({"a": [1, 2]}, index=["x", "y"]),
        frame({"a": [1, 2]}, index=pd.Index([0, 1])),
        frame({"a": [1, 2]}, index=pd.Index([0, 1], name="n")),
        frame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, 2), (3, 4)])),
        frame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, 2), (3, 5)])),
        frame({"a": ["x", "y"]}),
        frame({"a": ["x", None]}),
        frame({"a": ["x", "y"]}, dtype=object),
        frame({"a": ["x", "y"]}, dtype="string"),
        frame({"a": ["x", "y"]}, dtype="category"),
        frame({"a": ordered}),
        frame({"a": pd.Categorical(["x", "y"], categories=["x", "y", "z"])}),
        frame({"a": [1, "x"]}),
        frame({"a": [(1,), [2]]}),
        frame({"a": [1, 2]}, dtype="Int64"),
        frame({"a": [1, None]}, dtype="Int64"),
        frame({"a": [True, None]}, dtype="boolean"),
        frame({"a": [dt.datetime(2020, 1, 1)]}),
        frame({"a": [zone]}),
        frame({"a": [zone.tz_convert("UTC")]}),
        frame({"a": [pd.Timestamp("2020-01-01")]}, dtype=object),
        frame({"a": [pd.NaT]}),
        frame({"a": [pd.NA]}),
        frame({"a": [pd.Timedelta(1, "s")]}, dtype=object),
        frame({"a": [pd.Timedelta(1, "s")]}),
        frame([[1, 2], [3, 4]], columns=["a", "a"]),
        frame([[1, 3], [2, 4]], columns=["a", "a"]),
        frame({1: [1]}),
        frame({"1": [1]}),
        noted,
        frame({"a": [1]}),
        series([1]),
        series([1], name="a"),
        series([1.0]),
        series(["x"]),
        series([1], index=[5]),
        series([1], index=pd.date_range("2020", periods=1, freq="D")),
        series([1], index=pd.date_range("2020", periods=1, freq="h")),
        series([1], index=pd.DatetimeIndex(["2020-01-01"])),
        np.array([1]),
        [1],
        {"a": [1]},
    ]


def test_frames_of_pandas_differ_by_columns_dtypes_and_index():
    assert collisions(pandas_values()) == []
    for one, other in zip(pandas_values(), pandas_values(), strict=True):
        assert canonical(one) == canonical(other)
    pd = pytest.importorskip("pandas")
    wide = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    assert canonical(wide[["a"]].iloc[:2]) == canonical(pd.DataFrame({"a": [1, 2]}))
    touched = pd.DataFrame({"a": [1, 2]})
    touched.index.is_unique, touched.values, touched.attrs  # noqa: B018 - pandas keeps what it finds
    assert canonical(touched) == canonical(pd.DataFrame({"a": [1, 2]}))


def test_other_columns_of_pandas_are_refused_with_the_remedy():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.period_range("2020", periods=2)})
    with pytest.raises(KeyEncodingError, match=r"value\.astype\(str\)"):
        canonical({"x": frame})
    mine = type("Mine", (pd.DataFrame,), {})({"a": [1]})
    with pytest.raises(KeyEncodingError, match=r"pandas\.DataFrame\(value\)"):
        canonical(mine)
    with pytest.raises(KeyEncodingError):
        canonical(pd.DataFrame({"a": [object()]}))


def polars_values():
    pl = pytest.importorskip("polars")
    frame, series = pl.DataFrame, pl.Series
    moment = dt.datetime(2020, 1, 1)
    return [
        frame(),
        frame({"a": []}),
        frame({"a": [1, 2]}),
        frame({"a": [2, 1]}),
        frame({"a": [1, None]}),
        frame({"a": [0, None]}),
        frame({"a": [1, 2]}, {"a": pl.Int32}),
        frame({"a": [1.0, 2]}),
        frame({"a": [True, False]}),
        frame({"b": [1, 2]}),
        frame({"a": [1, 2], "b": [3, 4]}),
        frame({"b": [3, 4], "a": [1, 2]}),
        frame({"a": ["x", "y"]}),
        frame({"a": ["x", None]}),
        frame({"a": ["x", "y"]}, {"a": pl.Categorical}),
        frame({"a": ["x", "y"]}, {"a": pl.Enum(["x", "y"])}),
        frame({"a": ["x", "y"]}, {"a": pl.Enum(["x", "y", "z"])}),
        frame({"a": [b"x"]}),
        frame({"a": [[1], [2, 3]]}),
        frame({"a": [{"b": 1}]}),
        frame({"a": [{"b": 1.0}]}),
        frame({"a": [moment]}),
        frame({"a": [moment.date()]}),
        frame({"a": [moment]}, {"a": pl.Datetime("ms")}),
        frame({"a": [moment]}, {"a": pl.Datetime("ns")}),
        frame({"a": [moment]}, {"a": pl.Datetime("us", "UTC")}),
        series([1]),
        series("a", [1]),
        series("a", [1.5]),
    ]


def test_frames_of_polars_differ_by_columns_and_dtypes():
    assert collisions(polars_values()) == []
    for one, other in zip(polars_values(), polars_values(), strict=True):
        assert canonical(one) == canonical(other)
    pl = pytest.importorskip("polars")
    nanoseconds = [pl.Series([n]).cast(pl.Datetime("ns")) for n in (1, 2)]
    assert collisions(nanoseconds) == []
    wide = pl.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    assert canonical(wide[["a"]][:2]) == canonical(pl.DataFrame({"a": [1, 2]}))


def test_other_frames_of_polars_are_refused_with_the_remedy():
    pl = pytest.importorskip("polars")
    with pytest.raises(KeyEncodingError, match=r"value\.collect\(\)"):
        canonical(pl.DataFrame({"a": [1]}).lazy())
    with pytest.raises(KeyEncodingError, match="leave it out"):
        canonical(pl.DataFrame({"a": [object()]}))
