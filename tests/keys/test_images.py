"""Images: what of them counts. That they are left as they are is shown in test_untouched."""

import io
import subprocess
import sys

import pytest
from support.forms import collisions
from support.pictures import frames, gradient, image_bytes, photo, readable

from litcache.errors import KeyEncodingError
from litcache.keys.encoder import canonical

Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.filterwarnings("ignore:.*Truncated:UserWarning")


def opened(data):
    return Image.open(io.BytesIO(data))


def loaded(image):
    image.load()
    return image


@pytest.mark.parametrize("name", [name for name in readable() if "WebP cut" not in name])
def test_one_file_has_one_key_wherever_it_lies(name, tmp_path):
    data = readable()[name]
    image = opened(data)
    form = canonical(image)
    for path in (tmp_path / "a.img", tmp_path / "b.img"):
        path.write_bytes(data)
        with Image.open(path) as again:
            assert canonical(again) == form
    assert canonical(image) == form  # keying it once changes nothing
    assert canonical(opened(data + b"more")) != form


def test_what_can_be_read_of_a_file_counts():
    icc = image_bytes(gradient(), "JPEG", icc_profile=b"a profile")
    other_place = Image.Exif()
    other_place[0x010F] = "maker"
    other_place.get_ifd(0x8825)[1] = "S"
    data = [
        photo(), photo(quality=99), photo(progressive=True), photo(comment="a"), icc,
        image_bytes(gradient(), "JPEG", exif=other_place, dpi=(300, 300)),
        image_bytes(gradient(), "JPEG", dpi=(72, 72)), image_bytes(gradient(), "PNG"),
        image_bytes(gradient(), "PNG", dpi=(72, 72)), image_bytes(gradient(), "TIFF"),
    ]  # fmt: skip
    assert collisions([opened(one) for one in data]) == []
    assert collisions([loaded(opened(one)) for one in data]) == []


def test_where_a_photo_was_taken_counts_after_it_was_decoded():
    """One user's place must not be answered to another."""
    other = Image.Exif()
    other[0x010F] = "maker"
    other.get_ifd(0x8825)[1] = "S"
    here, there = photo(), image_bytes(gradient(), "JPEG", exif=other, dpi=(300, 300))
    for decode in (lambda image: image.copy(), lambda image: image.convert("L"), loaded):
        assert decode(opened(here)).tobytes() == decode(opened(there)).tobytes()
        assert canonical(decode(opened(here))) != canonical(decode(opened(there)))
        assert canonical(decode(opened(here))) == canonical(decode(opened(here)))


def test_a_decoded_image_is_its_pixels_whatever_file_they_were_in():
    small, large = (image_bytes(gradient(), "PNG", compress_level=level) for level in (1, 9))
    assert small != large
    assert canonical(opened(small).convert("RGB")) == canonical(opened(large).convert("RGB"))
    assert canonical(opened(small).convert("RGB")) == canonical(gradient())
    assert canonical(loaded(opened(small))) == canonical(loaded(opened(large)))


def test_images_differ_by_class_mode_size_pixels_palette_and_info():
    plain = gradient()
    palettes = [gradient("P") for _ in range(4)]
    palettes[1].putpalette([1, 2, 3] * 256)
    palettes[2].info["transparency"] = 0
    palettes[3].info["transparency"] = b"\0\1"
    values = [
        plain,
        *map(gradient, ("L", "RGBA", "F", "1", "LA", "CMYK")),
        plain.resize((30, 40)),
        plain.rotate(180),
        *palettes,
        Image.new("RGB", (0, 0)),
        Image.new("RGB", (0, 1)),
        Image.new("L", (0, 0)),
        Image.new("RGB", (200, 200)),
        Image.new("RGB", (100, 400)),
        opened(image_bytes(plain, "PNG")),
        loaded(opened(image_bytes(plain, "PNG"))),
    ]
    for more in ({"transparency": (1, 2, 3)}, {"dpi": (72, 72)}, {"icc_profile": b"a"}, {"x": 1}):
        values.append(plain.copy())
        values[-1].info.update(more)
    for orientation in (1, 3, 6):
        values.append(plain.copy())
        values[-1].getexif()[0x0112] = orientation
    values.append(plain.copy())
    values[-1].source = "scanner"
    assert collisions(values) == []


def test_exif_that_was_only_read_changes_nothing():
    for data in (photo(), frames("MPO"), image_bytes(gradient(), "TIFF")):
        image = opened(data)
        image.getexif().get_ifd(0x8825)
        dict(image.getexif())
        assert canonical(image) == canonical(opened(data))
    copied = opened(photo()).copy()
    copied.getexif().get_ifd(0x8825)
    assert canonical(copied) == canonical(opened(photo()).copy())


def test_what_was_done_to_an_image_before_it_is_keyed_counts():
    def changed(act, data):
        image = opened(data)
        act(image)
        return image

    acts = [
        lambda image: None,
        lambda image: image.load(),
        lambda image: image.draft("L", (10, 10)),
        lambda image: image.draft("RGB", (20, 15)),
        lambda image: image.thumbnail((10, 10)),
        lambda image: image.getexif().__setitem__(0x0112, 6),
        lambda image: image.getexif().get_ifd(0x8825).__setitem__(1, "S"),
        lambda image: image.info.update(note=1),
        lambda image: setattr(image, "note", 1),
    ]
    assert collisions([changed(act, photo()) for act in acts]) == []
    moves = [*acts[:2], lambda image: image.seek(1), lambda image: image.seek(2),
             lambda image: image.thumbnail((9, 9)), lambda image: image.paste(7, (0, 0, 5, 5)),
             lambda image: image.putpalette([9, 8, 7] * 256)]  # fmt: skip
    assert collisions([changed(act, frames("GIF", "P")) for act in moves]) == []
    settings = [acts[0], lambda image: setattr(image, "reduce", 1)]
    jpeg_2000 = image_bytes(gradient(size=(64, 64)), "JPEG2000")
    assert collisions([changed(act, jpeg_2000) for act in settings]) == []


def test_moving_images_differ_by_frames_that_are_not_shown_yet():
    first, second = gradient("P"), gradient("P").rotate(90)
    for others in ([second], [second, first]):
        data = image_bytes(first, "GIF", save_all=True, append_images=others)
        assert canonical(opened(data)) != canonical(opened(frames("GIF", "P")))
        assert canonical(loaded(opened(data))) != canonical(loaded(opened(frames("GIF", "P"))))


def test_the_text_of_a_png_counts_with_its_language():
    from PIL.PngImagePlugin import PngInfo

    forms = []
    for language in ("de", "fr"):
        note = PngInfo()
        note.add_itxt("title", "Rose", lang=language)
        forms += [opened(image_bytes(gradient(), "PNG", pnginfo=note))]
        forms += [loaded(opened(image_bytes(gradient(), "PNG", pnginfo=note))).copy()]
    assert collisions(forms) == []


def refused():
    marked = gradient()
    marked.__class__ = type("Marked", (Image.Image,), {})
    yield marked, "its type has no canonical form"
    yield loaded(opened(frames("WEBP"))), "other frames"
    closed = opened(photo())
    closed.verify()
    yield closed, "file is closed"
    noted = gradient()
    noted.info["x"] = object()
    yield noted, "its type has no canonical form"


def test_images_that_cannot_be_read_are_refused_with_the_remedy():
    for image, reason in refused():
        with pytest.raises(KeyEncodingError, match=reason):
            canonical(image)
    for image, _ in [*refused()][:2]:
        with pytest.raises(KeyEncodingError, match=r'convert\("RGB"\)'):
            canonical(image)
        assert canonical(image.convert("RGB"))


def test_a_broken_image_has_a_key_and_fails_in_the_users_hands():
    data = image_bytes(gradient(size=(64, 64)).rotate(30), "JPEG2000")[:2000]
    image = opened(data)
    assert canonical(image)
    with pytest.raises(OSError):  # noqa: PT011 - whatever Pillow says
        image.load()
    with pytest.raises(OSError):  # noqa: PT011
        opened(data).load()


def test_an_image_has_the_same_key_in_another_process(tmp_path):
    (tmp_path / "moving.gif").write_bytes(frames("GIF", "P"))
    (tmp_path / "photo.jpg").write_bytes(photo())
    code = """
from pathlib import Path
from PIL import Image
from litcache.keys.encoder import canonical
import hashlib, sys
for path in sorted(Path(sys.argv[1]).iterdir()):
    for loads in (False, True):
        image = Image.open(path)
        if loads: image.load()
        print(hashlib.sha256(canonical(image)).hexdigest())
"""
    runs = {
        subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)
        for _ in range(2)
    }
    assert len(runs) == 1
    assert len(set(runs.pop().split())) == 4
