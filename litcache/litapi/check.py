"""`litcache check`: what a class caches, and what its source shows to be wrong with that."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from litserve import LitAPI, LitServer

from litcache.keys.writer import class_name
from litcache.litapi.classes import cached_methods
from litcache.policy import CachePolicy
from litcache.trial.source.look import look

_HOW = "name it as module:Class or as path/to/server.py:Class"


def check(target: str) -> tuple[bool, dict[str, Any], str]:
    """Look at a class, without making an API of it and without calling any of its methods.

    Args:
        target: `module:Class`, `path/to/server.py:Class`, or an API that the module makes.

    Returns:
        Whether there are findings; what programs are told; what people are told.

    Raises:
        ValueError: If there is no such class, if its module cannot be imported, or if it is no
            `LitAPI` or caches nothing. The message says what to do.
    """
    found = _attribute(target)
    cls = found if isinstance(found, type) else type(found)
    if not issubclass(cls, LitAPI):
        raise ValueError(f"{target} is no litserve.LitAPI but {found!r}; {_HOW}")
    methods = cached_methods(cls)
    if not methods:
        raise ValueError(
            f"{cls.__qualname__} caches nothing: put @cached_predict on its predict, and on top of "
            "other decorators"
        )
    path = "/predict" if isinstance(found, type) else str(found.api_path)
    described = [_described(cls, name, methods[name], path) for name in methods]
    findings = look(cls, methods)
    result = {
        "class": class_name(cls),
        "methods": described,
        "findings": [asdict(finding) for finding in findings],
    }
    lines = [f"{name}: {value}" for name, value in map(_line, described)]
    lines += map(str, findings)
    count = {0: "nothing found", 1: "1 finding"}.get(len(findings), f"{len(findings)} findings")
    lines.append(count if findings else f"{count}; what a source cannot show, a trial may")
    return bool(findings), result, "\n".join(lines)


def _described(cls: type, name: str, policy: CachePolicy, path: str) -> dict[str, Any]:
    """Return what a method is cached under, and the options that are not the default ones."""
    default = CachePolicy()
    options = {
        field.name: _shown(getattr(policy, field.name))
        for field in fields(policy)
        if field.name not in ("namespace", "version")
        and getattr(policy, field.name) != getattr(default, field.name)
    }
    return {
        "method": name,
        "namespace": policy.namespace or f"{class_name(cls)}.{name}{path}",
        "version": _shown(policy.version),
        "options": options,
    }


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(getattr(value, "__qualname__", repr(value)))


def _line(described: dict[str, Any]) -> tuple[str, str]:
    options = "".join(f", {name}={value}" for name, value in described["options"].items())
    names = f"namespace {described['namespace']!r}, version {described['version']!r}"
    return described["method"], names + options


# ---------------------------------------------------------------------- from a name to a class


def _attribute(target: str) -> Any:
    """Return what a target names."""
    module_name, _, name = target.rpartition(":")
    if not module_name or not name:
        raise ValueError(f"{target!r} names no class; {_HOW}")
    module = _module(module_name)
    found: Any = module
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError:
        known = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, LitAPI) and value is not LitAPI
        ]
        there = f"its APIs are {', '.join(known)}" if known else "it has no LitAPI at all"
        raise ValueError(f"{module_name} has no {name}; {there}") from None
    return found


def _module(name: str) -> ModuleType:
    """Import a module, or a file, with the folder of the project on the path."""
    is_file = name.endswith(".py") or os.sep in name
    path = Path(name).resolve()
    if is_file and not path.is_file():
        raise ValueError(f"there is no file {path}")
    for folder in {os.getcwd(): 0, **({str(path.parent): 0} if is_file else {})}:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        # What the module prints is no part of the result.
        with contextlib.redirect_stdout(sys.stderr), _no_server():
            return _load(path) if is_file else importlib.import_module(name)
    except SystemExit as error:
        raise ValueError(
            f"{name} called sys.exit({error.code!r}) when it was imported; put what runs the "
            'service under if __name__ == "__main__":'
        ) from None
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]:
            raise ValueError(
                f"there is no module {name} in {os.getcwd()} or where Python looks; run this in "
                f"the project's folder, or {_HOW}"
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"{name} cannot be imported: {type(error).__name__}: {error} ({last.filename}, line "
            f"{last.lineno}); run this where the service runs, with its packages"
        ) from None


@contextlib.contextmanager
def _no_server() -> Iterator[None]:
    """Start no server: a script may run it without asking whether it is imported."""
    run = LitServer.run
    LitServer.run = lambda *_, **__: None
    try:
        yield
    finally:
        LitServer.run = run


def _load(path: Path) -> ModuleType:
    """Import a file by its path, under the name of its stem."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no file of Python; {_HOW}")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickle look there
    spec.loader.exec_module(module)
    return module
