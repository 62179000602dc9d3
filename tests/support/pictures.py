"""Images of every kind that users meet, as the bytes of their files."""

import io
import warnings
from contextlib import suppress
from functools import cache

import pytest


def image_bytes(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(mode="RGB", size=(40, 30)):
    Image = pytest.importorskip("PIL.Image")
    return Image.linear_gradient("L").resize(size).convert(mode)


def frames(kind, mode="RGB"):
    """The bytes of a file of three frames."""
    first = gradient(mode)
    others = [first.rotate(90), first.rotate(45)]
    return image_bytes(first, kind, save_all=True, append_images=others)


def photo(**options):
    """The bytes of a JPEG as phones make them: with EXIF, its place and its resolution."""
    Image = pytest.importorskip("PIL.Image")
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.5)
    return image_bytes(gradient(), "JPEG", exif=exif, dpi=(300, 300), **options)


@cache
def files():
    """Bytes of image files by name: of one frame and of several, whole and broken."""
    whole = {
        "photo": photo(),
        "PNG": image_bytes(gradient(), "PNG"),
        "PNG with a palette": image_bytes(gradient("P"), "PNG"),
        "GIF": image_bytes(gradient("P"), "GIF"),
        "moving GIF": frames("GIF", "P"),
        "moving PNG": frames("PNG"),
        "MPO": frames("MPO"),
        "TIFF": image_bytes(gradient(), "TIFF"),
        "compressed TIFF": image_bytes(gradient(), "TIFF", compression="tiff_deflate"),
        "TIFF of three pages": frames("TIFF"),
        "BMP": image_bytes(gradient(), "BMP"),
        "JPEG 2000": image_bytes(gradient(size=(64, 64)).rotate(30), "JPEG2000"),
        "WebP": image_bytes(gradient(), "WEBP"),
        "moving WebP": frames("WEBP"),
        "AVIF": image_bytes(gradient(), "AVIF"),
    }
    cut = {f"{name} cut short": data[: len(data) * 2 // 3] for name, data in whole.items()}
    return {**whole, **cut}


@cache
def readable():
    """Those of the files that Pillow opens, be they broken further in."""
    Image = pytest.importorskip("PIL.Image")
    found = {}
    for name, data in files().items():
        with suppress(OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # some are cut short
            Image.open(io.BytesIO(data)).close()
            found[name] = data
    return found
