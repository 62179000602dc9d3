"""Small disks for tests of full ones, where they may be mounted."""

import os
import shutil
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


@contextmanager
def disk_of_its_own(folder, image, megabytes=64):
    """Mount on a folder a file system whose disk is a file: what is on that was synchronized."""
    os.makedirs(folder, exist_ok=True)
    with open(image, "wb") as disk:
        disk.truncate(megabytes << 20)
    _make_or_skip("mkfs.ext4", "-q", image)
    with _loop(folder, image):
        yield


@contextmanager
def after_a_power_cut(folder, image):
    """Mount on another folder what is on a disk now, as a machine without power left it."""
    os.makedirs(folder, exist_ok=True)
    copy = f"{image}-copy"
    shutil.copy(image, copy)
    with _loop(folder, copy):
        yield


@contextmanager
def _loop(folder, image):
    _make_or_skip("mount", "-o", "loop,commit=300", image, folder)
    try:
        assert as_root("chown", f"{os.geteuid()}", folder) == ""
        yield
    finally:
        assert as_root("umount", "-l", folder) == ""


def _make_or_skip(*command):
    problem = as_root(*command)
    if problem:
        pytest.skip(f"cannot make a disk: {problem}")
