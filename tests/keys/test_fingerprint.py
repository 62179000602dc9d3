"""Fingerprints: what changes a version and what does not."""

import copy
import enum
import os
import runpy
import subprocess
import sys
from collections import OrderedDict, namedtuple
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
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    assert fingerprint(twin) == first
    assert fingerprint(copy.deepcopy(model())) == first


def eager(module):
    """What `torch.compile` returns, without compiling anything."""
    return torch.compile(module, backend="eager")


def test_a_model_is_the_same_however_it_is_wrapped():
    first = fingerprint(model())
    for wrap in (
        eager,
        torch.nn.DataParallel,
        lambda m: eager(torch.nn.DataParallel(m)),
        lambda m: torch.nn.DataParallel(eager(m)),
        lambda m: torch.nn.Sequential(*[eager(part) for part in m]),
    ):
        assert fingerprint(wrap(model())) == first
    state = fingerprint(model().state_dict())
    assert fingerprint(eager(model()).state_dict()) == state
    assert fingerprint(torch.nn.DataParallel(model()).state_dict()) == state


def test_a_model_that_was_run_is_the_same():
    run = model().eval()
    first = fingerprint(run)
    run(torch.zeros(3, 4))
    assert fingerprint(run) == first == fingerprint(model().eval())


nn = torch.nn
Encoder = nn.TransformerEncoderLayer


class Config:
    """As the configurations of transformers and peft are."""

    def __init__(self, **options):
        self.options = options

    def to_dict(self):
        return {"_name_or_path": f"/tmp/{id(self)}", "transformers_version": "1", **self.options}


class Configured(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.config = Config(**options)


class Adapted(nn.Module):
    """As peft's are."""

    def __init__(self, active="de", alpha=8):
        super().__init__()
        self.base_model = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.base_model.weight)
        self.peft_config = {name: Config(lora_alpha=alpha, r=4) for name in ("de", "fr")}
        self.active_adapter = active


class Pooling(nn.Module):
    """As that of sentence-transformers."""

    def __init__(self, mode="mean"):
        super().__init__()
        self._mode = mode

    def get_config_dict(self):
        return {"pooling_mode": self._mode}


def held(**attributes):
    module = nn.Identity()
    vars(module).update(attributes)
    return module


class Low:
    __slots__ = ("p", "q")


class High(Low):
    __slots__ = ("p", "q")


def hidden(value):
    """An object with two slots that its class hides by two others of their names."""
    made = High()
    made.p = made.q = 0
    Low.p.__set__(made, value)
    Low.q.__set__(made, 3)
    return made


def buffered(value, persistent=False):
    module = nn.Identity()
    module.register_buffer("pixel_mean", torch.tensor(value), persistent=persistent)
    return module


def hooked(scale, *, pre=False):
    module = nn.Identity()
    register = module.register_forward_pre_hook if pre else module.register_forward_hook
    register(lambda module, *values: scale * values[-1])
    return module


def seeded(make, **options):
    torch.manual_seed(1)
    return make(**options)


def heads(count):
    return seeded(nn.MultiheadAttention, embed_dim=4, num_heads=count)


# Of each pair the state dicts are equal and the outputs are not.
PAIRS = {
    "eps": (nn.LayerNorm(3), nn.LayerNorm(3, eps=1e-3)),
    "eps of a batch norm": (nn.BatchNorm1d(3), nn.BatchNorm1d(3, eps=1e-3)),
    "momentum": (nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=0.5)),
    "slope": (nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)),
    "dim": (nn.Softmax(dim=0), nn.Softmax(dim=1)),
    "approximation": (nn.GELU(), nn.GELU("tanh")),
    "padding mode": tuple(seeded(nn.Conv1d, in_channels=2, out_channels=2, kernel_size=3, padding=1,
                                 padding_mode=mode) for mode in ("zeros", "circular")),
    "stride": tuple(seeded(nn.Conv1d, in_channels=2, out_channels=2, kernel_size=3, stride=n)
                    for n in (1, 2)),
    "heads": (heads(1), heads(2)),
    "norm first": tuple(seeded(Encoder, d_model=4, nhead=1, dim_feedforward=4, norm_first=first)
                        for first in (False, True)),
    "activation": tuple(seeded(Encoder, d_model=4, nhead=1, dim_feedforward=4, activation=name)
                        for name in ("relu", "gelu")),
    "training": (nn.Dropout(), nn.Dropout().eval()),
    "scale factor": (nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=3)),
    "buffer that is not saved": (buffered(1.0), buffered(2.0)),
    "hook": (nn.Identity(), hooked(1)),
    "what a hook was made with": (hooked(1), hooked(2)),
    "hook before": (hooked(1), hooked(1, pre=True)),
    "rope_theta": (Configured(rope_theta=1e4), Configured(rope_theta=1e6)),
    "alpha of an adapter": (Adapted(), Adapted(alpha=16)),
    "active adapter": (Adapted(), Adapted("fr")),
    "pooling": (Pooling(), Pooling("cls")),
    "attribute": (held(scale=1), held(scale=2)),
    "private attribute": (held(_scale=1), held(_scale=2)),
    "tensor that is no buffer": (held(mean=torch.zeros(2)), held(mean=torch.ones(2))),
    "module that is in a list": (held(parts=[nn.Softmax(0)]), held(parts=[nn.Softmax(1)])),
    "function": (held(act=nn.functional.relu), held(act=nn.functional.gelu)),
    "lambda": (held(act=lambda x: x.relu()), held(act=lambda x: x.tanh())),
    "constant of a lambda": (held(act=lambda x: x in {1, 2}), held(act=lambda x: x in {1, 3})),
    "forward": (held(forward=len), held(forward=sum)),
    "class in an attribute": (held(kind=nn.ReLU), held(kind=nn.GELU)),
    "fields of a named tuple": tuple(held(sizes=namedtuple("Sizes", names)(nn.ReLU, 1))
                                     for names in ("act width", "act height")),
    "value of an enum": tuple(held(act=enum.Enum("Act", {"A": (value, nn.ReLU)}).A)
                              for value in (1, 2)),
    "object in an attribute": (held(norm=Config(p=1)), held(norm=Config(p=2))),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_changes_outputs_and_no_weights_changes_the_version(pair):
    one, other = pair
    assert [*one.state_dict()] == [*other.state_dict()]
    for name, value in one.state_dict().items():
        assert value.equal(other.state_dict()[name])
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(nn.Sequential(one)) != fingerprint(nn.Sequential(other))
    for part in pair:
        assert fingerprint(copy.deepcopy(part)) == fingerprint(part)


def test_slots_that_a_class_hides_change_the_version():
    versions = {fingerprint(held(config=hidden(value))) for value in (1, 2, 1)}
    assert len(versions) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_its_graph_and_its_weights():
    slopes = [torch.jit.script(nn.LeakyReLU(slope)) for slope in (0.1, 0.2, 0.1)]
    assert fingerprint(slopes[0]) == fingerprint(slopes[2]) != fingerprint(slopes[1])
    weights = [torch.jit.script(model(seed).eval()) for seed in (7, 8, 7)]
    assert fingerprint(weights[0]) == fingerprint(weights[2]) != fingerprint(weights[1])


def test_where_a_model_came_from_does_not_count(tmp_path):
    """The same weights in a renamed file are one version."""
    source = "import torch\nclass Net(torch.nn.Linear):\n    pass\n"
    versions = set()
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(source)
        module = runpy.run_path(str(tmp_path / f"{name}.py"), run_name=name)
        torch.manual_seed(1)
        versions.add(fingerprint(module["Net"](2, 2)))
    assert len(versions) == 1
    assert fingerprint(Configured(a=1)) == fingerprint(Configured(a=1))
    assert fingerprint(held(device="cuda:0")) == fingerprint(held(device="cuda:1"))
    assert fingerprint(held(place=torch.device("cpu"))) == fingerprint(
        held(place=torch.device("cuda:0"))
    )


def test_weights_that_are_shared_or_hold_themselves_are_read_once():
    tied = nn.ModuleDict({"a": nn.Linear(2, 2)})
    tied["b"] = tied["a"]
    apart = nn.ModuleDict({"a": tied["a"], "b": copy.deepcopy(tied["a"])})
    assert fingerprint(tied) != fingerprint(apart)
    loop = nn.Sequential(nn.Linear(2, 2))
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop)


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
    for path in (
        tmp_path / "absent", str(tmp_path / "absent"), "./absent", "~/absent/of/litcache",
        "models/of/mine", "model.safetensors", "weights.pt", "model.onnx", "C:\\models\\m",
        "C:/models", "models\\m", "https://example.org/model", "s3://bucket/model", "hf://a/b",
    ):  # fmt: skip
        with pytest.raises(FileNotFoundError):
            fingerprint(path)
    assert fingerprint("org/model@v1.2") != fingerprint("model v1.2, pooled (mean)")
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
    assert found == {"1b0145e2c5bdbf8e6d2a5b7e 6e9f0cc49ea29f61733da10d\n"}


def test_a_lambda_has_one_fingerprint_wherever_it_stands():
    one = held(act=lambda x: x * 2 if x in {"a", "b", 1} else [y + 1 for y in x])
    other = held(act=lambda x: x * 2 if x in {"a", "b", 1} else [y + 1 for y in x])
    assert fingerprint(one) == fingerprint(other)
