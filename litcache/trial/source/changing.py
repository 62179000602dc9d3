"""Which calls give another result each time, and which ask a file or an address for its content."""

from __future__ import annotations

import ast
import re
from typing import Any

_CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
    "time.perf_counter_ns", "time.process_time", "time.process_time_ns", "time.localtime",
    "time.gmtime", "time.ctime", "datetime.datetime.now", "datetime.datetime.utcnow",
    "datetime.datetime.today", "datetime.date.today", "datetime.now", "datetime.utcnow",
    "date.today", "pandas.Timestamp.now", "pandas.Timestamp.utcnow", "arrow.now", "arrow.utcnow",
    "pendulum.now",
}  # fmt: skip
_IDS = {
    "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "uuid1", "uuid4", "os.urandom",
    "nanoid.generate", "shortuuid.uuid", "ulid.new", "secrets.token_hex", "secrets.token_bytes",
    "secrets.token_urlsafe", "secrets.choice", "secrets.randbelow", "secrets.randbits",
}  # fmt: skip
_RANDOM = {
    "random": "random randint randrange choice choices sample shuffle uniform gauss normalvariate "
    "betavariate expovariate triangular getrandbits randbytes SystemRandom",
    "numpy.random": "rand randn randint random random_sample choice shuffle permutation normal "
    "uniform standard_normal beta binomial poisson exponential multinomial default_rng RandomState",
    "torch": "rand randn randint randperm rand_like randn_like randint_like normal bernoulli "
    "multinomial poisson",
    "tensorflow.random": "normal uniform shuffle categorical truncated_normal",
}
_RANDOM_NAMES = {f"{top}.{name}" for top, names in _RANDOM.items() for name in names.split()}
IN_PLACE = {"shuffle", "normal_", "uniform_", "random_", "bernoulli_", "exponential_"}
_TEMPORARY = {"mktemp", "mkstemp", "NamedTemporaryFile", "mkdtemp", "TemporaryDirectory"}
_SEEDS = {
    "manual_seed", "manual_seed_all", "seed", "seed_everything", "seed_all", "set_seed", "fork_rng",
    "enable_full_determinism",
}  # fmt: skip
# By their last name, or by their last two.
_OPENERS = {
    "imread", "VideoCapture", "VideoReader", "read_image", "read_video", "load_image", "load_audio",
    "read_csv", "read_parquet", "read_excel", "urlopen", "urlretrieve", "convert_from_path",
    "read_bytes", "read_text", "FileResponse", "Image.open", "librosa.load", "soundfile.read",
    "sf.read", "torchaudio.load", "numpy.load", "fitz.open", "pdfplumber.open", "requests.get",
    "httpx.get", "wavfile.read", "AudioSegment.from_file", "io.open",
}  # fmt: skip
_PATH_NAME = re.compile(r"(?:^|_)(?:path|filepath|filename|file_name|url|uri)s?$", re.IGNORECASE)
_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|webp|gif|bmp|tiff?|wav|mp3|flac|ogg|m4a|mp4|avi|webm|json|csv|txt|pdf|html|"
    r"docx?|npy|npz|zip|glb|obj|ply|srt)$"
)


def cause_of(name: str, call: ast.Call) -> str:
    """Return why a call gives another result each time: `clock`, `uuid`, `random` or nothing."""
    if name in _CLOCKS or (name == "time.strftime" and len(call.args) == 1):
        # datetime.fromtimestamp and localtime(x) only convert.
        return "" if call.args and name.split(".")[-1] in ("localtime", "gmtime", "ctime") else (
            "clock"
        )  # fmt: skip
    if name in _IDS:
        return "uuid"
    if name in _RANDOM_NAMES:
        is_seeded = name.endswith(("default_rng", "RandomState")) and (call.args or call.keywords)
        return "" if is_seeded or _keyword(call, "generator") is not None else "random"
    return ""


def is_temporary(name: str) -> bool:
    """Return whether a call makes the name of a new file."""
    return name.split(".")[-1] in _TEMPORARY


def is_seed(name: str) -> bool:
    """Return whether a call seeds random numbers."""
    return name.split(".")[-1] in _SEEDS


def is_opener(name: str) -> bool:
    """Return whether a call reads what its first argument names."""
    parts = name.split(".")
    return name == "open" or parts[-1] in _OPENERS or ".".join(parts[-2:]) in _OPENERS


def names_a_path(node: Any) -> bool:
    """Return whether an expression is called a path, a file's name or an address."""
    if isinstance(node, ast.Subscript):
        name = getattr(node.slice, "value", "")
    elif isinstance(node, ast.Call):
        is_get = isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args
        name = getattr(node.args[0], "value", "") if is_get else ""
    else:
        name = getattr(node, "id", getattr(node, "attr", ""))
    return isinstance(name, str) and bool(_PATH_NAME.search(name))


def makes_a_path(node: ast.AST, name: str = "") -> bool:
    """Return whether an expression puts the name of a file together.

    Args:
        node: The expression.
        name: If it is a call, the full name of what it calls.
    """
    if isinstance(node, ast.Call):
        return name.endswith(("path.join", "pathlib.Path")) or is_temporary(name)
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(_SUFFIX.search(node.value))
    if isinstance(node, ast.JoinedStr):
        texts = [str(part.value) for part in node.values if isinstance(part, ast.Constant)]
        is_address = any("://" in text for text in texts)
        last = node.values[-1] if node.values else None
        return not is_address and (
            any("/" in text and " " not in text for text in texts)
            or (isinstance(last, ast.Constant) and bool(_SUFFIX.search(str(last.value))))
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Div):
        return makes_a_path(node.right) or (
            isinstance(node.op, ast.Div) and isinstance(node.right, ast.JoinedStr)
        )
    return False


# ---------------------------------------------------------------------- sampling


def samples(call: ast.Call) -> str:
    """Return the option by which a call makes a model sample; empty if it does not."""
    named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    function = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if named.keys() & {"generator", "seed", "random_state"} or "softmax" in function.lower():
        return ""
    if named.keys() & {"num_inference_steps", "guidance_scale"}:
        return "no generator= for the noise"
    return _sampling(named)


def samples_in(node: ast.Dict) -> str:
    """Return the option by which a dict of generation options makes a model sample."""
    named = {
        str(key.value): value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    is_generation = named.keys() & {"do_sample", "max_new_tokens", "max_tokens", "top_p", "top_k"}
    return _sampling(named) if is_generation and "seed" not in named else ""


def _sampling(named: dict[str, Any]) -> str:
    chosen = named.get("do_sample")
    if chosen is not None and not _constant(chosen):
        return ""
    if chosen is not None:
        return "do_sample=True"
    temperature = None if "num_beams" in named else named.get("temperature")
    value = None if temperature is None else _constant(temperature)
    is_number = isinstance(value, int | float) and value > 0
    return f"temperature={value}" if is_number else ""


def _constant(node: ast.AST) -> Any:
    """Return a constant, or the default of `item.get("temperature", 0.7)`."""
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get":
        return _constant(node.args[1]) if len(node.args) == 2 else None
    return node.value if isinstance(node, ast.Constant) else None


def _keyword(call: ast.Call, name: str) -> ast.AST | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
