"""What netlab writes to, when somebody has stopped reading it: `netlab up 2>&1 | head -1`.

The rule: a lost reader takes no more words, and changes nothing else. `up` is not undone half-way because nobody hears how far
it is, `test` ends with its verdict, `status` with 0: the exit code is that of the work, and does not depend on whether the reader
left before the last line or after it. Other tools die of SIGPIPE there; one that only prints may, one that is changing a machine
may not.

    standard output    data    a reader that left (EPIPE) is no error; any other, a full disk above all, is: somebody waits for it
    standard error     talk    no error is one

How it works: below Python's own buffers each stream is opened anew, and after the first error of writing the null device takes
the place of its descriptor: an error is told once, and nothing is left in a buffer to fail again when the process ends.

What would surprise you: a descriptor that is not open at all (`netlab up >&-`) would be given to the next file or socket that is
opened, and what is printed would go there. So the null device takes the empty places, before anything else is opened.
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
    """A descriptor to write to, of which some errors are none; closing it is up to its owner."""

    def __init__(self, descriptor: int, name: str, *, harmless: type[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._called = name
        self._harmless = harmless

    def write(self, text: ReadableBuffer, /) -> int:
        """Write some of it and return how much; all of it when nobody gets any more. Raises OSError, by the stream's name."""
        try:
            return super().write(text)
        except OSError as error:
            point_at_nothing(self.fileno())
            if isinstance(error, self._harmless):
                return memoryview(text).nbytes
            raise OSError(error.errno, error.strerror, self._called) from error


def point_at_nothing(descriptor: int) -> None:
    """Put the null device in a descriptor's place."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


def survive_their_readers() -> None:
    """Have standard output and standard error outlive whoever reads them."""
    for descriptor in STANDARD_STREAMS:
        try:
            os.fstat(descriptor)
        except OSError:
            point_at_nothing(descriptor)
    sys.stdout = _opened_anew(sys.stdout, Unheard(1, "standard output", harmless=BrokenPipeError))
    sys.stderr = _opened_anew(sys.stderr, Unheard(2, "standard error", harmless=OSError))


def _opened_anew(stream: TextIO | None, end: Unheard) -> TextIO:
    """Return a stream as it was, but for its end; Python has made none of a descriptor that was not open.

    A line is written when it is there where that was so before: to a terminal, on standard error, and where somebody wants no
    buffers (PYTHONUNBUFFERED), which Python calls by another name.
    """
    encoding, errors = (stream.encoding, stream.errors) if stream else ("utf-8", "backslashreplace")
    at_once = stream.line_buffering or stream.write_through if isinstance(stream, io.TextIOWrapper) else True
    return io.TextIOWrapper(io.BufferedWriter(end), encoding, errors, line_buffering=at_once)
