"""LitServe's source distribution with its tests, and an environment in which they run."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".conformance"
"""What is fetched and made stays here, until `make clean`."""


def fetch(version: str) -> Path:
    """Return the unpacked source distribution of a LitServe, fetched by pip once."""
    unpacked = FOLDER / f"litserve-{version}"
    if not unpacked.exists():
        FOLDER.mkdir(exist_ok=True)
        command = ["download", "--no-binary", ":all:", "--no-deps", "--no-build-isolation"]
        _pip(sys.executable, *command, "--dest", str(FOLDER), f"litserve=={version}")
        with tarfile.open(FOLDER / f"litserve-{version}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return unpacked


def environment() -> Path:
    """Return a Python that has this environment's packages, and what LitServe's tests lack.

    It is one of its own: pytest's plugins for LitServe's tests are none for litcache's.
    """
    folder = FOLDER / "venv"
    python = folder / "bin" / "python"
    wanted = (ROOT / "requirements" / "conformance.txt").read_text()
    if not (folder / "ready").exists() or (folder / "ready").read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        here = sysconfig.get_path("purelib")
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        (site / "development.pth").write_text(here + "\n")
        _pip(str(python), "install", "-r", str(ROOT / "requirements" / "conformance.txt"))
        (folder / "ready").write_text(wanted)
    return python


def installed() -> str:
    """Return the version of the LitServe that is installed."""
    return metadata.version("litserve")


def _pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip {' '.join(arguments)} failed:\n{done.stderr}")
