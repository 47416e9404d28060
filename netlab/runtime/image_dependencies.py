"""The libraries that the agents import, as files for the images: wheels that pip unpacks on the machine.

A build has no way to a package index of its own; the machine has, whichever pip is set up for. The versions are those of the
running netlab, so that container and machine run the same. The names are given in full, not resolved: conditions on the
version of Python would be answered for the machine's. Kept in the user's cache folder under their hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from netlab.errors import LabError, UnsupportedHostError
from netlab.runtime import programs

PYTHON = "3.11"  # of Debian bookworm
# What the entries of node, edge and workloads import; tests/unit/runtime/test_runtime_images.py computes it.
DISTRIBUTIONS = (
    "dnspython",
    "h11",
    "idna",
    "msgspec",
    "pyroute2",
    "typing-extensions",
)
C_LIBRARIES = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")  # wheels' words for a libc not newer than bookworm's
FETCHING_LIMIT = 600  # seconds


def requirements() -> tuple[str, ...]:
    """Return the libraries with the versions that are running; one that is not installed here comes as it is."""
    return tuple(_pinned(name) for name in DISTRIBUTIONS)


def digest() -> str:
    """Return the hash of everything that decides what is fetched."""
    return hashlib.sha256("\n".join((PYTHON, platform.machine(), *requirements())).encode()).hexdigest()


def fetch(cache: Path) -> Path:
    """Return the folder with the libraries, fetched when it is not in the cache."""
    folder = cache / "dependencies" / digest()[:16]
    if folder.exists():
        return folder
    if importlib.util.find_spec("pip") is None:
        raise UnsupportedHostError(
            f"the images need libraries that pip fetches, and this Python has no pip: {sys.executable}",
            remedy=f"Install it: {sys.executable} -m ensurepip (Debian: apt-get install -y python3-pip)",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
        programs.run("fetch the libraries for the images", command(Path(scratch)), limit=FETCHING_LIMIT)
        shutil.rmtree(Path(scratch) / "bin", ignore_errors=True)
        Path(scratch).rename(folder)
        Path(scratch).mkdir()  # for the context manager to remove
    return folder


def command(target: Path) -> list[str]:
    """Return pip's command line."""
    machine = platform.machine()
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--target", str(target), "--no-deps", "--no-compile", "--only-binary=:all:"),
        *("--implementation", "cp", "--python-version", PYTHON),
        *(word for library in C_LIBRARIES for word in ("--platform", f"{library}_{machine}")),
        *requirements(),
    ]


def _pinned(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        if name == "typing-extensions":  # needed below Python 3.13 only: this Python has it built in
            return name
        raise LabError(f"netlab is not installed whole: {name} is missing", remedy="Install it again with pip.") from None
