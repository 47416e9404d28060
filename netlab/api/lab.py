"""netlab/v1alpha1: Lab, the first document of a topology file.

It is an object of the lab's API server like any other: `up` writes it, the daemon's lab controller makes the
hosts that it lists, and its status contains how far they are.
"""

from __future__ import annotations

from netlab.api.meta import Condition, Labels, Object, Struct

RUNTIMES = NETNS, DOCKER = "netns", "docker"  # what hosts and pods are made of: network namespaces, containers


class Backend(Struct, frozen=True, kw_only=True):
    """flannel's backend: VXLAN network identifier and UDP port (semantics 2.13)."""

    type: str = "vxlan"
    vni: int = 1
    port: int = 8472


class Networking(Struct, frozen=True, kw_only=True):
    pod_subnet: str = "10.244.0.0/16"
    service_subnet: str = "10.96.0.0/16"
    node_subnet: str = "172.30.0.0/16"
    outside_subnet: str = "203.0.113.0/24"
    dns_domain: str = "cluster.local"
    provider: str = "flannel"
    backend: Backend = Backend()
    kube_proxy_mode: str = "nftables"
    node_port_range: str = "30000-32767"


class LabNode(Struct, frozen=True, kw_only=True):
    name: str = ""
    labels: Labels = {}


class LabClient(Struct, frozen=True, kw_only=True):
    """A host outside the cluster. `hostnames`: the names under which the outside DNS resolves it."""

    name: str = ""
    hostnames: tuple[str, ...] = ()


class LoadBalancer(Struct, frozen=True, kw_only=True):
    provider: str = "edge"
    pool: str = "198.51.100.0/24"


class LabDns(Struct, frozen=True, kw_only=True):
    """What CoreDNS' configuration contains in a cluster.

    Other servers that a lab's DNS asks are clients by name, or addresses in the lab; by default it asks none. `ttl` is in
    seconds. `pod_records`: whether 10-244-1-2.<namespace>.pod.<zone> exists ("insecure": for any address; "verified": for a
    living pod's).
    """

    upstream: tuple[str, ...] = ()
    stub_domains: dict[str, tuple[str, ...]] = {}
    ttl: int = 30
    pod_records: str = "insecure"

    @property
    def verifies_pods(self) -> bool:
        """Return whether a DNS server needs the pods."""
        return self.pod_records == "verified"


class LabSpec(Struct, frozen=True, kw_only=True):
    """What to build. In a file `nodes` may also be a number; the loader expands it to node1, node2, ..."""

    runtime: str = "netns"
    networking: Networking = Networking()
    nodes: tuple[LabNode, ...] = ()
    clients: tuple[LabClient, ...] = ()
    load_balancer: LoadBalancer | None = None
    dns: LabDns = LabDns()
    manifests: tuple[str, ...] = ()


class HostStatus(Struct, frozen=True, kw_only=True):
    """A host as it was made: `index` decides its address and stays the same while the host exists."""

    name: str = ""
    role: str = ""  # node, client
    index: int = 0
    address: str = ""

    @property
    def is_node(self) -> bool:
        return self.role == "node"

    @property
    def is_client(self) -> bool:
        return self.role == "client"


class LabStatus(Struct, frozen=True, kw_only=True):
    hosts: tuple[HostStatus, ...] = ()
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class Lab(Object, frozen=True, kw_only=True):
    spec: LabSpec = LabSpec()
    status: LabStatus = LabStatus()
