"""The URL of a Redis server: to connect, to show, and to pickle."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from litcache.checks import is_utf8

_REFERENCE = re.compile(r"\$\{(\w+)\}")


def stripped(url: str) -> str:
    """Return a URL without its secrets; `${NAME}` stays.

    A user name stays if there is a password. Without a password it may be a secret itself, because
    some services take a token in its place.
    """
    parts = urlsplit(url)
    account, _, place = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if "password" not in name or _named(value)]
    if not _named(password) and all(name != "password" for name, _ in kept):
        kept = [(name, value) for name, value in kept if name != "username" or _named(value)]
        if not _named(user) or password:
            user = ""
    shown = user + (f":{password}" if _named(password) else "")
    if (kept, shown) == (query, account):
        return url
    shown += "@" if shown else ""
    options = f"?{urlencode(kept, safe='${}/:')}" if kept else ""
    return f"{parts.scheme}://{shown}{place}{parts.path}{options}"


def public(url: str) -> str:
    """Return a URL as it may be shown: without its account and its options."""
    parts = urlsplit(url)
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url
    )


def _named(value: str) -> re.Match[str] | None:
    """Return the match if a value is `${NAME}`."""
    return _REFERENCE.fullmatch(value)


def resolved(value: Any) -> Any:
    """Return the environment variable for `${NAME}`, and anything else as it is."""
    name = _named(value) if isinstance(value, str) else None
    if name is None:
        return value
    try:
        return os.environ[name[1]]
    except KeyError:
        raise ValueError(f"url: the environment variable {name[1]} is not set") from None


def check_url(url: object) -> None:
    """Check that a URL is text; the error does not show anything else, as it may hold a secret."""
    if not isinstance(url, str):
        given = "url=None" if url is None else f"url=<{type(url).__name__}>"
        raise TypeError(
            f'{given} must be text, such as "redis://cache.internal:6379/0", or "${{NAME}}" for an '
            "environment variable that holds the URL"
        )


def parsed(url: str) -> dict[str, Any]:
    """Return the options of a URL; unlike redis-py's, the error repeats no part of it."""
    # redis-py is loaded when a store is made, not before.
    from redis.connection import parse_url

    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        parts = urlsplit(url)
        place = parts.scheme != "unix" and "@" not in parts.path and parts.port != 0
        known = is_utf8(url) and ("path" in options or place)
    except ValueError:
        known = False
    if not known:
        raise ValueError(
            "url: it is no URL of the form redis://, rediss:// or unix:// that redis-py takes; in "
            "a password, / ? # @ : and % must be percent-encoded (it is not shown: it may hold one)"
        )
    database = "" if "path" in options else unquote(parts.path).strip("/")
    if not re.fullmatch("[0-9]*", database) or int(options.get("db", 0)) < 0:
        # redis-py would take database 0, or make one number of the digits that it finds.
        raise ValueError(
            "url: behind the host of the URL must stand the number of a database, such as /0, or "
            "nothing (it is not shown: it may hold a part of a password)"
        )
    return options
