"""Small disks for tests of full ones, where they may be mounted."""

import os
import subprocess
from contextlib import contextmanager

import pytest


def as_root(*command):
    """Run a command as root; return what went wrong."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        done = subprocess.run([*sudo, *command], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


@contextmanager
def mounted(folder, size):
    """Mount a tmpfs on a folder."""
    os.makedirs(folder, exist_ok=True)
    problem = as_root("mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "tmpfs", folder)
    if problem:
        pytest.skip(f"cannot mount a tmpfs: {problem}")
    try:
        yield
    finally:
        assert as_root("umount", "-l", folder) == ""
