"""flannel's backends: what a node holds to reach pods of other nodes, and how it announces its own.

A backend is pure and made for one lab and family. The node's agent announces its leases and
programs its overlay; the wiring of hosts writes the settings of its devices, as an agent in a
container cannot; the kubelet gives pods its MTU; the tester expects its header and source addresses.

A new backend is a module with a class of this form and a row of `BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from netlab.api.cluster import Node
from netlab.api.lab import Lab, Networking
from netlab.family import IN_USE, Family
from netlab.overlay.leases import Overlay
from netlab.overlay.vxlan import VxlanBackend


class Backend(Protocol):
    """How packets travel between pods of different nodes."""

    pod_mtu: int

    @property
    def tunnel(self) -> tuple[int, int] | None:
        """The UDP port and the VNI of packets between nodes; None: pods' packets go as they are."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The network devices that the backend makes in a node's namespace."""

    @property
    def watched(self) -> tuple[str, ...]:
        """The devices of which a change by hand is repaired at once (semantics 2.22)."""

    def source(self, node: Node) -> str:
        """Return the address from which a node itself sends to the pods of other nodes."""

    def annotations(self, node: Node) -> dict[str, str]:
        """Return the annotations of a node's lease.

        Raises InvalidValueError if its Node object has invalid addresses.
        """

    def overlay(self, node: Node, nodes: Iterable[Node]) -> Overlay:
        """Return what a node holds to reach the pods of `nodes`; raises what `annotations` does."""


BACKENDS: Final[Mapping[str, Callable[[str, Networking, Family], Backend]]] = {
    "vxlan": VxlanBackend,
}


def backend(lab: str, networking: Networking, family: Family) -> Backend:
    """Return the backend of the lab of this name."""
    return BACKENDS[networking.backend.type](lab, networking, family)


def announcement(lab: Lab, node: Node) -> dict[str, str]:
    """Return the annotations that a node's Node object lacks of its lease.

    None are missing before the node has a podCIDR and an address.
    """
    if not node.spec.pod_cidr or not node.internal_ip:
        return {}
    present = node.metadata.annotations
    made = [backend(lab.metadata.name, lab.spec.networking, family) for family in IN_USE]
    wanted = [item for backend in made for item in backend.annotations(node).items()]
    return {key: value for key, value in wanted if present.get(key) != value}
