"""What is asked before anything is made: privilege, tools, names."""

from __future__ import annotations

import os

import pytest

from netlab.api.lab import Lab, LabNode, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.errors import LabError, UnsupportedHostError
from netlab.hosts.claims import record, refuse_foreign, release
from netlab.kernel.door import Occupant
from netlab.kernel.fake import FakeKernel
from netlab.lab import preflight
from netlab.lab.up import Options, up
from netlab.state import StateDirectory

NOTHING, NAMESPACE, NAME, OTHER = Occupant


@pytest.mark.parametrize(
    ("effective", "lacking"),
    [
        pytest.param("000001ffffffffff", (), id="root"),
        pytest.param("0000000000000000", ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"), id="nobody"),
        pytest.param("00000000a80425fb", ("CAP_NET_ADMIN", "CAP_SYS_ADMIN"), id="root of a plain container"),
        pytest.param("00000000a80435fb", ("CAP_SYS_ADMIN",), id="a container with NET_ADMIN"),
    ],
)
def test_lacking_capabilities(effective, lacking):
    """The capabilities a lab needs are read from CapEff, bit by bit."""
    assert lacking == preflight.lacking_capabilities(f"Name:\tpython\nCapEff:\t{effective}\nCapBnd:\t000001ffffffffff\n")


def test_root_of_a_container(monkeypatch):
    """A root without capabilities is told which, with the remedy."""
    monkeypatch.setattr(preflight, "lacking_capabilities", lambda _: ("CAP_NET_ADMIN", "CAP_SYS_ADMIN"))

    with pytest.raises(UnsupportedHostError, match=r"`netlab up` needs CAP_NET_ADMIN, CAP_SYS_ADMIN.*\n.*--cap-add"):
        preflight.require_capabilities("up")


def test_missing_tool(monkeypatch):
    """A program that is not installed is named with the package that brings it."""
    monkeypatch.setattr(preflight.shutil, "which", lambda *_, **__: None)

    with pytest.raises(UnsupportedHostError, match=r"not installed: nft\n.*apt-get install -y nftables"):
        preflight.require_tools()


def state_of(tmp_path):
    state = StateDirectory("demo", tmp_path / "demo")
    state.create()
    return state


@pytest.mark.parametrize(
    ("recorded", "existing", "foreign"),
    [
        pytest.param([], {}, "", id="nothing there"),
        pytest.param(["demo-node1"], {"demo-node1": NAMESPACE}, "", id="our own"),
        pytest.param(["demo-node1"], {"demo-node1": NOTHING}, "", id="recorded, and a crash came before it was made"),
        pytest.param(["demo-node1"], {"demo-node1": NAME}, "", id="our own, unmounted"),
        pytest.param(["demo-node1"], {"demo-node1": OTHER}, "demo-node1", id="a link, a folder or a file in place of our own"),
        pytest.param([], {"demo-node1": NAMESPACE}, "demo-node1", id="somebody else's"),
        pytest.param([], {"demo-node1": NAME}, "demo-node1", id="somebody else's empty file"),
        pytest.param([], {"demo-node1": OTHER}, "demo-node1", id="somebody else's link"),
        pytest.param(["demo-node1"], {"demo-node1": NAMESPACE, "demo-node2": NAMESPACE}, "demo-node2", id="one of each"),
    ],
)
def test_foreign_namespaces(tmp_path, recorded, existing, foreign):
    """What exists and is not on the record was made by somebody else (S5)."""
    state = state_of(tmp_path)
    record(state, [f"/run/netns/{name}" for name in recorded])
    occupants = {f"/run/netns/{name}": found for name, found in existing.items()}

    if not foreign:
        refuse_foreign(state, occupants)
        return
    with pytest.raises(LabError, match=rf"not created by lab '.*': {foreign}\n"):
        refuse_foreign(state, occupants)


def test_only_what_is_on_record_is_removed(tmp_path):
    """A lab that gives up a name it never had leaves what is there; its own record goes with the namespace."""
    state, kernel = state_of(tmp_path), FakeKernel()
    ours, others = "/run/netns/demo-node1", "/run/netns/demo-default-pay"
    record(state, [ours])
    kernel.create_namespaces([ours, others])

    release(kernel, state, [ours, others])

    assert (False, True) == (kernel.namespace_exists(ours), kernel.namespace_exists(others))
    assert () == state.recorded_namespaces()


def test_hosts_of_the_file_are_looked_at(tmp_path, monkeypatch):
    """`up` looks at fabric, edge, nodes and clients before it makes anything."""
    monkeypatch.setattr(preflight.namespaces, "occupant", lambda path: NAMESPACE if path == "/run/netns/demo-node1" else NOTHING)
    lab = Lab(metadata=ObjectMeta(name="demo"), spec=LabSpec(nodes=(LabNode(name="node1"),)))

    with pytest.raises(LabError, match="demo-node1"):
        preflight.require_free_names(StateDirectory("demo", tmp_path / "demo"), lab)

    assert not (tmp_path / "demo").exists()


def test_an_ordinary_user_and_containers(monkeypatch, tmp_path):
    """That runtime docker is root's comes before whatever else the user lacks, which would be mended in vain."""
    file = tmp_path / "l.yaml"
    file.write_text("apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: l}\nspec: {runtime: docker, nodes: 1}\n")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    with pytest.raises(UnsupportedHostError, match=r"^runtime docker needs root"):
        up(file, Options(), print, print)


def test_root_of_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runtime docker needs root and the message offers the other; runtime netns does not."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    words = r"runtime docker needs root: .*\nUse sudo, or --runtime netns"

    preflight.require_user("netns")
    with pytest.raises(UnsupportedHostError, match=words):
        preflight.require_user("docker")
