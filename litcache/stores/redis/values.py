"""What a server holds under the name of an entry: its frame, and the last delete that was seen."""

from __future__ import annotations

# Where a frame holds its format: see `stores/frame.py`.
FORMAT_AT = 8
# This bit of it says that the place of a delete follows the frame, in so many bytes.
PLACED = 0x80
PLACE_BYTES = 32


def placed_value(frame: bytes, place: bytes) -> bytes:
    r"""Return the value for a frame.

    A writer that has not seen a delete must not write over an entry whose writer has: so such an
    entry tells the place of the delete in the stream of deletes. Most namespaces know no delete.

    Args:
        frame: The frame.
        place: The place of the last delete that its writer has seen; empty if there was none.

    Example:
        >>> value = placed_value(b"checksum" + b"\x03...", b"1700000000000-0")
        >>> len(value), frame_in(value)
        (44, b'checksum\x03...')
    """
    if not has_place(place):
        return frame
    marked = bytes((frame[FORMAT_AT] | PLACED,))
    return b"".join((frame[:FORMAT_AT], marked, frame[FORMAT_AT + 1 :], place.rjust(PLACE_BYTES)))


def has_place(place: bytes) -> bool:
    """Return whether a value tells this place: there is one, and it fits."""
    return 0 < len(place) <= PLACE_BYTES


def frame_in(value: bytes) -> bytes:
    """Return the frame in a value.

    Args:
        value: What `placed_value` returned, or anything else, which is returned as it is.

    Example:
        >>> frame_in(b"short")
        b'short'
    """
    if len(value) <= FORMAT_AT + PLACE_BYTES or value[FORMAT_AT] < PLACED:
        return value
    format = bytes((value[FORMAT_AT] ^ PLACED,))
    return b"".join((value[:FORMAT_AT], format, value[FORMAT_AT + 1 : -PLACE_BYTES]))
