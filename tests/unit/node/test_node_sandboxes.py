"""Sandboxes while their namespaces come one by one: what a round looks at, and what it says stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from netlab.api.lab import Networking
from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod, PodSpec
from netlab.containment import Containment
from netlab.dataplane.names import ownership_mark
from netlab.dataplane.state import NamespaceState, Operation, Verb
from netlab.errors import KernelError
from netlab.kernel.fake import FakeKernel
from netlab.node import sandbox
from netlab.node.sandbox import NodePods, Sandboxes
from netlab.runtime.statedir import StateDirectory

NODES = ("node1", "node2")


class Watched(FakeKernel):
    """A kernel that notes who is looked at, and during whose programming a pod is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.observed: list[str] = []
        self.loses: dict[str, str] = {}

    def observe(self, path: str, *, sysctls: Sequence[str] = ()) -> NamespaceState:
        self.observed.append(Path(path).name)
        return super().observe(path, sysctls=sysctls)

    def perform(self, path: str, operations: Sequence[Operation]) -> None:
        super().perform(path, operations)
        if uid := self.loses.pop(Path(path).name, ""):
            self.sandboxes.lose(uid)


class Lab:
    """Two nodes, with pods `a` and `b` on the first and `c` on the second, none of which has a namespace yet."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        state = StateDirectory("lab", root)
        state.create()
        self.kernel = Watched()
        self.inodes = dict.fromkeys(NODES, 1)
        monkeypatch.setattr(sandbox, "inode", lambda path: self.inodes[Path(path).name.removeprefix("lab-")])
        self.there: set[str] = set()
        self.sandboxes = self.kernel.sandboxes = Sandboxes(self.kernel, state, Networking(), "lab", self.make)
        self.wanted = [self.pods("node1", 1, "a", "b"), self.pods("node2", 2, "c")]
        self.kernel.create_namespaces([f"/run/netns/lab-{node}" for node in NODES])
        self.round()
        self.kernel.observed.clear()

    def pods(self, node: str, index: int, *names: str) -> NodePods:
        metas = [ObjectMeta(name=name, namespace="x", uid=name) for name in names]
        return NodePods(node, f"10.244.{index}.0/24", tuple(Pod(metadata=meta, spec=PodSpec(node_name=node)) for meta in metas))

    def make(self, pods):
        self.kernel.create_namespaces([path for path, pod in pods.items() if pod.metadata.uid in self.there])
        return {pod.metadata.uid: "being started" for pod in pods.values() if pod.metadata.uid not in self.there}

    def come(self, *uids: str) -> None:
        self.there.update(uids)

    def renew(self, node: str) -> None:
        self.inodes[node] += 1
        self.kernel.delete_namespaces([f"/run/netns/lab-{node}"])
        self.kernel.create_namespaces([f"/run/netns/lab-{node}"])

    def round(self, *, resync: bool = False) -> list[str]:
        """Return the addresses that stand after a round."""
        self.sandboxes.renewed(NODES)
        return sorted(self.sandboxes.ensure(self.wanted, resync=resync).addresses)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return Lab(tmp_path, monkeypatch)


ALL = ["lab-node1", "lab-x-a", "lab-x-b", "lab-node2", "lab-x-c"]
ROUNDS = [
    pytest.param([lambda lab: lab.round()], [], [], id="nothing has come"),
    pytest.param([lambda lab: lab.come("b")], ["lab-node1", "lab-x-b"], ["b"], id="one has come"),
    pytest.param([lambda lab: lab.come("b"), Lab.round], ["lab-node1", "lab-x-b"], ["b"], id="one had come: no news"),
    pytest.param([lambda lab: lab.come("a", "b", "c")], ALL, ["a", "b", "c"], id="all at once"),
    pytest.param([lambda lab: lab.round(resync=True)], ["lab-node1", "lab-node2"], [], id="a resync looks at nodes without pods"),
    pytest.param([lambda lab: lab.renew("node2")], ["lab-node2"], [], id="a node's namespace is another one"),
    pytest.param(
        [lambda lab: lab.come("a", "c"), Lab.round, lambda lab: lab.kernel.observed.clear(), lambda lab: lab.renew("node1")],
        ["lab-node1", "lab-x-a"],
        ["a", "c"],
        id="its pods are wired again",
    ),
    pytest.param(
        [lambda lab: lab.come("a"), Lab.round, lambda lab: lab.kernel.observed.clear(), lambda lab: lab.sandboxes.lose("a")],
        ["lab-node1", "lab-x-a"],
        ["a"],
        id="a pod was lost",
    ),
]


@pytest.mark.parametrize(("steps", "observed", "standing"), ROUNDS)
def test_a_round_looks_where_there_is_news(lab, steps, observed, standing):
    """Where nothing has come since the last round nothing is looked at, however many pods still wait."""
    for step in steps:
        step(lab)

    assert (standing, observed) == (lab.round(), lab.kernel.observed)


@pytest.mark.parametrize("where", ["lab-node1", "lab-x-a"])
def test_a_pod_lost_during_a_round_does_not_stand(lab, where):
    """Whatever was programmed when the namespace was lost: the next round begins anew."""
    lab.come("a", "b")
    lab.kernel.loses[where] = "a"

    assert (["b"], False) == (lab.round(), lab.sandboxes.stands("a"))
    assert (["a", "b"], True) == (lab.round(), lab.sandboxes.stands("a"))


# ---- each pod fails alone
class Refusing(Watched):
    """A kernel that refuses every batch with one of these links in it, by pod name in the alias."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[str] = set()
        self.batches = 0

    def perform(self, path: str, operations: Sequence[Operation]) -> None:
        self.batches += 1
        for operation in operations:
            alias = getattr(operation.item, "alias", None) or ""
            if operation.verb is not Verb.DELETE and any(alias.endswith(f"/{name}") for name in self.bad):
                raise KernelError(f"The kernel refused ip link set ... alias {alias}: Invalid argument.", errno=22)
        super().perform(path, operations)


@pytest.fixture
def refusing(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.Watched", Refusing)
    made = Lab(tmp_path, monkeypatch)
    made.come("a", "b", "c")
    return made


def ensure(lab):
    lab.sandboxes.renewed(NODES)
    return lab.sandboxes.ensure(lab.wanted)


def test_a_pod_that_the_kernel_refuses_stops_no_other(refusing):
    """The others of its node stand after the same round, and the pod alone has the kernel's words (findings S6)."""
    refusing.kernel.bad = {"a"}
    outcome = ensure(refusing)

    assert sorted(outcome.addresses) == ["b", "c"]
    assert list(outcome.problems) == ["a"]
    assert "Invalid argument" in outcome.problems["a"]


def test_a_refused_pod_is_left_out_until_it_is_due(refusing):
    """While its back-off runs nothing is asked of the kernel for it; then it is let in again."""
    now = [1000.0]
    refusing.sandboxes._failed = Containment(sandbox.log, "sandbox", lambda: now[0])
    refusing.kernel.bad = {"a"}
    ensure(refusing)
    asked = refusing.kernel.batches
    held = ensure(refusing)
    quiet = refusing.kernel.batches - asked
    refusing.kernel.bad = set()
    now[0] += 60
    later = ensure(refusing)

    assert (quiet, list(held.problems), sorted(later.addresses), dict(later.problems)) == (0, ["a"], ["a", "b", "c"], {})


def test_a_damaged_record_of_addresses_concerns_its_node(refusing):
    """The pods of the other node stand; those of this one say what is wrong."""
    refusing.sandboxes._nodes.pop("node1", None)
    (refusing.sandboxes._state.ipam / "node1").write_bytes(b"\xff{")
    outcome = ensure(refusing)

    assert sorted(outcome.addresses) == ["c"]
    assert sorted(outcome.problems) == ["a", "b"]


def test_a_long_pod_name_has_an_alias_that_the_kernel_takes():
    """At most 254 bytes, with the lab's mark in front, and another one for every pod (findings S6)."""
    names = [f"{'p' * 234}{end}" for end in "ab"]
    marks = [ownership_mark("l" * 40, f"default/{name}") for name in names]

    assert [len(mark) <= 254 and mark.startswith(f"netlab:{'l' * 40}:default/ppp") for mark in marks] == [True, True]
    assert len(set(marks)) == 2
    assert ownership_mark("lab", "default/web") == "netlab:lab:default/web"
