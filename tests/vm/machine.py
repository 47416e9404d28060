"""A virtual machine to run commands in: `Machine.start`, `run`, `stop`.

It is a child process that first makes its disk, if need be, and then is QEMU (image.py). Its standard input and output
are the wire to a loop in the machine (guest/wire) that runs one script after the other and answers each with its exit
code and output. So scripts can be sent before the machine is there: they wait in the pipe, and what they answer waits
until it is asked for. Nothing here sleeps or asks twice: `result` waits for the answer's line or for the end of the
machine, and the loop ends a script that takes longer than it may.

The machine ends with us, however we end. Its console and what was said when the disk was made are in the work folder.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 1500  # seconds a script may take; the processor is emulated, and others go first
PATIENCE = 1800  # seconds until a machine that says nothing is given up: making the disk, starting, what was sent before
LAST_LINES = 25
IMAGE = Path(__file__).parent / "image.py"
# It goes when we go. Where others want the processors it gets a tenth: little to them, enough for it to keep its own times.
POLITE = ("setpriv", "--pdeathsig", "KILL", "nice", "-n", "10")


class MachineError(Exception):
    """The machine ended or fell silent; with the last lines of its logs."""


@dataclass(frozen=True)
class Completed:
    """How a script ended. Code 124: it took longer than it may."""

    code: int
    output: str


@dataclass
class Machine:
    """A machine that is starting, or runs."""

    process: subprocess.Popen[bytes]
    work: Path
    sent: int = 0
    answers: list[Completed] = field(default_factory=list)
    ready: bool = False
    unread: bytes = b""

    @classmethod
    def start(cls, work: Path) -> Machine:
        """Start a machine and return at once. `work`: an empty folder of its own."""
        command = [*POLITE, sys.executable, str(IMAGE), str(work)]
        environment = {**os.environ, "PYTHONPATH": str(IMAGE.parents[2])}
        with (work / "making.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, env=environment
            )
        return cls(process, work)

    def send(self, script: str, limit: int = LIMIT) -> int:
        """Have a script of sh run after those sent before; return the number to ask `result` with."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: so `result` will say, and why
            self.process.stdin.write(f"{limit} {base64.b64encode(script.encode()).decode()}\n".encode())
        self.sent += 1
        return self.sent - 1

    def result(self, number: int) -> Completed:
        """Return how a script that was sent ended; waits until it has."""
        while len(self.answers) <= number:
            line = self._line()
            if not self.ready:
                assert b"ready" == line
                self.ready = True
                continue
            code, _, output = line.partition(b" ")
            self.answers.append(Completed(int(code), gzip.decompress(base64.b64decode(output)).decode(errors="replace")))
        return self.answers[number]

    def run(self, script: str, limit: int = LIMIT) -> Completed:
        """Run a script of sh in the machine."""
        return self.result(self.send(script, limit))

    def stop(self) -> None:
        """End the machine; its disk is as it was before."""
        self.process.kill()
        self.process.communicate()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        wire = self.process.stdout.fileno()
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.unread:
            readable, _, _ = select.select([wire], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise MachineError(f"the machine said nothing for {PATIENCE} s{self._last_words()}")
            said = os.read(wire, 1 << 16)
            if not said:
                raise MachineError(f"the machine ended with exit code {self.process.wait()}{self._last_words()}")
            self.unread += said
        line, _, self.unread = self.unread.partition(b"\n")
        return line

    def _last_words(self) -> str:
        words = ""
        for name in ("making.log", "console.log"):
            file = self.work / name
            lines = file.read_text(errors="replace").splitlines() if file.exists() else []
            words += "".join(f"\n{name}: {line}" for line in lines[-LAST_LINES:])
        return words
