"""Fingerprints: what changes a version and what does not."""

import copy
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest

import litcache
from litcache import KeyEncodingError, fingerprint

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")


def model(seed: int = 7, activation=torch.nn.ReLU, width: int = 8):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(4, width),
        activation(),
        torch.nn.BatchNorm1d(width),
        torch.nn.Linear(width, 2),
    )


def changed(state, name, value):
    return {**state, name: value}


# Torch modules and state dicts


def test_equal_models_have_equal_versions_however_they_are_held():
    first = fingerprint(model())
    twin = model()
    twin.eval()
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    assert fingerprint(twin) == first
    assert fingerprint(copy.deepcopy(model())) == first


def test_a_state_dict_has_the_same_version_in_any_order_and_kind_of_mapping():
    state = model().state_dict()
    backwards = dict(reversed(list(state.items())))
    parameters = OrderedDict(
        (n, torch.nn.Parameter(t, requires_grad=False)) for n, t in state.items()
    )
    assert fingerprint(state) == fingerprint(backwards) == fingerprint(parameters)


def test_memory_order_and_views_do_not_count():
    weight = torch.arange(12.0).reshape(3, 4)
    spread = torch.zeros(3, 8)[:, ::2].copy_(weight)
    assert not spread.is_contiguous()
    turned = weight.t().contiguous().t()
    assert len({fingerprint({"w": w}) for w in (weight, spread, turned)}) == 1


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.running_mean", "2.num_batches_tracked"])
def test_the_least_change_of_any_tensor_changes_the_version(name):
    before = model()
    first = fingerprint(before)
    with torch.no_grad():
        value = before.state_dict()[name].view(-1)
        raw = value[:1].view(torch.uint8)
        raw[0] ^= 1  # one bit
    assert fingerprint(before) != first


def test_what_differs_has_another_version():
    state = {"w": torch.ones(2, 3), "b": torch.zeros(3)}
    versions = [
        fingerprint(s)
        for s in (
            state,
            changed(state, "w", state["w"].half()),
            changed(state, "w", state["w"].reshape(3, 2)),
            changed(state, "w", state["w"].numpy()),
            changed(state, "w", state["w"].view(torch.int32)),
            {"w": state["w"]},
            {"w": state["w"], "c": state["b"]},
            {"w": state["w"], "b": {"": state["b"]}},
            {},
        )
    ]
    assert len(set(versions)) == len(versions)


def test_modules_of_other_classes_or_shapes_have_other_versions():
    versions = [
        fingerprint(m)
        for m in (model(), model(activation=torch.nn.GELU), model(width=9), model(seed=8))
    ]
    versions.append(fingerprint(model().state_dict()))
    assert len(set(versions)) == 5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int8", "bool", "complex64",
                                   "float8_e4m3fn"])  # fmt: skip
def test_every_dtype_counts_by_its_bytes(dtype):
    zeros = torch.zeros(3, dtype=getattr(torch, dtype))
    ones = torch.ones(3).to(getattr(torch, dtype))
    assert (
        fingerprint({"w": zeros}) == fingerprint({"w": zeros.clone()}) != fingerprint({"w": ones})
    )


def test_the_device_does_not_count():
    """Meta tensors have no bytes; every other device's are copied to the CPU, as here."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert fingerprint(model().to(device)) == fingerprint(model())


@pytest.mark.parametrize(
    "value",
    [torch.empty(2, device="meta"), torch.eye(3).to_sparse(), object()],
    ids=["meta", "sparse", "object"],
)
def test_what_has_no_bytes_is_refused_and_named(value):
    with pytest.raises(KeyEncodingError) as caught:
        fingerprint({"v": torch.ones(1), "w": value})
    assert caught.value.path == "$.w"


# Files and folders


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    (place / "tokenizer").mkdir(parents=True)
    (place / "weights.bin").write_bytes(os.urandom(3_000_000))
    (place / "config.json").write_text("{}")
    (place / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return place


def test_a_file_is_its_bytes_wherever_it_is(folder, tmp_path):
    first = fingerprint(folder / "weights.bin")
    copied = tmp_path / "another name"
    copied.write_bytes((folder / "weights.bin").read_bytes())
    assert fingerprint(copied) == fingerprint(str(copied)) == first
    data = bytearray(copied.read_bytes())
    data[-1] ^= 1
    copied.write_bytes(data)
    assert fingerprint(copied) != first


def test_a_folder_is_its_files_by_name_wherever_it_is(folder, tmp_path):
    first = fingerprint(folder)
    moved = folder.rename(tmp_path / "moved")
    (moved / "empty").mkdir()
    (moved / ".git").mkdir()
    (moved / ".git" / "index").write_text("of no model")
    assert fingerprint(moved) == fingerprint(str(moved)) == first
    (moved / "config.json").rename(moved / "renamed.json")
    second = fingerprint(moved)
    (moved / "tokenizer" / "vocab.txt").write_text("a\nc\n")
    assert len({first, second, fingerprint(moved)}) == 3


def test_links_are_followed_as_hugging_face_lays_its_cache_out(folder, tmp_path):
    snapshot = tmp_path / "snapshots" / "c5f93f7"
    snapshot.mkdir(parents=True)
    for name in ("weights.bin", "config.json", "tokenizer"):
        (snapshot / name).symlink_to(folder / name)
    assert fingerprint(snapshot) == fingerprint(folder)
    (snapshot / "itself").symlink_to(snapshot)  # read once, and not for ever
    assert fingerprint(snapshot) == fingerprint(folder)


def test_a_file_a_folder_and_a_string_of_the_same_text_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    versions = {fingerprint("name")}
    Path("name").write_text("name")
    versions.add(fingerprint("name"))
    Path("name").unlink()
    Path("name").mkdir()
    Path("name/name").write_text("name")
    versions.add(fingerprint("name"))
    assert len(versions) == 3


def test_a_path_where_nothing_is_is_an_error_and_never_a_name(tmp_path):
    for path in (tmp_path / "absent", str(tmp_path / "absent"), "./absent", "~/absent/of/litcache"):
        with pytest.raises(FileNotFoundError):
            fingerprint(path)
    assert fingerprint("organisation/absent-model") != fingerprint("organisation/other-model")
    assert fingerprint("with\0null") != fingerprint("with")


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no files"):
        fingerprint(tmp_path / "empty")
    (tmp_path / "empty" / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        fingerprint(tmp_path / "empty")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        fingerprint(Path("/dev/null"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_nobody_writes_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        fingerprint(tmp_path)


# Everything else


def test_extra_counts_with_its_types():
    recipes = [None, {"pooling": "mean"}, {"pooling": "cls"}, ("mean",), ["mean"], 1, 1.0, True, ""]
    versions = {fingerprint("minilm", extra=recipe) for recipe in recipes}
    assert len(versions) == len(recipes)
    assert fingerprint("minilm", extra=None) == fingerprint("minilm")
    assert fingerprint("m", extra={"a": 1, "b": 2}) == fingerprint("m", extra={"b": 2, "a": 1})
    with pytest.raises(KeyEncodingError):
        fingerprint("minilm", extra=object())


@pytest.mark.parametrize("thing", [None, 7, b"bytes", object(), [torch.ones(1)], torch.ones(1)])
def test_other_things_are_refused_and_the_way_out_is_named(thing):
    with pytest.raises(TypeError, match="must be a torch module, a state dict, a path or a string"):
        fingerprint(thing)


GOLDEN = """
import torch
from litcache import fingerprint
linear = torch.nn.Linear(100, 50)
with torch.no_grad():
    linear.weight.copy_(torch.arange(5000.0).reshape(50, 100))
    linear.bias.zero_()
print(fingerprint(linear), fingerprint(linear.state_dict(), extra={"pooling": "mean"}))
"""


def test_versions_are_frozen_and_the_same_in_every_process():
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(
            Path(litcache.__file__).parents[1])}  # fmt: skip
        command = [sys.executable, "-c", GOLDEN]
        found.add(subprocess.check_output(command, env=environment, text=True))
    assert found == {"23c4a63141287d991a5227bb 5685be644636dbef89da3ee9\n"}
