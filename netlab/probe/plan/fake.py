"""Objects for tests of the prober: a small cluster written in a few lines, and an API client that lists it.

`cluster(...)` gives the lists that the API server would; `FakeLists` answers `list()` from them, as SyncClient does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netlab.api.resources import Json, Resource
from netlab.controlplane.client import ObjectList
from netlab.probe.plan.snapshot import Snapshot

Lists = dict[str, list[Json]]


@dataclass(frozen=True)
class FakeLists:
    """An API server's answers to lists."""

    objects: Mapping[str, Sequence[Json]]

    def list(self, resource: Resource[Any], /) -> ObjectList:
        return ObjectList(tuple(self.objects.get(resource.plural, ())), "1")


def lab(name: str = "test", *, clients: Sequence[str] = ("client",), **networking: Any) -> Json:
    """Return the Lab document."""
    spec = {"networking": networking, "clients": [{"name": c} for c in clients]}
    return {"apiVersion": "netlab/v1alpha1", "kind": "Lab", "metadata": {"name": name}, "spec": spec}


def node(number: int, *, zone: str = "") -> Json:
    """Return Node node<number> with the addresses of its number: 172.30.1.n, 10.244.n.0/24."""
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    status = {"addresses": [{"type": "InternalIP", "address": f"172.30.1.{number}"}]}
    return {
        "metadata": {"name": f"node{number}", "labels": labels},
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
        "status": status,
    }


def pod(name: str, address: str, *, image: str = "nginx", host_network: bool = False, namespace: str = "default") -> Json:
    """Return a running Pod; its node follows from its address (10.244.n.x or 172.30.1.n)."""
    parts = address.split(".")
    number = parts[3] if host_network else parts[2]
    spec = {"nodeName": f"node{number}", "containers": [{"name": "main", "image": image}], "hostNetwork": host_network}
    status = {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, "spec": spec, "status": status}


def service(name: str, *, ports: Sequence[Json] = ({"port": 80, "targetPort": 80},), ingress: str = "", **spec: Any) -> Json:
    """Return a Service of namespace default; `ingress` is its load balancer's address."""
    status = {"loadBalancer": {"ingress": [{"ip": ingress}]}} if ingress else {}
    body = {"type": "ClusterIP", "ports": list(ports), **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body, "status": status}


def endpoints(service_name: str, addresses: Iterable[str], *, port: int = 80, name: str = "", protocol: str = "TCP") -> Json:
    """Return an EndpointSlice. An address with a leading `!` is not ready, one with `~` is serving while terminating."""
    listed = []
    for text in addresses:
        address = text.lstrip("!~")
        conditions = {"ready": text == address, "serving": text[0] != "!", "terminating": text[0] == "~"}
        parts = address.split(".")
        number = parts[2] if parts[0] == "10" else parts[3]
        listed.append({"addresses": [address], "conditions": conditions, "nodeName": f"node{number}"})
    labels = {"kubernetes.io/service-name": service_name}
    meta = {"name": f"{service_name}-{port}-{protocol.lower()}", "namespace": "default", "labels": labels}
    ports = [{"port": port, "name": name, "protocol": protocol}]
    return {"metadata": meta, "addressType": "IPv4", "endpoints": listed, "ports": ports}


def dns(hosts: str = "") -> Lists:
    """Return the kube-dns Service and the ConfigMap with the hosts' names."""
    spec = {"type": "ClusterIP", "clusterIP": "10.96.0.10", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}
    return {
        "services": [{"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": spec}],
        "configmaps": [{"metadata": {"name": "coredns", "namespace": "kube-system"}, "data": {"NodeHosts": hosts}}],
    }


def cluster(*, services: Sequence[Json] = (), slices: Sequence[Json] = (), **changes: Any) -> Lists:
    """Return two nodes, pods a1 a2 (node1) and b1 (node2), one client, and what is given; `changes` replace whole lists."""
    whole: Lists = {
        "labs": [lab()],
        "nodes": [node(1), node(2)],
        "pods": [pod("a1", "10.244.1.2"), pod("a2", "10.244.1.3"), pod("b1", "10.244.2.2")],
        "services": list(services),
        "endpointslices": list(slices),
    }
    return {**whole, **changes}


def snapshot(objects: Lists, name: str = "test") -> Snapshot:
    """Return the snapshot of such lists."""
    return Snapshot.decode(name, objects)
