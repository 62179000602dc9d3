import math

import pytest

from litcache.sizes import parse_bytes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1),
        ("1", 1),
        ("5 B", 5),
        ("2kB", 2_000),
        ("2 KiB", 2_048),
        ("256 MiB", 256 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        (" 1 tb ", 10**12),
    ],
)
def test_sizes_are_read(size, expected):
    assert parse_bytes(size) == expected


@pytest.mark.parametrize(
    "size", [0, -1, "0", "-1 MB", "1 XB", "MB", "", "nan", "1e9", 2**63, "0.1"]
)
def test_impossible_sizes_raise(size):
    with pytest.raises(ValueError, match="positive whole number of bytes"):
        parse_bytes(size)


@pytest.mark.parametrize("size", [1.5, True, None, b"1", math.nan])
def test_a_size_of_another_type_raises(size):
    with pytest.raises(TypeError, match="positive whole number of bytes"):
        parse_bytes(size)
