"""An engine of the test's own, in a machine of its own: it may be ended and killed while colleagues' labs run on this one.

The machine is a process with network, mounts, /run and process numbers of its own, so nothing that the engine does (networks,
rules, names of namespaces) is seen outside, and all that it has started ends with its first process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from labdriver import ROOT

from netlab.images.base import BASE
from netlab.process.identity import children

PATIENCE = 120  # seconds for one step of an engine; it takes one or two
MAKE = 'mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir /run/lock && ip link set lo up && echo ready && exec "$@"'
FIRST_PROCESS = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
while True:  # whoever has lost his parent is this one's child, and must not stay a zombie
    signal.sigwait({signal.SIGCHLD})
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0): pass
    except ChildProcessError: pass
"""


class OwnEngine:
    """A machine in `folder`, whose engine can be started and ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        words = ["unshare", "-mnpf", "--mount-proc", "--kill-child", "sh", "-ec", MAKE, "sh", sys.executable, "-c", FIRST_PROCESS]
        self._machine = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._machine.stdout is not None
        self.ready = self._machine.stdout.readline() == "ready\n"
        self._dockerd: subprocess.Popen[bytes] | None = None

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another in the machine."""
        [first] = children(self._machine.pid)
        where = (f"DOCKER_HOST=unix://{self._folder}/docker.sock", f"PYTHONPATH={ROOT}")
        return ("nsenter", "-t", str(first), "-m", "-n", "-p", "env", f"--chdir={ROOT}", *where)

    def docker(self, *arguments: str) -> str:
        return subprocess.run([*self.inside, "docker", *arguments], capture_output=True, text=True, check=True).stdout

    def load(self, tags: Mapping[str, str]) -> None:
        """Give the engine images of the one of this machine."""
        with subprocess.Popen(["docker", "save", BASE, *tags.values()], stdout=subprocess.PIPE) as saving:
            subprocess.run([*self.inside, "docker", "load", "--quiet"], stdin=saving.stdout, check=True, capture_output=True)

    def start(self, *options: str) -> bool:
        """Start the engine; tell whether it answers."""
        paths = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
        words = ["dockerd", "--bridge", "none", "-H", f"unix://{self._folder}/docker.sock", *options]
        words += [word for option, name in paths.items() for word in (option, f"{self._folder}/{name}")]
        with (self._folder / "log").open("ab") as log:
            self._dockerd = subprocess.Popen([*self.inside, *words], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while self._dockerd.poll() is None and time.monotonic() < deadline:
            if subprocess.run([*self.inside, "docker", "version"], capture_output=True, check=False).returncode == 0:
                return True
            time.sleep(0.1)
        return False

    def end(self, number: signal.Signals) -> None:
        """Send the engine a signal; returns when it has ended."""
        assert self._dockerd is not None
        [first] = children(self._dockerd.pid)  # `nsenter` waits for what it has started
        os.kill(first, number)
        self._dockerd.wait(PATIENCE)

    def close(self) -> None:
        """End the machine, and everything in it."""
        self._machine.kill()
        self._machine.communicate()
        if self._dockerd:
            self._dockerd.wait(PATIENCE)
