"""A folder made anew in this process's mount namespace: in memory, with its old entries bound into it.

For folders of the machine in which something has to be otherwise here, and where nothing may be written on the machine's
own disk: /etc of a host or pod, /run of an ordinary user's lab.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from netlab.kernel import libc


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
