"""Sandboxes while their namespaces come one by one: what a round looks at, and what it says stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from netlab.api.lab import Networking
from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod, PodSpec
from netlab.containment import Containment
from netlab.dataplane.names import ownership_mark
from netlab.dataplane.state import NamespaceState, Neighbour, Operation, Verb
from netlab.errors import KernelError
from netlab.kernel.fake import FakeKernel
from netlab.node.kubelet import sandbox
from netlab.node.kubelet.sandbox import NodePods, Outcome, Sandboxes
from netlab.state import StateDirectory

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
        monkeypatch.setattr(sandbox, "inode", lambda path: self.inodes.setdefault(Path(path).name.removeprefix("lab-"), 1))
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

    def delete(self, pod: str) -> None:
        """Do as `ip netns delete` does to a pod's namespace."""
        self.kernel.delete_namespaces([f"/run/netns/lab-x-{pod}"])

    def replace(self, pod: str) -> None:
        """Have somebody else make a pod's namespace again: it has another inode."""
        self.delete(pod)
        self.kernel.create_namespaces([f"/run/netns/lab-x-{pod}"])
        self.inodes[f"x-{pod}"] += 1

    def rename(self, pod: str, name: str) -> None:
        """Do as `ip link set eth0 name` does: the other end stays."""
        inside = self.kernel._namespaces[f"/run/netns/lab-x-{pod}"]
        other = inside.peers.pop("eth0")
        inside.links[name] = replace(inside.links.pop("eth0"), name=name)
        inside.peers[name] = other
        self.kernel._namespaces[other[0]].peers[other[1]] = (f"/run/netns/lab-x-{pod}", name)

    def round(self, *, resync: bool = False) -> list[str]:
        """Return the pods that stand after a round."""
        return sorted(self.outcome(resync=resync).addresses)

    def outcome(self, *, resync: bool = False) -> Outcome:
        """Return what a round reaches."""
        self.sandboxes.renewed(NODES)
        return self.sandboxes.ensure(self.wanted, resync=resync)


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
        ["lab-x-a", "lab-node1", "lab-x-a"],
        ["a", "c"],
        id="its pods are wired again",
    ),
    pytest.param(
        [lambda lab: lab.come("a"), Lab.round, lambda lab: lab.kernel.observed.clear(), lambda lab: lab.sandboxes.lose("a")],
        ["lab-x-a", "lab-node1"],
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


def test_a_record_of_addresses_that_cannot_be_read_concerns_its_node(refusing):
    """The pods of the other node stand; those of this one say what is wrong (damaged content is rebuilt: M2)."""
    refusing.sandboxes._nodes.pop("node1", None)
    record = refusing.sandboxes._state.ipam / "node1"
    record.unlink(missing_ok=True)
    record.mkdir(parents=True)
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


DAMAGES = [
    pytest.param(lambda lab: lab.delete("a"), ["a"], id="the namespace was removed"),
    pytest.param(lambda lab: lab.replace("a"), [], id="somebody else made the namespace again: what ran is in the old one"),
    pytest.param(lambda lab: lab.rename("a", "foo0"), [], id="eth0 was renamed"),
    pytest.param(lambda lab: lab.kernel._remove_link("/run/netns/lab-x-a", "eth0"), [], id="eth0 was deleted"),
]


@pytest.mark.parametrize(("damage", "fresh"), DAMAGES)
def test_a_resync_heals_a_pod(lab, damage, fresh):
    """One resync makes a pod's namespace and cable again; the outcome says in which namespaces nothing can run yet (S4)."""
    lab.come("a", "b", "c")
    assert {"a", "b", "c"} == lab.outcome().fresh
    assert frozenset() == lab.outcome(resync=True).fresh
    damage(lab)

    outcome = lab.outcome(resync=True)

    assert (["a", "b", "c"], fresh, {}) == (sorted(outcome.addresses), sorted(outcome.fresh), outcome.problems)
    eth0 = {link.name: link for link in lab.kernel.observe("/run/netns/lab-x-a").links}["eth0"]
    assert (True, "netlab:lab:x/a") == (eth0.up, eth0.alias)
    performed = len(lab.kernel.performed)
    lab.outcome(resync=True)
    assert performed == len(lab.kernel.performed)


NODE1, POD_A = "/run/netns/lab-node1", "/run/netns/lab-x-a"
GATEWAY_MAC, A_MAC, WRONG_MAC = "0a:58:0a:f4:01:01", "0a:58:0a:f4:01:02", "02:00:00:00:00:66"


def neighbours(lab, path):
    return {n.address: n.mac for n in lab.kernel.observe(path).neighbours}


def test_pod_and_node_have_permanent_entries_for_each_other(lab):
    """The kernel counts learned entries of all namespaces against one limit; permanent ones it does not (findings P1)."""
    lab.come("a", "b", "c")
    lab.round()

    assert {"10.244.1.2": A_MAC, "10.244.1.3": "0a:58:0a:f4:01:03"} == neighbours(lab, NODE1)
    assert {"10.244.1.1": GATEWAY_MAC} == neighbours(lab, POD_A)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param((NODE1, Verb.DELETE, Neighbour("cni0", "10.244.1.2", A_MAC)), id="the node's entry deleted"),
        pytest.param((NODE1, Verb.SET, Neighbour("cni0", "10.244.1.2", WRONG_MAC)), id="the node's entry wrong"),
        pytest.param((NODE1, Verb.SET, Neighbour("cni0", "10.244.1.77", WRONG_MAC)), id="one more on the node"),
        pytest.param((POD_A, Verb.DELETE, Neighbour("eth0", "10.244.1.1", GATEWAY_MAC)), id="the pod's entry deleted"),
        pytest.param((POD_A, Verb.SET, Neighbour("eth0", "10.244.1.1", WRONG_MAC)), id="the pod's entry wrong"),
        pytest.param((POD_A, Verb.SET, Neighbour("eth0", "10.244.1.3", WRONG_MAC)), id="one more in the pod"),
    ],
)
def test_a_resync_repairs_neighbour_entries(lab, damage):
    """Entries that were changed by hand are as before after one resync, and the next one does nothing."""
    lab.come("a", "b")
    lab.round()
    before = neighbours(lab, NODE1), neighbours(lab, POD_A)
    path, verb, entry = damage
    lab.kernel.perform(path, [Operation(verb, entry)])
    damaged = neighbours(lab, NODE1), neighbours(lab, POD_A)

    lab.outcome(resync=True)

    assert before != damaged
    assert before == (neighbours(lab, NODE1), neighbours(lab, POD_A))
    performed = len(lab.kernel.performed)
    lab.outcome(resync=True)
    assert performed == len(lab.kernel.performed)


@pytest.mark.parametrize("gone", ["", "cni0", NODE1], ids=["the node as it was", "without its bridge", "without its namespace"])
def test_a_pod_that_leaves_takes_its_neighbour_entry_along(lab, gone):
    """At once: a packet for it is answered by the node instead of being sent to a port that is gone. The others stay."""
    lab.come("a", "b")
    lab.round()
    if gone == "cni0":
        lab.kernel._remove_link(NODE1, gone)
    elif gone:
        lab.kernel.delete_namespaces([gone])

    lab.sandboxes.remove("node1", ["a"])

    assert {} == dict(lab.sandboxes._failed.failures)
    if not gone:
        assert {"10.244.1.3": "0a:58:0a:f4:01:03"} == neighbours(lab, NODE1)


def test_without_a_resync_a_lost_pod_is_not_looked_at(lab):
    """That a pod's namespace is gone is found at a resync; until then its node's other pods are not disturbed."""
    lab.come("a", "b", "c")
    lab.round()
    lab.delete("a")

    assert ["a", "b", "c"] == lab.round()


def test_a_pod_that_leaves_takes_only_its_own_namespace_along(lab):
    """What has the name of a pod's namespace without being on the record stays (S5)."""
    lab.come("a")
    lab.round()

    lab.sandboxes.remove("node1", ["a"])

    assert lab.kernel.namespace_exists("/run/netns/lab-x-a")
