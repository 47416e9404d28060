"""Sandboxes while their namespaces come one by one: what a round looks at, and what it says stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from netlab.api.lab import Networking
from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod, PodSpec
from netlab.dataplane.state import NamespaceState, Operation
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
