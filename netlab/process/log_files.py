"""A log of limited size: the file NAME and, before it, NAME.1 (newer) to NAME.4 (oldest).

A log is rotated when its next bytes would not fit, so the sum of its files never exceeds
`Limits.total`. The file system may be smaller than the sum of all logs (the record of a lab is in
memory, below /run), so a writer also keeps some of it free (`is_nearly_full`): it removes rotated
files, the oldest of any container first, and empties its own file if there is no other. It drops
bytes that it cannot store, because the process that writes a log must not wait for space.

Readers see the files as one text. They open the newest first, so that a rotation in between
repeats a file (the same inode) but skips none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MIB: Final = 1024 * 1024
FREE_SHARE: Final = 10  # a log leaves one tenth of its file system free,
FREE: Final = 32 * MIB  # or this much of a large one
ASK_EVERY: Final = 256 * 1024  # bytes written between two checks of the free space


@dataclass(frozen=True)
class Limits:
    """The limits of a log: `files` files of `size` bytes."""

    size: int
    files: int

    @property
    def total(self) -> int:
        """The limit in bytes of all files of a log together."""
        return self.size * self.files


CONTAINER: Final = Limits(10 * MIB, 5)  # kubelet's containerLogMaxSize and containerLogMaxFiles
PROCESS: Final = Limits(2 * MIB, 2)  # the lab's own processes


class RotatingFile:
    """The writer of one log. A log has one writer at a time."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self._limits = limits
        self._unasked = ASK_EVERY
        self._descriptor = -1
        self._size = 0
        self.lost = 0  # bytes dropped for lack of space

    def append(self, data: bytes) -> None:
        """Append bytes. Drops those without space."""
        if self._descriptor < 0:
            with suppress(OSError):
                self._opened()
        if self._size and self._size + len(data) > self._limits.size:
            self.rotate()
        self._unasked += len(data)
        if self._unasked >= ASK_EVERY:
            self._unasked = 0
            self._leave_space()
        self.lost += len(data) - self._written(data)

    def write(self, text: str) -> None:
        """Add text, as a text stream does."""
        self.append(text.encode(errors="backslashreplace"))

    def rotate(self) -> None:
        """Start a new file; remove the oldest if there are too many."""
        self.close()
        names = log_names(self.path, self._limits.files)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            with suppress(OSError):  # the file does not exist, or its folder was removed
                newer.replace(older)
        self._size = 0

    def close(self) -> None:
        """Close the file; the next bytes reopen it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _written(self, data: bytes) -> int:
        """Write as much as there is space for, and return the number of bytes."""
        try:
            done = os.write(self._opened(), data)
            while done < len(data):
                done += os.write(self._opened(), data[done:])
        except OSError:  # no space, or the folder was removed with its pod
            self._unasked = ASK_EVERY
            return 0
        finally:
            if self._descriptor >= 0:
                self._size = os.fstat(self._descriptor).st_size
        return done

    def _opened(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _leave_space(self) -> None:
        """Remove rotated files of the lab's containers, the oldest first, while the file system is nearly full."""
        folder = self.path.parent
        with suppress(OSError):  # the folder was removed
            if not is_nearly_full(folder):
                return
            rotated = sorted(folder.parent.glob("*/*.log.[1-9]"), key=lambda path: path.stat().st_mtime)
            for name in rotated:
                name.unlink(missing_ok=True)
                if not is_nearly_full(folder):
                    return
            os.ftruncate(self._opened(), 0)


def log_names(path: Path, files: int) -> tuple[Path, ...]:
    """Return the names of a log's files, the newest first."""
    return (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, files)))


def is_nearly_full(folder: Path) -> bool:
    """Return whether a folder's file system has less free space than logs must leave."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize < min(found.f_blocks * found.f_frsize // FREE_SHARE, FREE)


def read_log(path: Path, limits: Limits = CONTAINER) -> str | None:
    """Return the text of all files of a log; None if there is none."""
    with ExitStack() as stack:
        files = _opened_files(path, limits, stack)
        return b"".join(file.read() for file in files).decode(errors="replace") if files else None


def _opened_files(path: Path, limits: Limits, stack: ExitStack) -> Sequence[BinaryIO]:
    """Open the files of a log, the oldest first."""
    seen: dict[tuple[int, int], BinaryIO] = {}
    for name in log_names(path, limits.files):
        with suppress(FileNotFoundError):
            file = stack.enter_context(name.open("rb"))
            found = os.fstat(file.fileno())
            seen.setdefault((found.st_dev, found.st_ino), file)
    return list(reversed(seen.values()))
