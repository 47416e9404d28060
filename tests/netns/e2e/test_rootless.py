"""Labs of an ordinary user, without sudo: the same story as root's, and what the system may forbid."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from pathlib import Path

import ordinary
import pytest
import test_privileges
from labdriver import TIME_LIMIT, TOPOLOGIES, talking

from netlab.kernel import user_namespace

NETLAB = (sys.executable, "-m", "netlab")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ordinary.ROOT)}
FORBID = """
import os, sys
from netlab.kernel import libc
user = os.geteuid()
libc.unshare(libc.CLONE_NEWUSER)
open("/proc/self/uid_map", "w").write(f"{user} {user} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv(sys.argv[1], sys.argv[1:])
"""


class User:
    """An ordinary user with a home and a runtime folder of his own."""

    def __init__(self, home):
        self.home = home
        self.runtime = home / "run"

    def command(self, *words):
        return [sys.executable, ordinary.__file__, str(self.home), *map(str, words)]

    def run(self, *command, check=0):
        words = self.command(*command)
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIME_LIMIT, check=False, env=ENVIRONMENT)
        assert check == done.returncode, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def can_read_netlab(self):
        words = self.command(sys.executable, "-c", "import netlab.lab.up, netlab.lab.test, netlab.daemon.main")
        return 0 == subprocess.run(words, capture_output=True, timeout=TIME_LIMIT, check=False, env=ENVIRONMENT).returncode

    def netlab(self, *arguments, check=0):
        return self.run(*NETLAB, *arguments, check=check)

    def passes(self, lab):
        """Tell whether the connectivity test of a lab proves something, finds no fault and leaves nothing out."""
        totals = json.loads(self.netlab("test", "connectivity", lab, "-f", "json").stdout)["totals"]
        return totals.pop("pass") > 0 and not any(totals.values())

    def processes(self, lab):
        records = (self.runtime / "k8s-netlab" / lab / "processes").iterdir()
        return {record.name: json.loads(record.read_text())["pid"] for record in records}


@pytest.fixture
def user(host, cannot_run):  # noqa: ARG001 -- the host is looked at before and after
    """An ordinary user; his labs are taken down at the end."""
    if setting := user_namespace.forbidding(user_namespace.settings()):
        cannot_run(f"this machine forbids user namespaces: {setting}")
    home = Path(tempfile.mkdtemp(prefix="netlab-user-"))  # pytest's own folders are root's
    try:
        (home / "run").mkdir(mode=0o700)
        for folder in (home, home / "run"):
            os.chown(folder, ordinary.USER, ordinary.USER)
        someone = User(home)
        if not someone.can_read_netlab():
            cannot_run("the source or the interpreter is not readable for other users of this machine")
        yield someone
        someone.netlab("down", "--all")
    finally:
        shutil.rmtree(home)


def test_the_story(user):
    """An ordinary user's quickstart comes up, proves itself, is entered, is left alone by a second `up`, and goes down."""
    up = user.netlab("up", "--name", "mine", TOPOLOGIES / "quickstart.yaml")
    again = user.netlab("up", "--name", "mine", TOPOLOGIES / "quickstart.yaml")

    assert "Lab mine is up in" in up.stderr
    assert "nothing to do" in again.stderr
    assert user.passes("mine")
    assert "blue" in user.netlab("exec", "client", "--", "curl", "-s", "http://198.51.100.1/").stdout
    assert "table ip kube-proxy" in user.netlab("exec", "node1", "--", "nft", "list", "tables").stdout
    assert "cni0\n" in user.netlab("exec", "node1", "--", "ls", "-1", "/sys/class/net").stdout
    assert "10.96.0.10" in user.netlab("exec", "toolbox", "--", "cat", "/etc/resolv.conf").stdout
    nested = user.netlab("exec", "node1", "--", *NETLAB, "exec", "node1", "--", "ls", "-1", "/sys/class/net")
    assert "cni0\n" in nested.stdout
    assert 3 == user.netlab("exec", "toolbox", "--", "sh", "-c", "exit 3", check=3).returncode
    assert "node3" in user.netlab("status").stdout
    assert "agent-node1" in user.netlab("logs").stdout

    user.netlab("down")

    assert [] == list(user.runtime.iterdir())


def test_every_process_has_what_it_needs_alone(user):
    """Inside the lab's user namespace as for root: the same capabilities, no way to more, the same filter (finding M9)."""
    user.netlab("up", "--name", "mine", test_privileges.write(user.home))
    commands = test_privileges.commands_of(user.runtime / "k8s-netlab" / "mine")

    assert test_privileges.EXPECTED == test_privileges.privileges("mine", commands)
    assert user.passes("mine")


def test_kubectl_reaches_the_api_from_the_users_own_shell(user):
    """The API server listens on the machine's loopback, although its process lives elsewhere; also after it was replaced."""
    user.netlab("up", "--name", "mine", TOPOLOGIES / "cluster-ip.yaml")
    before = _version(user.runtime / "k8s-netlab" / "mine")
    os.kill(user.processes("mine")["daemon"], signal.SIGKILL)
    assert "10.96.0.1" in user.netlab("exec", "node1", "--", "nft", "list", "ruleset").stdout  # the data plane goes on

    user.netlab("up", "--name", "mine", TOPOLOGIES / "cluster-ip.yaml")

    assert before == _version(user.runtime / "k8s-netlab" / "mine")
    assert user.passes("mine")


def _version(record):
    """Return where the API server listens and what it says it is."""
    port = json.loads((record / "api.json").read_text())["loopback"]
    trust = ssl.create_default_context(cafile=record / "pki" / "ca.crt")
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/version", context=trust, timeout=10) as answer:
        return port, json.load(answer)["major"]


def test_port_forward(user):
    """A port of the machine's loopback leads into a pod of an ordinary user's lab."""
    user.netlab("up", "--name", "mine", TOPOLOGIES / "quickstart.yaml")
    command = user.command(*NETLAB, "port-forward", "svc/blue", "0:80")
    with talking(command, env=ENVIRONMENT) as process:
        port = int(re.search(r":(\d+) -> ", process.stdout.readline())[1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            page = answer.read().decode()
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(TIME_LIMIT), process.stderr.read()

    assert "This is pod default/blue-" in page


def test_all_processes_are_killed(user):
    """The user namespace ends with the last process in it; the next `up` makes all anew, `gc` and `down` need none."""
    user.netlab("up", "--name", "mine", TOPOLOGIES / "multi-container.yaml")
    _kill_all(user)
    user.netlab("up", "--name", "mine", TOPOLOGIES / "multi-container.yaml")

    assert user.passes("mine")

    _kill_all(user)

    assert "removed lab mine" in user.netlab("gc").stdout
    assert [] == list(user.runtime.iterdir())


def _kill_all(user):
    """End everything that holds the lab, and wait until it has ended; the daemon first, or it starts others again."""
    _kill(user.processes("mine")["daemon"])
    for pid in user.processes("mine").values():
        _kill(pid)


def _kill(pid):
    with suppress(ProcessLookupError):  # it has ended already
        descriptor = os.pidfd_open(pid)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], TIME_LIMIT)[0]
        os.close(descriptor)


def test_two_labs(user):
    """Each lab has a user namespace of its own: same addresses and names of namespaces, no clash, `down --all` ends both."""
    for name in ("one", "two"):
        user.netlab("up", "--name", name, TOPOLOGIES / "cluster-ip.yaml")
    owners = {Path(f"/proc/{user.processes(name)['daemon']}/ns/user").readlink() for name in ("one", "two")}

    assert 2 == len(owners)
    assert user.passes("two")

    down = user.netlab("down", "--all").stderr

    assert ("Lab one removed" in down, "Lab two removed" in down) == (True, True)


def test_forbidden(user):
    """Where the system forbids user namespaces, the exit code is 4, the setting is named, and nothing has been made."""
    forbidden = (sys.executable, "-c", FORBID, *NETLAB)
    up = user.run(*forbidden, "up", "--name", "mine", TOPOLOGIES / "quickstart.yaml", check=4)
    doctor = user.run(*forbidden, "doctor", check=4)

    assert "user.max_user_namespaces = 0" in up.stderr
    assert "sysctl -w user.max_user_namespaces=" in up.stderr
    assert "user.max_user_namespaces = 0" in doctor.stdout
    assert [] == list(user.runtime.iterdir())


def test_no_runtime_folder(user):
    """A user without a folder for the record is told so, with the remedy."""
    user.runtime.rmdir()
    up = user.netlab("up", "--name", "mine", TOPOLOGIES / "quickstart.yaml", check=4)
    user.runtime.mkdir()

    assert "XDG_RUNTIME_DIR is not set" in up.stderr


def test_doctor(user):
    """The doctor tries all that a lab needs in a user namespace, and says so."""
    found = {finding["name"]: finding for finding in json.loads(user.netlab("doctor", "-f", "json").stdout)}

    assert "running as an ordinary user, in a user namespace" == found["privilege"]["found"]
    assert [] == [name for name, finding in found.items() if finding["needed"] and not finding["good"]]
