"""Items and outputs that name files: what is in a file changes, and its name stays."""

from __future__ import annotations

from collections.abc import Mapping

from litcache.engine.call import Misses
from litcache.errors import ValueEncodingError
from litcache.keys.named import named_file
from litcache.observe.log import Reporter

_WATCHED = 256
_ONE_IN = 64
_PARTS_OF_ITEM = 16
_PARTS_OF_OUTPUT = 64

_ITEM = (
    "an item names a file (%r at %s), and the key holds its name, not what is in it: when the file "
    "changes, the old answer is given. With key=contents (from litcache) what is in it counts; "
    'where only a part of the item names a file, key=lambda item: (contents(item["path"]), …); or '
    "return the file's bytes from decode_request"
)
_OUTPUT = (
    "it names the file %r, which may be changed or deleted before the next hit: return what is in "
    "the file"
)


class NamesFileError(ValueEncodingError):
    """An output names a file."""


class FileWatch:
    """Looks for names of existing files in the items that miss, and in what is to be stored.

    It asks the file system about each text that looks like a path, which takes about a microsecond.
    So it looks at the items of the first misses, and then at a sample. It looks at all outputs.

    Args:
        reporter: Warns of an item that names a file, once.
        items: Whether it looks at items; the policy's `key` decides what of them counts.
    """

    def __init__(self, reporter: Reporter, *, items: bool) -> None:
        self._reporter = reporter
        self._items = items
        self._seen = 0

    def look_at_items(self, misses: Misses) -> None:
        """Look at the items that a call computes."""
        if not self._items:
            return
        positions = misses.to_compute
        start, self._seen = self._seen, self._seen + len(positions)
        if start >= _WATCHED:
            positions = positions[-start % _ONE_IN :: _ONE_IN]
        for position in positions:
            if misses.keys[position] is None:
                continue
            named = named_file(misses.call.items[position], _PARTS_OF_ITEM)
            if named is not None:
                self._items = False
                self._reporter.warn_once("item names file", _ITEM % (named.file, named.place))
                return

    def fault_of(self, output: object) -> NamesFileError | None:
        """Return why an output is not stored, if it names a file."""
        named = named_file(output, _PARTS_OF_OUTPUT)
        return None if named is None else NamesFileError(_OUTPUT % named.file, *named[1:])

    def check_context(self, changed: Mapping[str, object]) -> None:
        """Check the entries of a context that are stored with an output.

        Raises:
            NamesFileError: If one of them names a file.
        """
        fault = self.fault_of(changed)
        if fault is not None:
            fault.path = fault.path.replace("$", "$context", 1)
            raise fault
