from datetime import timedelta

import numpy as np
import pytest

from litcache import CachePolicy
from litcache.ttl import seconds_of


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        (None, None),
        (60, 60.0),
        (0.5, 0.5),
        (timedelta(hours=1, milliseconds=1), 3600.001),
        (np.float32(5), 5.0),
        ("90s", 90.0),
        ("2h30m", 9_000.0),
        (" 2h 30m ", 9_000.0),
        ("1.5h", 5_400.0),
        ("1d", 86_400.0),
        ("1w2d3h4m5s6ms", 788_645.006),
        ("250ms", 0.25),
        ("5 m", 300.0),
    ],
)
def test_a_ttl_is_read(ttl, seconds):
    assert seconds_of(ttl) == CachePolicy(ttl=ttl).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    "ttl",
    ["", " ", "60", "soon", "h", "-5s", "0s", "30m2h", "1h1h", "1H", "1M", "1e3s", "1h\n2", "1hs",
     "1 month", "\u0663s", f"{9**400}s", "1w" + " " * 100_000 + "x"],
)  # fmt: skip
def test_text_that_names_no_time_raises(ttl):
    with pytest.raises(ValueError, match=r"ttl=.* must be a positive number of seconds"):
        seconds_of(ttl)


def test_zero_is_a_time_only_where_it_is_asked_for():
    for zero in (0, 0.0, timedelta(0), "0s"):
        assert seconds_of(zero, may_be_zero=True) == 0
        with pytest.raises(ValueError, match="ttl="):
            seconds_of(zero)
