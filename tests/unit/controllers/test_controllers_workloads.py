"""Deployment, ReplicaSet, DaemonSet: how many pods, which, and what the status says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from controllers_objects import (
    NOW,
    daemon_set,
    deployment,
    messages,
    meta,
    node,
    owned_by,
    pod,
    replica_set,
    settle,
    words,
    written,
)

from netlab.api.apps import Deployment, ReplicaSet
from netlab.api.meta import Object
from netlab.api.pods import Pod
from netlab.controlplane.controllers import daemon_sets, deployments, replica_sets
from netlab.controlplane.controllers.naming import ALPHABET, generated_name
from netlab.controlplane.controllers.templates import template_hash
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Create, Patch, UpdateStatus

BLUE = {"app": "blue"}
MINE = {"labels": BLUE, "owner": ("ReplicaSet", "rs")}
NAME = [generated_name("rs", str(n)) for n in range(4)]


def mine(name: str, **more: Any) -> Pod:
    return pod(name, **{**MINE, **more})


# ---- ReplicaSet
@pytest.mark.parametrize(
    ("replicas", "pods", "expected"),
    [
        (2, [], [f"create pods/default/{NAME[0]}", f"create pods/default/{NAME[1]}"]),
        (2, [mine(NAME[0])], [f"create pods/default/{NAME[1]}"]),
        (1, [mine(NAME[0], deleted=True)], [f"create pods/default/{NAME[1]}"]),  # a leaving one keeps its name, not its place
        (1, [mine(NAME[0], phase="Failed")], [f"create pods/default/{NAME[1]}"]),
        (1, [mine(NAME[0])], []),
        (0, [mine("a")], ["delete pods/default/a"]),
        (1, [mine("a", node="n1"), mine("b")], ["delete pods/default/b"]),  # unscheduled first
        (1, [mine("a", node="n1"), mine("b", node="n1", phase="Pending")], ["delete pods/default/b"]),
        (1, [mine("a", node="n1"), mine("b", node="n1", ready=False)], ["delete pods/default/b"]),
        (1, [mine("a", node="n1"), mine("b", node="n1", since="2026-01-01T00:00:01Z")], ["delete pods/default/b"]),  # ready last
        (1, [mine("a", node="n1"), mine("b", node="n2", created="2026-01-01T00:00:01Z")], ["delete pods/default/b"]),  # newest
        (1, [mine("a"), mine("b"), mine("c")], ["delete pods/default/a", "delete pods/default/b"]),
        (2, [mine("a", node="n1"), mine("b", node="n2"), mine("c", node="n2")], ["delete pods/default/b"]),  # doubled up
        (
            1,
            [mine("a", node="n1"), mine("b", node="n1", annotations={replica_sets.DELETION_COST: "-5"})],
            ["delete pods/default/b"],
        ),
        (
            1,
            [mine("a", node="n1", annotations={replica_sets.DELETION_COST: "-5"}), mine("b", node="n1", ready=False)],
            ["delete pods/default/b"],  # however little it would cost, one that is ready stays
        ),
    ],
)
def test_replica_set_pods(replicas: int, pods: list[Pod], expected: list[str]) -> None:
    """Missing pods are made under deterministic names; of too many, Kubernetes' order says which go."""
    actual = [
        w for w in words(settle(replica_sets.reconcile, [replica_set("rs", replicas=replicas), *pods])) if "status" not in w
    ]

    assert expected == actual


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (pod("orphan", labels=BLUE), "adopt"),
        (pod("leaving", labels=BLUE, deleted=True), ""),
        (pod("stranger", labels={"app": "red"}), ""),
        (pod("far", labels=BLUE, namespace="other"), ""),
        (mine("renamed", labels={"app": "red"}), "release"),
        (pod("taken", labels=BLUE, owner=("ReplicaSet", "other")), ""),
    ],
)
def test_replica_set_claims(some: Pod, expected: str) -> None:
    """Pods are adopted and released by their labels and controller (Kubernetes' reference manager)."""
    patches = [w for w in settle(replica_sets.reconcile, [replica_set("rs", replicas=1), some]) if isinstance(w, Patch)]
    actual = "".join("adopt" if w.patch["metadata"]["ownerReferences"] else "release" for w in patches)

    assert expected == actual


def test_replica_set_status_counts() -> None:
    """Status counts pods, ready ones, and those with all template labels; a second look changes nothing."""
    pods = [mine("a", node="n1"), mine("b", node="n1", ready=False)]
    owner = replica_set("rs", replicas=2)
    (write,) = settle(replica_sets.reconcile, [owner, *pods])
    done = written(write)
    again = settle(replica_sets.reconcile, [done, *pods])

    assert (2, 2, 1, 1, 1) == (
        done.status.replicas,
        done.status.fully_labeled_replicas,
        done.status.ready_replicas,
        done.status.available_replicas,
        done.status.observed_generation,
    )
    assert again == []


def test_replica_set_new_pod() -> None:
    """A new pod has the template's labels and spec, and its controller as owner."""
    write = settle(replica_sets.reconcile, [replica_set("rs", replicas=1)])[0]
    made = written(write)

    assert BLUE == made.metadata.labels
    assert made.metadata.owner_references[0].uid == "uid-rs"
    assert made.spec.containers[0].image == "i"
    assert set(made.metadata.name.removeprefix("rs-")) <= set(ALPHABET)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, f"SuccessfulCreate: Created pod: {NAME[0]}"), (2, f"SuccessfulCreate: Created pods: {NAME[0]}, {NAME[1]}")],
)
def test_replica_set_event(count: int, expected: str) -> None:
    """One Event tells of all pods made in a round."""
    actual = messages(settle(replica_sets.reconcile, [replica_set("rs", replicas=count)]))

    assert [expected] == actual


# ---- Deployment
class Cluster:
    """A Deployment with its ReplicaSets and pods, moved forward round by round; every pod that is made is ready at once."""

    def __init__(self, owner: Deployment, *, readies: bool = True) -> None:
        self.objects: dict[str, Object] = {"d": owner}
        self.readies = readies
        self.lowest = 10**6

    @property
    def world(self) -> World:
        return World.of(self.objects.values())

    def round(self) -> int:
        writes = [*deployments.reconcile(self.world, NOW), *replica_sets.reconcile(self.world, NOW)]
        for write in writes:
            self.apply(write)
        return len([w for w in writes if w.resource.kind != "Event"])

    def settle(self) -> None:
        for _ in range(60):
            if not self.round():
                return
            self.lowest = min(self.lowest, sum(p.ready for p in self.world.pods.values()))
        raise AssertionError("the rollout does not come to an end")

    def apply(self, write: Any) -> None:
        if isinstance(write, Create) and write.resource.kind in {"Pod", "ReplicaSet"}:
            self.objects[f"{write.resource.kind}/{write.object.metadata.name}"] = self.made(write.object)
        elif isinstance(write, UpdateStatus):
            key = next(k for k, v in self.objects.items() if v.key == write.object.key and type(v) is type(write.object))
            self.objects[key] = msgspec.structs.replace(self.objects[key], status=written(write).status)
        elif isinstance(write, Patch):
            self.patch(write)
        elif not isinstance(write, Create):
            del self.objects[f"{write.resource.kind}/{write.name}"]

    def patch(self, write: Patch) -> None:
        key = "d" if write.resource.kind == "Deployment" else f"ReplicaSet/{write.name}"
        obj = self.objects[key]
        assert isinstance(obj, Deployment | ReplicaSet)
        body = write.patch
        if "spec" in body:
            obj = msgspec.structs.replace(obj, spec=msgspec.structs.replace(obj.spec, replicas=body["spec"]["replicas"]))
        else:
            annotations = {**obj.metadata.annotations, **body["metadata"]["annotations"]}
            obj = msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, annotations=annotations))
        self.objects[key] = obj

    def made(self, obj: Any) -> Any:
        metadata = msgspec.structs.replace(obj.metadata, uid=f"uid-{obj.metadata.name}", creation_timestamp=NOW)
        obj = msgspec.structs.replace(obj, metadata=metadata)
        if isinstance(obj, Pod):
            ready = self.readies
            return msgspec.structs.replace(
                obj, status=pod("x", ready=ready).status, spec=msgspec.structs.replace(obj.spec, node_name="n1")
            )
        return obj

    def scales(self) -> dict[str, int]:
        return {rs.metadata.name: rs.spec.replicas for rs in self.world.replica_sets.values()}


def change(cluster: Cluster, **spec: Any) -> Deployment:
    """Change the Deployment as a user would."""
    old = cluster.objects["d"]
    assert isinstance(old, Deployment)
    new = deployment("d", **{"replicas": old.spec.replicas, **spec})
    cluster.objects["d"] = msgspec.structs.replace(
        new, status=old.status, metadata=msgspec.structs.replace(new.metadata, generation=2)
    )
    return new


@pytest.mark.parametrize("replicas", [0, 1, 3, 10])
def test_deployment_makes_one_replica_set(replicas: int) -> None:
    """A new Deployment gets one ReplicaSet, named by its template's hash, with all replicas."""
    owner = deployment("d", replicas=replicas)
    cluster = Cluster(owner)
    cluster.settle()

    assert {f"d-{template_hash(owner.spec.template)}": replicas} == cluster.scales()


@pytest.mark.parametrize("replicas", [1, 2, 4, 10])
def test_deployment_rolls_without_losing_any(replicas: int) -> None:
    """A changed template moves all pods to a new ReplicaSet and never has fewer ready pods than asked for."""
    cluster = Cluster(deployment("d", replicas=replicas))
    cluster.settle()
    new = change(cluster, image="newer")
    cluster.lowest = replicas
    cluster.settle()
    name = f"d-{template_hash(new.spec.template)}"

    assert sorted([0, replicas]) == sorted(cluster.scales().values())
    assert cluster.scales()[name] == replicas
    assert cluster.lowest >= replicas


def test_deployment_stuck_rollout_keeps_the_old_pods() -> None:
    """When new pods never become ready, the old ones stay; at most 25% more pods are made."""
    cluster = Cluster(deployment("d", replicas=4))
    cluster.settle()
    new = change(cluster, image="broken")
    cluster.readies = False
    cluster.settle()
    status = cluster.world.deployments["default/d"].status

    assert {4, 1} == set(cluster.scales().values())
    assert cluster.scales()[f"d-{template_hash(new.spec.template)}"] == 1
    assert (5, 1, 4) == (status.replicas, status.updated_replicas, status.available_replicas)
    assert ["ReplicaSetUpdated"] == [c.reason for c in status.conditions if c.type == "Progressing"]


def test_deployment_takes_what_does_not_serve_first() -> None:
    """A third template follows a stuck one: its pods go first, and those that serve stay until there are others."""
    cluster = Cluster(deployment("d", replicas=4))
    cluster.settle()
    change(cluster, image="broken")
    cluster.readies = False
    cluster.settle()
    new = change(cluster, image="good")
    cluster.readies, cluster.lowest = True, 4
    cluster.settle()

    assert cluster.lowest >= 4
    assert {f"d-{template_hash(new.spec.template)}": 4} == {name: count for name, count in cluster.scales().items() if count}


def test_deployment_rolls_back_to_the_old_replica_set() -> None:
    """A template of the past finds its ReplicaSet again."""
    cluster = Cluster(deployment("d", replicas=2))
    cluster.settle()
    (first,) = cluster.scales()
    change(cluster, image="newer")
    cluster.settle()
    change(cluster)
    cluster.settle()

    assert 2 == len(cluster.scales())
    assert 2 == cluster.scales()[first]
    assert "3" == cluster.objects[f"ReplicaSet/{first}"].metadata.annotations[deployments.REVISION]
    assert "3" == cluster.objects["d"].metadata.annotations[deployments.REVISION]


@pytest.mark.parametrize(
    ("annotations", "copied"),
    [
        ({}, {}),
        ({deployments.REVISION: "9", "a": "b", "netlab/applied": "true"}, {"a": "b"}),
        ({deployments.REVISION: "x", "kubernetes.io/change-cause": "why"}, {"kubernetes.io/change-cause": "why"}),
    ],
)
def test_deployment_carries_the_revision_of_its_replica_set(annotations: dict[str, str], copied: dict[str, str]) -> None:
    """`kubectl rollout undo` replaces the annotations of a Deployment, so it must have one (kubectl finding 5.2)."""
    cluster = Cluster(deployment("d", replicas=1, annotations=annotations))
    cluster.settle()
    (name,) = cluster.scales()
    found = [cluster.objects[key].metadata.annotations for key in ("d", f"ReplicaSet/{name}")]

    assert [{**annotations, deployments.REVISION: "1"}, {**copied, deployments.REVISION: "1"}] == found


def test_deployment_knows_its_replica_set_whose_label_was_edited() -> None:
    """By its name: else the rollout goes on for ever, one ReplicaSet taken for the old one and for the new one."""
    cluster = Cluster(deployment("d", replicas=2))
    cluster.settle()
    (name,) = cluster.scales()
    old = cluster.objects[f"ReplicaSet/{name}"]
    metadata = msgspec.structs.replace(old.metadata, labels={**old.metadata.labels, deployments.HASH_LABEL: "0"})
    cluster.objects[f"ReplicaSet/{name}"] = msgspec.structs.replace(old, metadata=metadata)
    cluster.settle()

    assert {name: 2} == cluster.scales()


def test_replica_set_follows_the_annotations_of_its_deployment() -> None:
    """A change cause that is written later is that of the present revision; older ones keep theirs."""
    cluster = Cluster(deployment("d", replicas=1, annotations={"kubernetes.io/change-cause": "one"}))
    cluster.settle()
    (first,) = cluster.scales()
    change(cluster, image="newer", annotations={"kubernetes.io/change-cause": "two"})
    cluster.settle()
    change(cluster, image="newer", annotations={"kubernetes.io/change-cause": "three"})
    cluster.settle()
    causes = {rs.metadata.name == first: rs.metadata.annotations for rs in cluster.world.replica_sets.values()}

    assert {True: "one", False: "three"} == {old: a["kubernetes.io/change-cause"] for old, a in causes.items()}
    assert {True: "1", False: "2"} == {old: a[deployments.REVISION] for old, a in causes.items()}


def test_deployment_forgets_the_oldest() -> None:
    """Of old ReplicaSets ten are kept, and beyond them those that still have pods."""
    owner = {"labels": BLUE, "ownerReferences": owned_by("Deployment", "d")}
    old = [replica_set(f"rs{n:02}", replicas=0, **owner, annotations={deployments.REVISION: str(n)}) for n in range(12)]
    left = pod("left", labels=BLUE, owner=("ReplicaSet", "rs00"), node="n1")
    actual = [w for w in words(settle(deployments.reconcile, [deployment("d", replicas=1), *old, left])) if "delete" in w]

    assert ["delete replicasets/default/rs01", "delete replicasets/default/rs02"] == actual


@pytest.mark.parametrize(("replicas", "scaled"), [(3, 0), (0, 5), (5, 2)])
def test_deployment_scales(replicas: int, scaled: int) -> None:
    """A changed number of replicas changes the ReplicaSet, and its pods."""
    cluster = Cluster(deployment("d", replicas=replicas))
    cluster.settle()
    change(cluster, replicas=scaled)
    cluster.settle()

    assert [scaled] == list(cluster.scales().values())
    assert scaled == len(cluster.world.pods)


@pytest.mark.parametrize(
    ("readies", "expected"),
    [
        (True, ("True", "MinimumReplicasAvailable", "NewReplicaSetAvailable", 2, 2, 0)),
        (False, ("False", "MinimumReplicasUnavailable", "ReplicaSetUpdated", 2, 0, 2)),
    ],
)
def test_deployment_status(readies: bool, expected: tuple[object, ...]) -> None:
    """Status tells replicas and the conditions Available and Progressing in Kubernetes' words."""
    cluster = Cluster(deployment("d", replicas=2), readies=readies)
    cluster.settle()
    status = cluster.world.deployments["default/d"].status
    conditions = {c.type: c for c in status.conditions}
    actual = (
        conditions["Available"].status,
        conditions["Available"].reason,
        conditions["Progressing"].reason,
        status.replicas,
        status.available_replicas,
        status.unavailable_replicas,
    )

    assert expected == actual


def test_deployment_replica_set_has_hash_in_selector_and_labels() -> None:
    """The hash keeps the pods of two templates apart; whatever else selects stays."""
    selector = {"matchLabels": BLUE, "matchExpressions": [{"key": "app", "operator": "Exists"}]}
    owner = deployment("d", replicas=1, spec={"selector": selector})
    rs = written(settle(deployments.reconcile, [owner])[0])
    wanted = {"app": "blue", "pod-template-hash": template_hash(owner.spec.template)}

    assert wanted == rs.metadata.labels == rs.spec.selector.match_labels == rs.spec.template.metadata.labels
    assert owner.spec.selector.match_expressions == rs.spec.selector.match_expressions
    assert rs.metadata.owner_references[0].uid == "uid-d"
    assert meta("d")["uid"] == "uid-d"


# ---- DaemonSet
HASH = template_hash(daemon_set("ds").spec.template)
THREE = [node("node1"), node("node2"), node("node3", labels={"disk": "ssd"}, unschedulable=True)]


def daemon(where: str, **more: Any) -> Pod:
    labels = {"app": "blue", daemon_sets.HASH_LABEL: more.pop("hash", HASH)}
    return pod(generated_name("ds", where), node=where, labels=labels, owner=("DaemonSet", "ds"), **more)


def created(*nodes: str) -> list[str]:
    return [f"create pods/default/{generated_name('ds', name)}" for name in nodes]


def deleted(*nodes: str) -> list[str]:
    return [f"delete pods/default/{generated_name('ds', name)}" for name in nodes]


@pytest.mark.parametrize(
    ("selector", "pods", "expected"),
    [
        ({}, [], created("node1", "node2", "node3")),  # also on a cordoned node
        ({"disk": "ssd"}, [], created("node3")),
        ({}, [daemon("node1"), daemon("node2")], created("node3")),
        ({}, [daemon("node1", deleted=True), daemon("node2"), daemon("node3")], []),  # wait until it is gone
        ({"disk": "ssd"}, [daemon("node1"), daemon("node3")], "template"),
        ({}, [daemon("node1", phase="Failed"), daemon("node2"), daemon("node3")], deleted("node1")),
        ({}, [daemon(n, hash="old") for n in ("node1", "node2", "node3")], deleted("node1")),  # one at a time
        ({}, [daemon("node1", ready=False), *[daemon(n, hash="old") for n in ("node2", "node3")]], []),
        ({}, [daemon("node1"), daemon("node2"), daemon("node3"), daemon("gone")], []),  # pod_garbage's
    ],
)
def test_daemon_set_pods(selector: dict[str, str], pods: list[Pod], expected: Any) -> None:
    """One pod on each matching node; a new template replaces one at a time."""
    owner = daemon_set("ds", pod={"nodeSelector": selector}) if selector else daemon_set("ds")
    if expected == "template":  # the selector is part of the template: both pods are outdated, one is misplaced
        expected = deleted("node1", "node3")
    actual = [w for w in words(settle(daemon_sets.reconcile, [owner, *THREE, *pods])) if "status" not in w]

    assert expected == actual


def test_daemon_set_binds_and_counts() -> None:
    """A pod is bound to its node from the start; status counts nodes."""
    writes = settle(daemon_sets.reconcile, [daemon_set("ds"), *THREE, daemon("node1"), daemon("node2", ready=False)])
    made, status = written(writes[0]), written(writes[-1]).status

    assert made.spec.node_name == "node3"
    assert (3, 2, 1, 2, 2) == (
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_ready,
        status.number_unavailable,
        status.updated_number_scheduled,
    )
