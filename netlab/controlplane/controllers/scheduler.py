"""The scheduler: a node for every pod that has none.

Filters in Kubernetes' order return which nodes can take a pod, each with Kubernetes' words for why not: cordoned,
nodeSelector, host ports (semantics 1.8). Of those left the pod gets the one with the fewest replicas of the same
owner, then the fewest pods, then the first by natural order of names (node2 before node10). Nothing is random.

Pods wait until every node that the lab lists has registered, and until everything that makes pods (Deployment, ReplicaSet,
DaemonSet) has been looked at by its controller, which makes them as it does so: otherwise the first node would get them all,
and the placement of pods would depend on timing. So all pods of a new lab are placed in one go, by name. A pod that fits
nowhere gets condition PodScheduled=False and an Event. What cannot be read or planned for is not waited for: one object
at fault must not keep all pods from their nodes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter

import msgspec

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.cluster import Node
from netlab.api.meta import Condition
from netlab.api.pods import Pod
from netlab.api.resources import NODES
from netlab.api.selection import has_labels
from netlab.controlplane.controllers.naming import natural
from netlab.controlplane.controllers.ownership import controller_of
from netlab.controlplane.controllers.per_object import Failed, Step, collect, each, identity
from netlab.controlplane.controllers.templates import with_condition
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, event, patch, update_status

COMPONENT = "default-scheduler"
ANY_ADDRESS = "0.0.0.0"
NO_NODES = "no nodes available to schedule pods"


@dataclass(frozen=True)
class HostPort:
    """A port of the node that a pod occupies."""

    protocol: str
    port: int
    address: str = ANY_ADDRESS

    def conflicts(self, other: HostPort) -> bool:
        """Return whether two pods with these ports cannot share a node: 0.0.0.0 overlaps every address."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and (self.address == other.address or ANY_ADDRESS in {self.address, other.address})


@dataclass
class Placement:
    """One node while pods are being placed on it."""

    node: Node
    pods: int = 0
    by_owner: Counter[str] = field(default_factory=Counter)
    ports: dict[tuple[str, int], list[HostPort]] = field(default_factory=lambda: defaultdict(list))

    def add(self, pod: Pod) -> None:
        """Count a pod in."""
        self.pods += 1
        self.by_owner[owner_of(pod)] += 1
        for port in host_ports(pod):
            self.ports[port.protocol, port.port].append(port)

    def has_free(self, wanted: HostPort) -> bool:
        """Return whether no pod here has the port."""
        return not any(wanted.conflicts(taken) for taken in self.ports.get((wanted.protocol, wanted.port), ()))


# Why a node cannot take a pod, asked in this order; the first that applies is the node's reason.
FILTERS: tuple[tuple[str, Callable[[Pod, Placement], bool]], ...] = (
    ("node(s) were unschedulable", lambda _, place: place.node.spec.unschedulable),
    (
        "node(s) didn't match Pod's node affinity/selector",
        lambda pod, place: not has_labels(place.node.metadata.labels, pod.spec.node_selector),
    ),
    (
        "node(s) didn't have free ports for the requested pod ports",
        lambda pod, place: not all(place.has_free(port) for port in host_ports(pod)),
    ),
)


def reconcile(world: World, now: str) -> list[Step]:
    """Return the bindings of all pods that wait for a node, and the conditions of those that fit nowhere."""
    seen, failures = collect(world.pods.values(), lambda pod: (pod, _is_waiting(pod)))
    waiting = [pod for pod, waits in seen if waits]
    if not waiting or world.lab is None or not _all_nodes_are_there(world) or not _all_pods_are_made(world):
        return list(failures)
    places, uncounted = _places(world, [pod for pod, waits in seen if not waits])
    ordered = sorted(waiting, key=lambda pod: pod.key)
    return [*failures, *uncounted, *each(ordered, lambda pod: _place(pod, places, now))]


def _is_waiting(pod: Pod) -> bool:
    return not pod.spec.node_name and not pod.terminating and not pod.finished


def _place(pod: Pod, places: list[Placement], now: str) -> list[Write]:
    """Return the binding of one pod, which counts from then on, or why it fits nowhere."""
    reasons = [_reason(pod, place) for place in places]
    fitting = [place for place, reason in zip(places, reasons, strict=True) if not reason]
    if not fitting:
        return _unschedulable(pod, explain(reasons), now)
    owner = owner_of(pod)
    best = min(fitting, key=lambda place: (place.by_owner[owner], place.pods))
    best.add(pod)
    return [patch(pod, {"spec": {"nodeName": best.node.metadata.name}})]


def _all_nodes_are_there(world: World) -> bool:
    """Return whether every node that the lab lists has registered; one whose object cannot be read has."""
    missing = world.expected_nodes - world.nodes.keys()
    return all(world.is_unreadable(NODES, name) for name in missing)


def _all_pods_are_made(world: World) -> bool:
    """Return whether whatever makes pods has made those it is to have now, as far as it could."""
    makers: tuple[Deployment | ReplicaSet | DaemonSet, ...] = (
        *world.deployments.values(), *world.replica_sets.values(), *world.daemon_sets.values(),
    )  # fmt: skip
    made, _ = collect(makers, lambda maker: _has_made_its_pods(world, maker))
    return all(made)


def _has_made_its_pods(world: World, maker: Deployment | ReplicaSet | DaemonSet) -> bool:
    if identity(maker) in world.failing:
        return True
    if isinstance(maker, DaemonSet) and maker.status.desired_number_scheduled != len(world.nodes_of(maker)):
        return False
    return maker.status.observed_generation >= maker.metadata.generation


def owner_of(pod: Pod) -> str:
    """Return what pods are spread by: the uid of their controller; a pod without one is alone."""
    controller = controller_of(pod)
    return controller.uid if controller else pod.key


def host_ports(pod: Pod) -> list[HostPort]:
    """Return the node's ports that a pod takes; with hostNetwork all of its containers' ports."""
    return [
        HostPort(port.protocol, port.container_port if pod.spec.host_network else port.host_port, port.host_ip or ANY_ADDRESS)
        for container in pod.spec.containers
        for port in container.ports
        if pod.spec.host_network or port.host_port
    ]


def explain(reasons: list[str]) -> str:
    """Return Kubernetes' sentence: `0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) ...`."""
    if not reasons:
        return NO_NODES
    counted = sorted(f"{count} {reason}" for reason, count in Counter(reasons).items())
    return f"0/{len(reasons)} nodes are available: {', '.join(counted)}."


def _places(world: World, pods: list[Pod]) -> tuple[list[Placement], list[Failed]]:
    """Return all nodes except terminating ones, with the pods they have; and the objects that cannot be counted."""
    nodes = (node for node in world.nodes.values() if node.metadata.deletion_timestamp is None)
    found, failures = collect(nodes, lambda node: (natural(node.metadata.name), Placement(node)))
    places = {place.node.metadata.name: place for _, place in sorted(found, key=itemgetter(0))}
    placed = [pod for pod in pods if pod.spec.node_name in places and not pod.finished]
    _, uncounted = collect(placed, lambda pod: places[pod.spec.node_name].add(pod))
    return list(places.values()), failures + uncounted


def _reason(pod: Pod, place: Placement) -> str:
    return next((reason for reason, refuses in FILTERS if refuses(pod, place)), "")


def _unschedulable(pod: Pod, message: str, now: str) -> list[Write]:
    wanted = Condition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    conditions = with_condition(pod.status.conditions, wanted, now)
    if conditions == pod.status.conditions:
        return []
    status = msgspec.structs.replace(pod.status, phase=pod.status.phase or "Pending", conditions=conditions)
    return [
        update_status(msgspec.structs.replace(pod, status=status)),
        event(pod, now, reason="FailedScheduling", message=message, component=COMPONENT, warning=True),
    ]
