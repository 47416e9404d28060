"""Files that other processes read while they are written: a reader sees the old content or the new, never half of one."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE = 0o600  # tokens, keys


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content in one step; `mode` is that of the new file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    scratch.replace(path)


def write_in_place(path: Path, text: str) -> None:
    """Replace a file's content and keep the file: it may be mounted in running containers. Unchanged is untouched."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
