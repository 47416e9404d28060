"""How a command gets its privilege, as far as that can be told without being one."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from netlab.errors import LabError, NetlabError, UnsupportedHostError
from netlab.lab import privilege
from netlab.process.identity import start_time
from netlab.process.records import ProcessRecord, write_record
from netlab.state import StateDirectory, state_root

ORDINARY = 1000
# From Python 3.12 on a fork is warned of while there are threads, and some test before may have left one. The child of
# `apart` takes no lock that one of them could hold.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@dataclass(frozen=True)
class Answer:
    number: int
    pid: int


def fails(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(("user", "same"), [(0, True), (ORDINARY, False)], ids=["root", "ordinary user"])
def test_apart(monkeypatch, user, same):
    """Root's work is done here, an ordinary user's by a child; the result is the same."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    answer = privilege.apart(lambda: Answer(7, os.getpid()), Answer)

    assert (7, same) == (answer.number, answer.pid == os.getpid())


@pytest.mark.parametrize("kind", [LabError, UnsupportedHostError])
def test_errors_of_a_child(monkeypatch, kind):
    """An error crosses with its kind, its words and its remedy."""
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY)
    with pytest.raises(NetlabError) as caught:
        privilege.apart(fails(kind("it would not go", remedy="Push.")), Answer)

    assert (kind, "it would not go", "Push.") == (type(caught.value), caught.value.message, caught.value.remedy)


def test_what_the_machine_refuses_a_child(monkeypatch):
    """An error that no part of netlab expects crosses as one of the machine's, with the file it is about."""
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY)
    with pytest.raises(UnsupportedHostError, match="/run/x: Permission denied"):
        privilege.apart(fails(PermissionError(13, "Permission denied", "/run/x")), Answer)


def test_a_child_that_is_killed(monkeypatch):
    """A child that says nothing is an error, not a success."""
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY)
    with pytest.raises(LabError, match="interrupted"):
        privilege.apart(lambda: os._exit(0), Answer)


OURSELVES = (os.getpid(), 0)
DEAD = (os.getpid(), 1)  # our number, at another time


@pytest.mark.parametrize(
    ("records", "joined"),
    [
        pytest.param({}, False, id="nothing on record"),
        pytest.param({"daemon": DEAD}, False, id="dead"),
        pytest.param(
            {"container-u-main": OURSELVES, "probe-u-main": OURSELVES},
            False,
            id="pods' commands have mounts of their own",
        ),
        pytest.param({"daemon": DEAD, "edge": OURSELVES}, True, id="the daemon is dead, the edge lives"),
    ],
)
def test_whom_to_join(monkeypatch, tmp_path, records, joined):
    """A command joins the lab through any of its own processes that lives; where none does, it makes a user namespace."""
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY)
    monkeypatch.setattr(os, "environ", {"PATH": "/usr/bin"})
    called = []
    monkeypatch.setattr(privilege.user_namespace, "join", lambda _: called.append("join"))
    monkeypatch.setattr(privilege.user_namespace, "make", lambda: called.append("make"))
    state = StateDirectory("demo", tmp_path / "demo")
    for name, (pid, later) in records.items():
        write_record(state, ProcessRecord(name, pid, start_time(pid) + later))
    privilege.obtain(state, "exec")

    assert ["join" if joined else "make"] == called
    assert {"K8SNETLAB_STATE": str(tmp_path), "PATH": "/usr/bin:/usr/local/sbin:/usr/sbin:/sbin"} == os.environ


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("", None),
        ("k8s-netlab", None),
        ("missing/k8s-netlab", r"XDG_RUNTIME_DIR is not set, and .*missing does not exist\n.*mktemp -d"),
    ],
    ids=["its parent is there", "it is there", "no runtime directory"],
)
def test_a_folder_for_the_record(monkeypatch, tmp_path, folder, words):
    """A user without a runtime directory is told so before anything is made."""
    for name in ("XDG_RUNTIME_DIR", "K8SNETLAB_STATE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "k8s-netlab").mkdir()

    if words is None:
        privilege.require_state_root(tmp_path / (folder or "other"))
        return
    with pytest.raises(UnsupportedHostError, match=words):
        privilege.require_state_root(tmp_path / folder)


def test_a_state_root_named_by_the_variable_is_named_by_it(tmp_path, monkeypatch):
    """Finding M11: K8SNETLAB_STATE is what decided, also when it is relative and XDG_RUNTIME_DIR is set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("K8SNETLAB_STATE", "rel/x")

    with pytest.raises(UnsupportedHostError) as error:
        privilege.require_state_root(state_root())

    why = f"K8SNETLAB_STATE is rel/x, and {tmp_path}/rel does not exist"
    assert f"no folder for the lab's record: {why}" == error.value.message
    assert f"mkdir -p {tmp_path}/rel)" in error.value.remedy
