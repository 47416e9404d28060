"""Files that other processes read while they are written, and addresses of Unix sockets.

A reader sees the old content or the new, never half of one. The address of a Unix socket has room for 107 bytes (unix(7));
the record of a lab may lie deeper, and names of labs and nodes may be long, so a socket is addressed through its folder.

Pods and commands on hosts write some of these files: their /etc/hosts, /etc/hostname and
resolv.conf. Such a file may have any content of any size, or may have been replaced by a link, a
folder or a pipe. `read_plain` follows no link, never blocks and reads no more than the limit;
content is compared as bytes.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE = 0o600  # tokens, keys


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content atomically, also if this process is killed or the disk is full.

    `mode` is the mode of the new file.

    Nothing is synced: what is written is about processes and namespaces, which a power cut ends as well.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        scratch.replace(path)
    except BaseException as error:
        scratch.unlink(missing_ok=True)
        if isinstance(error, OSError) and not error.filename:  # of a write: a full disk
            error.filename = str(path)
        raise


def read_plain(path: Path, limit: int) -> bytes | None:
    """Return the first `limit` bytes of a plain file, None for anything else and for no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit)


def holds(path: Path, content: bytes) -> bool:
    """Return whether a path is a plain file with just this content."""
    return read_plain(path, len(content) + 1) == content


def clear_way(path: Path) -> None:
    """Remove anything but a plain file from a path; the target of a link stays."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    elif not stat.S_ISREG(mode):
        path.unlink(missing_ok=True)


def write_in_place(path: Path, content: str | bytes) -> None:
    """Replace a file's content in the same inode, because running containers may mount it.

    A file that has the content already is not written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    encoded = content.encode() if isinstance(content, str) else content
    if holds(path, encoded):
        return
    clear_way(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(encoded)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address of at most 107 bytes for a Unix socket; it is valid in the `with` block."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
