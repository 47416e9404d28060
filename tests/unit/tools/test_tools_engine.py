"""tools/engine: what is missing is installed and started, and nothing else. The programs it calls are stand-ins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[3] / "tools" / "engine"
REAL = ("sh", "date", "sleep", "tail", "ls", "setsid", "touch", "mv", "dirname")
STARTS = 'touch "$STATE/up"'
RUNS = f'echo $$ > "$STATE/pid"; {STARTS}; exec sleep 60'
FAILS = "echo no room left; exit 1"


class Machine:
    """A machine whose programs are stand-ins; each says that it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in REAL:
            (self.programs / name).symlink_to(shutil.which(name))
        self.has("id", "echo 0")
        self.has("pidof", "exit 1")
        self.has("curl", '[ -e "$STATE/up" ]')
        self.has("apt-get", 'echo "$@" >> "$STATE/apt"')

    def has(self, name: str, script: str) -> None:
        """Install a stand-in."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def can_start(self, dockerd: str = RUNS, systemctl: str = STARTS) -> None:
        """Install an engine that starts like this, without systemd or with it."""
        self.has("dockerd", dockerd)
        self.has("systemctl", systemctl)

    def end(self) -> None:
        """End the engine, if one was started here."""
        pid = self.folder / "pid"
        if pid.exists():
            with suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "STATE": str(self.folder), "NETLAB_ENGINE_LOG": str(self.folder / "log")}
        return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False, env=environment, timeout=30)

    def installed(self) -> str:
        """Return the packages asked for."""
        path = self.folder / "apt"
        lines = path.read_text().splitlines() if path.exists() else []
        return " ".join(line.rpartition("--no-install-recommends ")[2] for line in lines if line.startswith("install"))


@pytest.fixture
def machine(tmp_path):
    """A machine without an engine."""
    made = Machine(tmp_path)
    yield made
    made.end()


def test_an_engine_that_answers_is_left_alone(machine):
    """Nothing is installed, started or said."""
    machine.has("mmdebstrap", "")
    (machine.folder / "up").touch()

    assert (0, "", "") == ((done := machine.run()).returncode, done.stdout, machine.installed())


def test_what_is_missing_is_installed_and_started(machine):
    """A fresh machine gets the engine and mmdebstrap, and the engine runs."""
    machine.can_start()
    (machine.programs / "dockerd").rename(machine.folder / "dockerd")
    machine.has("apt-get", 'echo "$@" >> "$STATE/apt"; case $* in *docker.io*) mv "$STATE/dockerd" "$STATE/bin/";; esac')

    assert (0, "mmdebstrap debian-archive-keyring docker.io apparmor") == (
        (done := machine.run()).returncode,
        machine.installed(),
    ), done


def test_a_system_that_is_not_booted(machine):
    """There the engine is installed and not started."""
    machine.can_start()
    (machine.programs / "dockerd").unlink()

    assert (0, "mmdebstrap debian-archive-keyring docker.io apparmor") == (machine.run("install").returncode, machine.installed())
    assert not (machine.folder / "up").exists()


def test_an_engine_that_does_not_run_is_started(machine):
    """What is installed is not installed again."""
    machine.has("mmdebstrap", "")
    machine.can_start()

    assert (0, "") == (machine.run().returncode, machine.installed())


def test_an_engine_that_cannot_start(machine):
    """An engine that ends at once is a failure that says where to read why."""
    machine.has("mmdebstrap", "")
    machine.can_start(FAILS, FAILS)
    done = machine.run()

    assert (4, True) == (done.returncode, "its log" in done.stderr or "journalctl" in done.stderr)


def test_without_root(machine):
    """An ordinary user can use an engine, not install one."""
    machine.has("id", "echo 1000")
    refused = machine.run()
    (machine.folder / "up").touch()

    assert (4, True, 0) == (refused.returncode, "sudo tools/engine" in refused.stderr, machine.run().returncode)
