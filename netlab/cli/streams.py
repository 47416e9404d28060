"""Output streams that survive a reader that closes the pipe: `netlab up 2>&1 | head -1`.

The rule: if the reader closes the pipe, netlab drops the output, finishes its work and keeps its
exit code. `up` does not roll back, `test` ends with its verdict, `status` with 0, whether the
reader closed the pipe before or after the last line. SIGPIPE ends other tools there; that is fine
for a tool that only prints, but not for one that is changing a machine.

    standard output    data        EPIPE is ignored; any other error, such as a full disk, is reported
    standard error     messages    every error is ignored

How it works: each stream is reopened below Python's own buffers. After the first write error the
null device replaces its descriptor, so an error is reported once, and no buffered data fails again
when the process ends.

What would surprise you: the kernel would assign a closed descriptor (`netlab up >&-`) to the next
file or socket that is opened, and the output would go there. So the null device takes the free
descriptors before anything else is opened.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD_STREAMS = (0, 1, 2)


class Unheard(io.FileIO):
    """Raw output that ignores selected write errors; its owner closes the descriptor."""

    def __init__(self, descriptor: int, name: str, *, harmless: type[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._called = name
        self._harmless = harmless

    def write(self, text: ReadableBuffer, /) -> int:
        """Write some bytes and return their number; drop them after an ignored error.

        Raises OSError.
        """
        try:
            return super().write(text)
        except OSError as error:
            point_at_nothing(self.fileno())
            if isinstance(error, self._harmless):
                return memoryview(text).nbytes
            raise OSError(error.errno, error.strerror, self._called) from error


def point_at_nothing(descriptor: int) -> None:
    """Replace a descriptor by the null device."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


def survive_their_readers() -> None:
    """Make standard output and standard error survive a reader that closes the pipe."""
    for descriptor in STANDARD_STREAMS:
        try:
            os.fstat(descriptor)
        except OSError:
            point_at_nothing(descriptor)
    sys.stdout = _reopened(sys.stdout, Unheard(1, "standard output", harmless=BrokenPipeError))
    sys.stderr = _reopened(sys.stderr, Unheard(2, "standard error", harmless=OSError))


def _reopened(stream: TextIO | None, end: Unheard) -> TextIO:
    """Return a stream like the given one, on top of `Unheard`; None means a closed descriptor.

    It is line-buffered if the given one was: to a terminal, on standard error, and with
    PYTHONUNBUFFERED, for which Python sets `write_through`.
    """
    encoding, errors = (stream.encoding, stream.errors) if stream else ("utf-8", "backslashreplace")
    at_once = stream.line_buffering or stream.write_through if isinstance(stream, io.TextIOWrapper) else True
    return io.TextIOWrapper(io.BufferedWriter(end), encoding, errors, line_buffering=at_once)
