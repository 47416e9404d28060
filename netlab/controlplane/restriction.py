"""NodeRestriction: what a node's token may change inside the objects that it may write.

`auth` decides by path and verb; this module compares the object before and after. Rules of
Kubernetes:

    its Node      no taints; labels of kubernetes.io and k8s.io only if they are the kubelet's own
    its pods      status only, and no labels through it
    its Lease     kube-node-lease/<name>

A lab is stricter where its parts rely on more. The lab itself registers Nodes with their addresses
and pod ranges, so a node's token changes neither; flannel's public-ip is that address; addresses
of pods lie in the node's pod range; a pod's annotations stay as they are; a Lease holds only the
annotations that netlab's parts exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from netlab.api.resources import LEASES, NODES, PODS, Json
from netlab.api.wellknown import (
    FLANNEL_PUBLIC_IP,
    FLANNEL_PUBLIC_IP_OVERWRITE,
    HOST_NAME_LABEL,
    LOAD_BALANCERS,
    PROBLEMS,
    SYNCED,
    ZONE_LABEL,
)
from netlab.controlplane.auth import ADMIN, EDGE, NODE_PREFIX
from netlab.controlplane.status import AnyResource, forbidden

KUBELET_LABELS: Final = frozenset({
    HOST_NAME_LABEL,
    ZONE_LABEL,
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
})  # fmt: skip
KUBELET_NAMESPACES: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
RESTRICTED_NAMESPACE: Final = "node-restriction.kubernetes.io"
LEASE_ANNOTATIONS: Final[Mapping[str, frozenset[str]]] = {
    NODE_PREFIX: frozenset({SYNCED, PROBLEMS}),
    EDGE: frozenset({SYNCED, PROBLEMS, LOAD_BALANCERS}),
}


@dataclass(frozen=True)
class Change:
    """A valid write. `old` is None for a create; `node` is the Node of the user, if there is one."""

    user: str
    resource: AnyResource
    subresource: str
    new: Json
    old: Json | None
    node: Json | None

    @property
    def node_name(self) -> str:
        """The node whose token this is."""
        return self.user.removeprefix(NODE_PREFIX)

    def differs(self, *path: str) -> bool:
        """Return whether a field changes; nothing there and an empty value are the same."""
        return (_at(self.new, *path) or None) != (_at(self.old or {}, *path) or None)


def restrict(change: Change) -> None:
    """Raise 403 Forbidden for a change that the user may not make."""
    if change.user == ADMIN:
        return
    checks = CHECKS.get(change.resource.kind)
    why = next(checks(change), "") if checks else ""
    if why:
        raise forbidden(change.resource, change.new["metadata"].get("name", ""), why)


# ---- Nodes
def modified(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Return the keys that two maps do not have in common."""
    return sorted(key for key in new.keys() | old.keys() if new.get(key) != old.get(key) or (key in new) != (key in old))


def is_forbidden_label(key: str) -> bool:
    """Return whether a node may not set, change or remove a label of its Node."""
    namespace, slash, _ = key.partition("/")
    namespace = namespace if slash else ""
    if _is_in(namespace, RESTRICTED_NAMESPACE):
        return True
    if not (_is_in(namespace, "kubernetes.io") or _is_in(namespace, "k8s.io")):
        return False
    return key not in KUBELET_LABELS and not any(_is_in(namespace, own) for own in KUBELET_NAMESPACES)


def _is_in(namespace: str, domain: str) -> bool:
    return namespace == domain or namespace.endswith(f".{domain}")


def _node(change: Change) -> Iterator[str]:
    name, old = change.node_name, change.old or {}
    labels = _at(change.new, "metadata", "labels") or {}
    keys = [key for key in modified(labels, _at(old, "metadata", "labels") or {}) if is_forbidden_label(key)]
    if keys and change.old is None:
        yield f'node "{name}" is not allowed to set the following labels: {", ".join(keys)}'
    if keys:
        yield f"is not allowed to modify labels: {', '.join(keys)}"
    for path, words in (
        (("spec", "taints"), "taints"),
        (("spec", "podCIDR"), "podCIDR: the lab assigns it"),
        (("spec", "podCIDRs"), "podCIDRs: the lab assigns them"),
        (("status", "addresses"), "addresses: the lab assigns them"),
        (("metadata", "finalizers"), "finalizers"),
        (("metadata", "ownerReferences"), "ownerReferences"),
    ):
        if change.differs(*path):
            yield f'node "{name}" is not allowed to modify {words}'
    own = _addresses(old)
    for key in (FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE):
        address = _at(change.new, "metadata", "annotations", key)
        if change.differs("metadata", "annotations", key) and address and address not in own:
            yield f'node "{name}" is not allowed to set {key} to an address that is not its own'


# ---- pods
def _pod(change: Change) -> Iterator[str]:
    name = change.node_name
    if change.differs("metadata", "labels"):
        yield f'node "{name}" cannot update labels through pod status'
    if change.differs("metadata", "annotations"):
        yield f'node "{name}" cannot update annotations through pod status'
    own, pod_range = _addresses(change.node or {}), _at(change.node or {}, "spec", "podCIDR")
    host_ip, pod_ip = _at(change.new, "status", "hostIP"), _at(change.new, "status", "podIP")
    if change.differs("status", "hostIP") and host_ip and host_ip not in own:
        yield f'node "{name}" cannot set status.hostIP to an address that is not its own'
    is_in_range = bool(pod_ip and pod_range) and IPv4Address(pod_ip) in IPv4Network(pod_range, strict=False)
    if change.differs("status", "podIP") and pod_ip and not is_in_range and pod_ip not in own:
        yield f'node "{name}" cannot set status.podIP to an address outside of its podCIDR'


# ---- Leases
def _lease(change: Change) -> Iterator[str]:
    known = LEASE_ANNOTATIONS.get(change.user) or LEASE_ANNOTATIONS[NODE_PREFIX]
    annotations = _at(change.new, "metadata", "annotations") or {}
    keys = modified(annotations, _at(change.old or {}, "metadata", "annotations") or {})
    if strange := [key for key in keys if key not in known]:
        listed = ", ".join(sorted(known))
        yield f"{change.user} is not allowed to modify annotations {', '.join(strange)}; its Lease holds {listed}"


CHECKS: Final[Mapping[str, Callable[[Change], Iterator[str]]]] = {
    NODES.kind: _node,
    PODS.kind: _pod,
    LEASES.kind: _lease,
}


def _addresses(node: Json) -> set[str]:
    """Return the addresses of a node."""
    listed = _at(node, "status", "addresses") or []
    return {address.get("address", "") for address in listed if address.get("type") in {"InternalIP", "ExternalIP"}}


def _at(body: Any, *path: str) -> Any:
    for step in path:
        body = body.get(step) if isinstance(body, dict) else None
    return body
