"""Names that several parts of a lab must agree on: annotations, labels, namespaces and objects. Each is spelt here once.

A label or annotation that only one module reads and writes is in that module. A key is `namespace/name`, as `Object.key`
gives it. docs/architecture.md lists the writers and readers of netlab's annotations.
"""

from __future__ import annotations

from typing import Final

# ---- annotations
SYNCED: Final = "netlab/synced"  # of a Lease: up to which resourceVersion of each kind its holder has programmed the kernel
PROBLEMS: Final = "netlab/problems"  # of a Lease: part -> what its holder could not program, as sentences
LOOK: Final = "netlab/look"  # of the Lab: changes when agents and edge are to look at what the kernel really holds
LOAD_BALANCERS: Final = "netlab/load-balancers"  # of the edge's Lease: Service -> port -> healthy nodes
APPLIED: Final = "netlab/applied"  # of an object that `netlab up` made and may prune
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

POD_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"  # which pods a ReplicaSet deletes first
REVISION: Final = "deployment.kubernetes.io/revision"  # which template a ReplicaSet holds, and a Deployment has
FLANNEL_BACKEND_DATA: Final = "flannel.alpha.coreos.com/backend-data"  # of a Node: its end of the overlay (semantics 2.8)
FLANNEL_PUBLIC_IP: Final = "flannel.alpha.coreos.com/public-ip"  # of a Node: where the others send encapsulated packets
FLANNEL_PUBLIC_IP_OVERWRITE: Final = "flannel.alpha.coreos.com/public-ip-overwrite"

# ---- labels
HOST_NAME_LABEL: Final = "kubernetes.io/hostname"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"  # of an EndpointSlice: the Service it belongs to
SLICE_MANAGED_BY_LABEL: Final = "endpointslice.kubernetes.io/managed-by"
SKIP_MIRROR_LABEL: Final = "endpointslice.kubernetes.io/skip-mirror"  # of Endpoints that need no slices made from them
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"
TOPOLOGY_ANNOTATIONS: Final = (  # of a Service whose slices Kubernetes gives hints: now, and before 1.27 (semantics 6.14)
    "service.kubernetes.io/topology-mode",
    "service.kubernetes.io/topology-aware-hints",
)
PROXY_NAME_LABEL: Final = "service.kubernetes.io/service-proxy-name"  # of a Service that another proxy serves (semantics 4.17)

# ---- namespaces
DEFAULT_NAMESPACE: Final = "default"
NODE_LEASE_NAMESPACE: Final = "kube-node-lease"
SYSTEM_NAMESPACES: Final = (DEFAULT_NAMESPACE, NODE_LEASE_NAMESPACE, "kube-public", "kube-system")

# ---- objects, by key
KUBERNETES: Final = "default/kubernetes"  # the Service in front of the API server (semantics 4.2)
KUBE_DNS: Final = "kube-system/kube-dns"  # the Service in front of the nodes' DNS servers
HOST_NAMES: Final = "kube-system/coredns"  # the ConfigMap that names the lab's hosts ...
HOST_NAMES_KEY: Final = "NodeHosts"  # ... under this key, as text in the form of /etc/hosts
EDGE_LEASE: Final = "kube-system/netlab-edge"


def node_lease(node: str) -> str:
    """Return the key of a node's Lease."""
    return f"{NODE_LEASE_NAMESPACE}/{node}"


def split_key(key: str) -> tuple[str, str]:
    """Return namespace and name of a key; the namespace is empty for a cluster-scoped object."""
    namespace, _, name = key.rpartition("/")
    return namespace, name
