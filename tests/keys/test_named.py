import dataclasses
import io
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pydantic
import pytest

from litcache.keys.named import named_file


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with a file, also below a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sounds").mkdir()
    for name in ("a.wav", "sounds/b", "plain"):
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


@dataclasses.dataclass
class Job:
    path: object


class Model(pydantic.BaseModel):
    path: str


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda at: "a.wav", "$"),
        (lambda at: str(at / "a.wav"), "$"),
        (lambda at: f"file://{at}/a.wav", "$"),
        (lambda at: "sounds/b", "$"),
        (lambda at: "./plain", "$"),
        (lambda at: at / "a.wav", "$"),
        (lambda at: Path("plain"), "$"),
        (lambda at: PurePosixPath("plain"), "$"),
        (lambda at: {"path": "a.wav"}, "$.path"),
        (lambda at: {"n": 3, "audio": {"files": ["missing.wav", "a.wav"]}}, "$.audio.files[1]"),
        (lambda at: ("x", [("y", "a.wav")]), "$[1][0][1]"),
        (lambda at: Job("a.wav"), "$.path"),
        (lambda at: [Model(path="sounds/b")], "$[0].path"),
    ],
)
def test_a_value_that_names_an_existing_file_is_noticed(make, place, folder):
    named = named_file(make(folder), 16)
    assert named is not None
    assert named.place == place
    assert Path(named.file.removeprefix("file://")).is_file()


@pytest.mark.parametrize(
    "value",
    [
        "", ".", "..", "/", "a", "plain", "missing.wav", "sounds", "sounds/", "sounds/c",
        "please read a.wav and tell me what is in it", "open sounds/b, then stop.", "a.wav\n",
        "\0", "a.wav\0", "\ud800/", "x" * 300 + "/y", "./" * 3000 + "a.wav", "https://x.org/a.wav",
        b"a.wav", bytearray(b"a.wav"), io.BytesIO(b"a.wav"), 3, None, np.zeros(3),
        np.array("a.wav"), {"a.wav": 1}, {"a", "b"}, lambda: "a.wav", Job(None), Path("sounds"),
        Path("missing"),
    ],
)  # fmt: skip
def test_a_value_that_names_no_file_is_not(value):
    assert named_file(value, 16) is None


def test_only_so_many_parts_are_looked_at():
    asked = []

    class Name(type(Path())):
        def __fspath__(self):
            asked.append(str(self))
            return super().__fspath__()

    many = [[Name(f"{n}/{m}.wav") for m in range(100)] for n in range(100)]
    assert named_file(many, 16) is None
    assert len(set(asked)) <= 16
    assert named_file(["x"] * 15 + ["a.wav"], 16) is not None
    assert named_file(["x"] * 16 + ["a.wav"], 16) is None


def test_a_value_in_itself_ends():
    circle = []
    circle += [circle, {"again": circle}]
    assert named_file(circle, 16) is None


def test_a_container_that_raises_when_it_is_asked_raises_nothing_here():
    class Odd(dict):
        def items(self):
            raise RuntimeError

        __iter__ = __getitem__ = items

    class OddList(list):
        def __iter__(self):
            raise RuntimeError

    assert named_file(Odd(path="a.wav"), 16) == ("a.wav", "$.path", str)
    assert named_file(OddList(["a.wav"]), 16) == ("a.wav", "$[0]", str)


def test_a_file_that_one_may_not_look_for_is_none(folder):
    closed = folder / "closed"
    closed.mkdir()
    (closed / "a.wav").write_bytes(b"")
    os.chmod(closed, 0)
    try:
        named_file(str(closed / "a.wav"), 16)  # root may look everywhere: it only must not raise
    finally:
        os.chmod(closed, 0o700)
