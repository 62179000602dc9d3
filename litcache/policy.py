"""The options of a cached method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from litcache.checks import check_choice, check_whole_number, is_store, told
from litcache.functions import check_function, check_predicate
from litcache.sizes import parse_bytes
from litcache.trial_policy import Trial, trial_of
from litcache.ttl import LEASES, Ttl, seconds_of


class Default(str):
    """A default value, which is another object than the same text given by a user."""

    __slots__ = ()


STORE_AS = ("float16", "bfloat16", "int8")
"""The forms in which floats can be stored."""
_DEFAULT_MAX_BYTES = Default("256 MiB")
_DEFAULT_TRIAL = Trial()
# The arguments of the functions of a policy, without the context.
_ARGUMENTS = {
    "ttl": ("item", "output"),
    "key": ("item",),
    "bypass_if": ("item",),
    "refresh_if": ("item",),
    "store_if": ("item", "output"),
}


class CacheOptions(TypedDict, total=False):
    """The options of `CachePolicy` as the keywords of `cached_predict`, for type checkers."""

    ttl: Ttl | Callable[..., Ttl]
    max_bytes: int | str
    store: Any
    version: str | Callable[[Any], str]
    namespace: str | None
    items: Literal["request", "list"]
    max_items: int | None
    list_at: str | int | None
    result: Literal["prediction", "response"]
    context: bool | tuple[str, ...]
    key: Callable[..., object] | None
    bypass_if: Callable[..., bool] | None
    refresh_if: Callable[..., bool] | None
    store_if: Callable[..., bool] | None
    digest: Literal["blake", "sha256"]
    trial: Trial | int
    outcome_in: str | None
    store_as: Literal["float16", "bfloat16", "int8"] | None
    lease: Ttl


@dataclass(frozen=True, kw_only=True)
class CachePolicy:
    """How the outputs of one method are cached.

    Args:
        ttl: How long an entry stays valid: positive seconds, a `timedelta` or text such as
            `"2h30m"`; `None`: until it is evicted; or `ttl(item, output[, context])`, which returns
            one of these, or 0 to store nothing.
        max_bytes: The budget of the default `MemoryStore`: bytes or text such as `"256 MiB"`.
        store: A `Store`, or a function `api -> Store` that is called at first use; by default a
            `MemoryStore` for each process and API instance.
        version: Which model makes the entries: text, or a function `api -> str` that is called at
            the end of each `setup`. Part of every key.
        namespace: Whose entries these are; by default the module, class, method and path of the
            API. Part of every key; `clear` drops the entries of one namespace.
        items: `"request"`: an item is a request. `"list"`: the decoded input is a list of items.
        max_items: With `items="list"`, the largest number of items in one call of `predict`.
        list_at: With `items="list"`, where the list stands in the decoded input: a key of a dict,
            or a position in a tuple. The rest of it is part of each item's key.
        result: What is cached: `"prediction"`, or `"response"`, which is what `encode_response`
            returns; then a hit runs neither the model nor the encoding.
        context: Which entries of `context` are in the key: `True` (all), a tuple of names, or
            `False`.
        key: `key(item[, context])`; its result is in the key, in place of item and context.
        bypass_if: `bypass_if(item[, context])`; if true, compute, and neither look up nor store.
        refresh_if: `refresh_if(item[, context])`; if true, compute, and replace the entry.
        store_if: `store_if(item, output[, context])`; if false, answer, and do not store.
        digest: `"blake"` (BLAKE2b and BLAKE3) or `"sha256"` (where FIPS 180-4 is required).
        trial: How the cache proves itself on a served API: a `Trial`, or how many first hits are
            proven; 0: not at all.
        outcome_in: The name of a context entry in which `encode_response` finds `"hit"`, `"miss"`,
            `"coalesced"`, `"verified"`, `"bypassed"` or `"uncacheable"`; with `items="list"`, how
            many items of the request were each. In no key and in no entry.
        store_as: The form in which arrays and tensors of floats in an output are stored:
            `"float16"`, `"bfloat16"`, `"int8"` (with a scale for each row), or `None`: in full.
            They come back in their own dtype, rounded, on a miss too. Part of every key.
        lease: With a store that processes share: of those that miss one key, one computes it, and
            the others wait for its entry, at most so long; then they compute, too. Seconds, a
            `timedelta`, or text such as `"2s"`; `None`: no process waits for another.

    Raises:
        ValueError: If a value is not allowed, or options contradict each other.
        TypeError: If a value is of the wrong type.

    Example:
        >>> CachePolicy(ttl=60).seconds
        60.0
    """

    ttl: Ttl | Callable[..., Ttl] = None
    max_bytes: int | str = _DEFAULT_MAX_BYTES
    store: Any = None
    version: str | Callable[[Any], str] = ""
    namespace: str | None = None
    items: Literal["request", "list"] = "request"
    max_items: int | None = None
    list_at: str | int | None = None
    result: Literal["prediction", "response"] = "prediction"
    context: bool | tuple[str, ...] = True
    key: Callable[..., object] | None = None
    bypass_if: Callable[..., bool] | None = None
    refresh_if: Callable[..., bool] | None = None
    store_if: Callable[..., bool] | None = None
    digest: Literal["blake", "sha256"] = "blake"
    trial: Trial | int = _DEFAULT_TRIAL
    outcome_in: str | None = None
    store_as: Literal["float16", "bfloat16", "int8"] | None = None
    lease: Ttl = None

    def __post_init__(self) -> None:
        _ = self.seconds, self.lease_seconds  # raises
        parse_bytes(self.max_bytes, name="max_bytes")
        self._check_names()
        self._check_store()
        self._check_items()
        self._check_functions()
        trial_of(self.trial)
        check_choice("digest", self.digest, ("blake", "sha256"))

    @property
    def seconds(self) -> float | None:
        """The ttl in seconds; `None` without one, and if a function decides."""
        return None if callable(self.ttl) else seconds_of(self.ttl)

    def _check_store(self) -> None:
        if self.store is None:
            if self.lease is not None:
                raise _no_leases(self.lease, "the default store, a MemoryStore of each process,")
            return
        if not isinstance(self.max_bytes, Default):
            raise ValueError(
                f"max_bytes={self.max_bytes!r} is the budget of the default store: "
                f"give it to the store itself, not beside store={self.store!r}"
            )
        if is_store(self.store):
            self.check_given(self.store)
            return
        allowed = "a Store or a function api -> Store"
        if isinstance(self.store, type):
            raise TypeError(told("store", self.store, allowed))
        check_function("store", self.store, allowed, "api")

    def _check_functions(self) -> None:
        for name, arguments in _ARGUMENTS.items():
            value = getattr(self, name)
            if value is None or (name == "ttl" and not callable(value)):
                continue
            check_predicate(name, value, arguments)

    @property
    def lease_seconds(self) -> float | None:
        """The lease in seconds; `None` without one."""
        return seconds_of(self.lease, name="lease", allowed=LEASES)

    def check_given(self, store: Any) -> None:
        """Refuse a store that does not fit the other options.

        Args:
            store: The store of this policy.

        Raises:
            ValueError: If the store outlives the process and has no `namespace` or `version`, or
                if it grants no leases and the policy has a `lease`.
        """
        self.check_persistent(store)
        if self.lease is not None and not getattr(store, "grants_leases", False):
            raise _no_leases(self.lease, type(store).__name__)

    def check_persistent(self, store: Any) -> None:
        """Refuse a persistent store without `namespace` and `version`.

        Args:
            store: The store of this policy.

        Raises:
            ValueError: If the store outlives the process and one of the two is missing.
        """
        if not getattr(store, "persistent", False) or (self.namespace and self.version):
            return
        missing = " and ".join(n for n in ("namespace", "version") if not getattr(self, n))
        raise ValueError(
            f"{missing} must be given with {type(store).__name__}: its entries outlive this "
            "process, so without a namespace a moved class loses them and without a version "
            "another model's entries are served as this one's"
        )

    def _check_names(self) -> None:
        if not isinstance(self.version, str):
            check_function("version", self.version, "text or a function api -> str", "api")
        if self.namespace is not None and not isinstance(self.namespace, str):
            raise TypeError(f"namespace={self.namespace!r} must be text or None")
        if self.namespace == "":
            raise ValueError("namespace='' must be text of at least one character, or None")
        names = self.context
        if not isinstance(names, bool) and not (
            isinstance(names, tuple) and all(isinstance(name, str) for name in names)
        ):
            raise TypeError(f"context={names!r} must be True, False or a tuple of names")
        if self.key is not None and names is not True:
            raise ValueError(
                f"context={names!r} has no meaning beside key=, which is the whole of the key"
            )
        self._check_outcome_in()

    def _check_outcome_in(self) -> None:
        name = self.outcome_in
        if name is not None and not isinstance(name, str):
            raise TypeError(f"outcome_in={name!r} must be the name of a context entry, or None")
        if name == "" or (isinstance(self.context, tuple) and name in self.context):
            raise ValueError(
                f"outcome_in={name!r} must be the name of a context entry that is not in the key, "
                f"and the key has context={self.context!r}"
            )

    def _check_items(self) -> None:
        check_choice("items", self.items, ("request", "list"))
        self._check_list_at()
        self._check_result()
        if self.max_items is None:
            return
        if self.items != "list":
            raise ValueError(f'max_items={self.max_items!r} has a meaning only with items="list"')
        check_whole_number("max_items", self.max_items, "a positive whole number", least=1)

    def _check_result(self) -> None:
        check_choice("result", self.result, ("prediction", "response"))
        check_choice("store_as", self.store_as, (*STORE_AS, None))
        if self.result == "response" and self.store_as is not None:
            raise ValueError(
                f'store_as={self.store_as!r} has no meaning beside result="response": a response '
                "is encoded already, and holds no arrays to round"
            )
        if self.result == "response" and (self.items == "list" or self.outcome_in is not None):
            other = 'items="list"' if self.items == "list" else f"outcome_in={self.outcome_in!r}"
            raise ValueError(
                f'result="response" has no meaning beside {other}: a response is that of a whole '
                "request, and encode_response does not run on a hit"
            )

    def _check_list_at(self) -> None:
        at = self.list_at
        if isinstance(at, bool) or not isinstance(at, str | int | None):
            raise TypeError(
                f"list_at={at!r} must be a key of a dict, a position in a tuple or None"
            )
        if at is not None and self.items != "list":
            raise ValueError(f'list_at={at!r} has a meaning only with items="list"')


def _no_leases(lease: Ttl, store: str) -> ValueError:
    return ValueError(
        f"lease={lease!r}: {store} grants no leases, which are for processes that share entries: "
        "give store=SharedStore(...), a RedisStore, or a TieredStore over one of them"
    )
