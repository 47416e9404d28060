"""core/v1: Namespace and Node, the kinds that are in no namespace."""

from __future__ import annotations

from typing import Annotated, Literal

from netlab.api import values
from netlab.api.meta import INERT, Condition, Inert, Labels, Object, Quantity, Struct
from netlab.api.values import Ipv4
from netlab.errors import InvalidValueError


class NamespaceSpec(Struct, frozen=True, kw_only=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(Struct, frozen=True, kw_only=True):
    phase: str = ""


class Namespace(Object, frozen=True, kw_only=True):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class NodeSpec(Struct, frozen=True, kw_only=True):
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    unschedulable: bool = False
    provider_id: str = ""
    taints: Inert = None


class NodeAddress(Struct, frozen=True, kw_only=True):
    type: str = ""
    address: str = ""


class ContainerImage(Struct, frozen=True, kw_only=True):
    names: tuple[str, ...] = ()
    size_bytes: int = 0


class NodeStatus(Struct, frozen=True, kw_only=True):
    """What a node reports. A node's token writes it, so every field has a type."""

    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    node_info: Annotated[Labels, INERT] = {}
    capacity: Annotated[dict[str, Quantity], INERT] = {}
    allocatable: Annotated[dict[str, Quantity], INERT] = {}
    daemon_endpoints: Annotated[dict[str, dict[str, int]], INERT] = {}
    images: Annotated[tuple[ContainerImage, ...], INERT] = ()


class Node(Object, frozen=True, kw_only=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ip(self) -> Ipv4 | Literal[""]:
        """The node's address on the underlay, empty while it has none that can be one."""
        try:
            return self.address
        except InvalidValueError:
            return ""

    @property
    def address(self) -> Ipv4:
        """The node's address on the underlay. Raises InvalidValueError when it has none that can be one."""
        text = next((a.address for a in self.status.addresses if a.type == "InternalIP"), "")
        return values.unicast(text, "its InternalIP")

    @property
    def has_address(self) -> bool:
        """Whether its address field contains something."""
        return any(a.type == "InternalIP" and a.address for a in self.status.addresses)

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet reports that it is ready."""
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)
