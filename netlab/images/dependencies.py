"""The libraries that the agents import, as files for the images: wheels that pip unpacks on the machine.

A build has no access to a package index; the machine has, through the configuration of its pip.
Versions and hashes are those of `requirements.lock`, which netlab ships: pip refuses any other
file, whatever its source. The names are listed in full and not resolved, because pip would evaluate
conditions on the version of Python for the machine's. The files are in the user's cache folder,
under their hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

import netlab
from netlab.errors import LabError, UnsupportedHostError
from netlab.process import programs

PYTHON = "3.11"  # of Debian bookworm
# The imports of node, edge and workloads; tests/unit/runtime/test_runtime_images.py computes them.
DISTRIBUTIONS = (
    "dnspython",
    "h11",
    "idna",
    "msgspec",
    "pyroute2",
    "typing-extensions",
)
LOCK = "requirements.lock"
C_LIBRARIES = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")  # wheel tags for a libc not newer than bookworm's
FETCHING_LIMIT = 600  # seconds


def requirements() -> tuple[str, ...]:
    """Return the libraries of the lock, each with its version and its hashes: lines for pip."""
    found = {name: line for line in _lock_lines() if (name := line.partition("==")[0]) in DISTRIBUTIONS}
    if missing := [name for name in DISTRIBUTIONS if name not in found]:
        raise LabError(f"{LOCK} does not contain {', '.join(missing)}", remedy="Update it in netlab's source: make lock")
    return tuple(found[name] for name in DISTRIBUTIONS)


def _lock_lines() -> list[str]:
    """Return the requirements of the lock, of the installed package or else of the source tree, one a line."""
    package = Path(str(resources.files(netlab)))
    found = next((path for path in (package / "_images" / LOCK, package.parent / LOCK) if path.is_file()), None)
    if found is None:
        raise LabError(f"{LOCK} is missing: it belongs next to {package}", remedy="Reinstall netlab.")
    return found.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def digest() -> str:
    """Return the hash of everything that determines the downloaded files."""
    return hashlib.sha256("\n".join((PYTHON, platform.machine(), *requirements())).encode()).hexdigest()


def fetch(cache: Path) -> Path:
    """Return the folder with the libraries; download them if they are not in the cache."""
    folder = cache / "dependencies" / digest()[:16]
    if folder.exists():
        return folder
    if importlib.util.find_spec("pip") is None:
        raise UnsupportedHostError(
            f"the images need libraries that pip downloads, but this Python has no pip: {sys.executable}",
            remedy=f"Install it: {sys.executable} -m ensurepip (Debian: apt-get install -y python3-pip)",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
        lock = Path(scratch).with_suffix(".lock")
        lock.write_text("\n".join(requirements()), encoding="utf-8")
        try:
            programs.run("download the libraries for the images", command(Path(scratch), lock), limit=FETCHING_LIMIT)
        finally:
            lock.unlink()
        shutil.rmtree(Path(scratch) / "bin", ignore_errors=True)
        Path(scratch).rename(folder)
        Path(scratch).mkdir()  # for the context manager to remove
    return folder


def command(target: Path, lock: Path) -> list[str]:
    """Return pip's command line for the requirements in a file."""
    machine = platform.machine()
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--target", str(target), "--no-deps", "--no-compile", "--only-binary=:all:"),
        *("--implementation", "cp", "--python-version", PYTHON),
        *(word for library in C_LIBRARIES for word in ("--platform", f"{library}_{machine}")),
        *("--require-hashes", "--requirement", str(lock)),
    ]
