"""The URL of a Redis server: what connects, what may be shown, and what may be pickled of it."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

_REFERENCE = re.compile(r"\$\{(\w+)\}")


def stripped(url: str) -> str:
    """Return a URL without its passwords, nor the user of one; `${NAME}` stays where it stands."""
    parts = urlsplit(url)
    account, _, place = parts.netloc.rpartition("@")
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if "password" not in name or _named(value)]
    secret = account.partition(":")[2]
    if kept == query and (not secret or _named(secret)):
        return url
    if secret and not _named(secret):
        account = ""
    account += "@" if account else ""
    options = f"?{urlencode(kept, safe='${}/:')}" if kept else ""
    return f"{parts.scheme}://{account}{place}{parts.path}{options}"


def public(url: str) -> str:
    """Return what may be shown of a URL: neither its account nor its options."""
    parts = urlsplit(url)
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url
    )


def _named(value: str) -> re.Match[str] | None:
    """Return the match if a value is `${NAME}`."""
    return _REFERENCE.fullmatch(value)


def resolved(value: Any) -> Any:
    """Return the variable of the environment that `${NAME}` stands for; anything else as it is."""
    name = _named(value) if isinstance(value, str) else None
    if name is None:
        return value
    try:
        return os.environ[name[1]]
    except KeyError:
        raise ValueError(f"the environment variable {name[1]} is not set") from None


def parsed(url: str) -> dict[str, Any]:
    """Return the options of a URL; the error repeats nothing of it, as redis-py's would."""
    # redis-py is not loaded before a store is made.
    from redis.connection import parse_url

    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        if "path" in options or "@" not in urlsplit(url).path:
            return options
    except ValueError:
        pass
    raise ValueError(
        "the URL is not of the form redis://, rediss:// or unix:// that redis-py takes; "
        "in a password, / ? # @ : and % must be percent-encoded"
    )
