"""The checks of what is given to the helpers of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litserve import LitAPI

from litcache.checks import told


def check_api(api: object) -> None:
    """Check an API that is to be run.

    Args:
        api: What the user gave.

    Raises:
        TypeError: If it is no `LitAPI`; a class of them is none.
    """
    if not isinstance(api, LitAPI):
        raise TypeError(told("api", api, "a LitAPI, made by calling its class"))


def check_requests(requests: Any) -> None:
    """Check requests that are to be asked.

    Args:
        requests: What the user gave.

    Raises:
        ValueError: If there are none.
        TypeError: If they have no order, or are the letters of a text.
    """
    other = isinstance(requests, str | bytes | Mapping | type)
    if other or not (hasattr(requests, "__len__") and hasattr(requests, "__getitem__")):
        raise TypeError(told("requests", requests, "a list of the arguments of decode_request"))
    if not len(requests):
        raise ValueError("requests=[] must be at least one request: without one nothing is seen")
