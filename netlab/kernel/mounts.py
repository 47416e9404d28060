"""A folder rebuilt in this process's mount namespace: in memory, with its old entries bound into it.

For folders of the machine in which something has to be otherwise here, and where nothing may be written on the machine's
own disk: /etc of a host or pod, /run of an ordinary user's lab.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from netlab.kernel import libc

LIMITING: Final = threading.Lock()
MOUNTS: Final = Path("/proc/self/mountinfo")
MOUNT_POINT: Final = 4  # the field of proc(5), counted from 0


def rebuild(folder: str, leave_out: Collection[str] = ()) -> None:
    """Mount a new folder over `folder` and bind every old entry into it, but those named in `leave_out`."""
    old = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        libc.mount("tmpfs", folder, "tmpfs")
        Path(folder).chmod(0o755)
        with os.scandir(f"/proc/self/fd/{old}") as entries:
            for entry in entries:
                if entry.name not in leave_out:
                    _bind(entry, Path(folder) / entry.name)
    finally:
        os.close(old)


def limit(folder: Path, size: int) -> None:
    """Put a folder with a few small files on a file system of `size` bytes; done once, the files stay.

    Several threads may ask for the same folder, as the containers of a pod start side by side.
    """
    with LIMITING:
        if folder.is_mount():
            return
        contents = {path.name: path.read_bytes() for path in folder.iterdir()}
        libc.mount("tmpfs", str(folder), "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, f"size={size},nr_inodes=16,mode=755")
        for name, content in contents.items():
            (folder / name).write_bytes(content)


def below(folder: Path) -> list[str]:
    """Return what is mounted below a folder, in this process's mount namespace, in the order of mounting."""
    start = f"{folder.resolve()}/"
    lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return [target for target in (line.split()[MOUNT_POINT].replace("\\040", " ") for line in lines) if target.startswith(start)]


def unmount_below(folder: Path) -> None:
    """Unmount everything below a folder. What is still in use there ends with its last user."""
    for target in below(folder):
        libc.detach(target)


def _bind(entry: os.DirEntry[str], target: Path) -> None:
    """Bind an entry; one that is removed while we look is left out, programs come and go in /run."""
    with suppress(FileNotFoundError):
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
            return
        if entry.is_dir():
            target.mkdir()
        else:
            target.touch()
        libc.mount(entry.path, str(target), "none", libc.MS_BIND | libc.MS_REC)
