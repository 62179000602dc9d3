"""The canonical msgpack of PIL images: everything that can be read of them without a change.

The methods of an image change it: `load` makes a lazy image an ordinary one, on which `draft` has
no effect, and `is_animated` undoes the edits of a GIF. So a lazy image is encoded by the bytes of
its file, which determine what it will show, and pixels are read from the object below the image.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from litcache.errors import KeyEncodingError
from litcache.keys.files import content
from litcache.keys.writer import Handler, Unencodable, Writer, class_name, inherits, loaded

_REMEDY = 'give it as value.convert("RGB")'

_MOST_PARTS = 1_000

# What is read of an image in another way, and where its bytes come from and how Pillow reads them.
_OWN = frozenset({
    "im", "mode", "size", "palette", "info", "fp", "filename", "tile", "readonly", "map",
    "pyaccess", "decodermaxblock", "encoderinfo", "encoderconfig",
})  # fmt: skip
# The settings with which a lazy image will be decoded.
_SETTINGS = ("decoderconfig", "_reduce", "reduce", "layers")


def handler_of(cls: type) -> Handler | None:
    """Return the handler of a class of images, or of numbers in their `info`; `None` for others."""
    if cls is loaded("PIL.Image", "Image"):
        return _image
    if inherits(cls, loaded("PIL.ImageFile", "ImageFile")):
        return _image_file
    return _rational if cls is loaded("PIL.TiffImagePlugin", "IFDRational") else None


def load_images(value: object) -> bool:
    """Load the lazy images in a value, and return whether there were any.

    Args:
        value: An item, or a builtin container of images in any nesting.

    Returns:
        Whether an image was lazy and could be loaded.

    Example:
        >>> load_images(["no image"])
        False
    """
    image_class = loaded("PIL.Image", "Image")
    waiting, seen, found = [value], 0, False
    while waiting and image_class is not None and seen < _MOST_PARTS:
        part = waiting.pop()
        seen += 1
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, image_class) and _core(part) is None:
            try:
                part.load()
            except Exception:  # a damaged file; the method will meet it, too
                continue
            found = True
    return found


def _image(to: Writer, image: Any) -> bytes:
    """Encode an image without a file: its pixels, and everything else that was put into it."""
    return to.record(
        "PIL.Image.Image",
        info=image.info,
        exif=_exif_edits(image, b""),
        pixels=_pixels(image),
        attributes={name: vars(image)[name] for name in _public(image)},
    )


def _image_file(to: Writer, image: Any) -> bytes:
    """Encode an image that knows its file: a lazy one by the file, any other by the pixels.

    An image of several frames is encoded by both: Pillow reads the other frames from the file.
    """
    file = _file(image)
    data = content(file) if file is not None else b""
    core = _core(image)
    if core is None and file is None:
        raise Unencodable("it is an image whose file is closed; open it again")
    if core is not None and file is None and "n_frames" in vars(image) and not _is_single(image):
        raise Unencodable(f"it is an image whose other frames are out of reach; {_REMEDY}")
    return to.record(
        class_name(type(image)),
        format=image.format,
        frame=image.tell(),
        info=image.info,
        exif=_exif_edits(image, data),
        pixels=_outline(image) if core is None else _pixels(image),
        pending=bool(image.tile),
        settings=[vars(image).get(name) for name in _SETTINGS if name in vars(image)],
        file=data,
        attributes=_readable(to, image),
    )


def _core(image: Any) -> Any:
    """Return the object that holds the pixels of an image; `None` while the image is lazy."""
    return vars(image).get("_im", vars(image).get("im"))


def _file(image: Any) -> Any:
    """Return the file from which an image, or its other frames, will still be read."""
    found = [vars(image).get("fp"), None if _is_single(image) else vars(image).get("_fp")]
    return next((file for file in found if hasattr(file, "read")), None)


def _is_single(image: Any) -> bool:
    """Return whether the plugin that opened an image found only one frame.

    Pillow also keeps what it finds when it is asked later; that does not count.
    """
    for name, single in (("n_frames", 1), ("is_animated", False)):
        if not hasattr(type(image), name) and vars(image).get(name) is single:
            return True
    return False


def _pixels(image: Any) -> list[object]:
    """Return mode, size, palette and pixels, read from a second image that shares the pixels."""
    image_module = sys.modules["PIL.Image"]
    core = image.im
    twin: Any = image_module.Image()
    # Pillow applies a new palette to the pixels when they are read next; here, to a copy.
    twin.im = core if image.palette is None else core.copy()
    twin._mode, twin._size = image.mode, image.size
    twin.palette = None if image.palette is None else image.palette.copy()
    clear = image.info.get("transparency")
    twin.info = {} if clear is None else {"transparency": clear}
    palette = twin.getpalette(None)
    colors = None if palette is None else [twin.im.getpalettemode(), bytes(palette)]
    return [image.mode, list(image.size), colors, twin.tobytes()]


def _outline(image: Any) -> list[object]:
    """Return mode, size and palette of a lazy image, as the file or the user has set them."""
    palette = image.palette
    if palette is None:
        return [image.mode, list(image.size), None]
    colors = [palette.mode, palette.rawmode, bytes(palette.palette or b"")]
    return [image.mode, list(image.size), colors]


def _exif_edits(image: Any, data: bytes) -> object:
    """Return the EXIF of an image if it was changed after it was read; else `None`.

    EXIF that was only read is in `info` and in the file.
    """
    exif = getattr(image, "_exif", None)
    if exif is None or not getattr(exif, "_loaded", False):
        return None
    image_module = sys.modules["PIL.Image"]
    if data:
        with image_module.open(io.BytesIO(data)) as twin:
            fresh = twin.getexif()
            return _differing(exif, fresh)
    twin = image_module.new("1", (1, 1))
    twin.info = dict(image.info)
    return _differing(exif, twin.getexif())


def _differing(exif: Any, fresh: Any) -> object:
    tags, before = _tags(exif), _tags(fresh)
    parts = {
        tag: part for tag, part in dict(exif._ifds).items() if not _same(part, fresh.get_ifd(tag))
    }
    return None if _same(tags, before) and not parts else [tags, parts]


def _tags(exif: Any) -> dict[int, object]:
    """Return the tags of an EXIF, those that Pillow has not read yet included."""
    unread = {} if exif._info is None else {tag: exif._info[tag] for tag in exif._info}
    return {**{tag: exif._fixup(part) for tag, part in unread.items()}, **exif._data}


def _same(one: dict[int, Any], other: dict[int, Any]) -> bool:
    return bool(one == other)


def _public(image: Any) -> list[str]:
    """Return the names of the attributes that a plugin or the user gave an image."""
    return sorted(name for name in vars(image) if name[:1] != "_" and name not in _OWN)


def _readable(to: Writer, image: Any) -> bytes:
    """Return the forms of the attributes that a plugin or the user gave an image.

    Pillow's own objects are left out: the file determines them.
    """
    forms: list[bytes] = []
    depth = len(to.trail)
    for name in _public(image):
        part = vars(image)[name]
        try:
            forms += [to.pack(name), to.encode(part)]
        except KeyEncodingError:
            del to.trail[depth:]
            if not class_name(type(part)).startswith(("PIL.", "builtins.Imaging")):
                raise
    return b"".join(forms)


def _rational(to: Writer, value: Any) -> bytes:
    """Encode a fraction of EXIF or TIFF, which may be 0 divided by 0."""
    return to.record(
        "PIL.TiffImagePlugin.IFDRational", over=value.numerator, under=value.denominator
    )
