"""Files that other processes read while they are written, and Unix sockets that they talk over.

A reader sees the old content or the new, never half of one. The address of a Unix socket has room for 107 bytes (unix(7));
the record of a lab may lie deeper, and names of labs and nodes may be long, so a socket is addressed through its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE = 0o600  # tokens, keys


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content in one step, also when we are killed or the disk is full; `mode` is that of the new file.

    Nothing is synced: what is written is about processes and namespaces, which a power cut ends as well.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_in_place(path: Path, text: str) -> None:
    """Replace a file's content and keep the file: it may be mounted in running containers. Unchanged is untouched."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield what to bind a Unix socket to, or to connect to, however long its path is. It holds as long as the `with` block."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
