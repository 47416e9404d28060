"""What a pod needs of its cluster, read from the informers' caches when a container starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netlab.api.cluster import Node
from netlab.api.lab import Networking
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import EDGE_LEASE, KUBE_DNS, KUBERNETES, node_lease
from netlab.dns.environment import service_environment
from netlab.dns.resolver import outside_resolv_conf, resolv_conf
from netlab.ipam import AddressPlan
from netlab.node.kubelet.drain import Sights, SlicesAfter, Withdrawal
from netlab.node.kubelet.nodes import has_lost_pods
from netlab.process import podfiles
from netlab.process.podfiles import Sources


class Cluster:
    """The caches by plural name (`services`, `nodes`, ...), asked in the kubelet's words."""

    def __init__(self, caches: Mapping[str, Mapping[str, Any]], networking: Networking, slices_after: SlicesAfter) -> None:
        self._caches = caches
        self._slices_after = slices_after
        self._networking = networking
        self._plan = AddressPlan(networking, "")

    def sources(self, pod: Pod, address: str) -> Sources:
        """Return what the pod's environment may refer to: Services that exist now (semantics 12.1, 12.6)."""
        services: Mapping[str, Service] = self._caches["services"]
        kubernetes = services.get(KUBERNETES)
        links = pod.spec.enable_service_links
        return Sources(
            pod_ip=address,
            host_ip=self.host_ip(pod),
            services=service_environment(services.values(), pod.metadata.namespace, links, kubernetes),
            config_maps=self._caches["configmaps"],
            secrets=self._caches["secrets"],
        )

    def files(self, pod: Pod, address: str) -> dict[str, str]:
        """Return resolv.conf, hosts and hostname."""
        domain = self._networking.dns_domain
        dns: Service | None = self._caches["services"].get(KUBE_DNS)
        return {
            "resolv.conf": resolv_conf(
                pod.spec.dns_policy,
                pod.spec.dns_config,
                namespace=pod.metadata.namespace,
                domain=domain,
                dns_ip=dns.spec.cluster_ip if dns else self._plan.dns_service,
                node_resolv=outside_resolv_conf(self._plan.edge_underlay),
                host_network=pod.spec.host_network,
            ),
            "hosts": podfiles.hosts(pod, address, domain),
            "hostname": podfiles.hostname(pod, domain) + "\n",
        }

    def sandbox_problem(self, pod: Pod) -> str:
        """Return why a pod can have no sandbox, in kubelet's words; "" when it can (semantics 11.28)."""
        try:
            podfiles.hostname(pod, self._networking.dns_domain)
        except podfiles.ConfigError as error:
            return error.message
        return ""

    def host_ip(self, pod: Pod) -> str:
        """Return the address of the pod's node, "" while the node is unknown."""
        node: Node | None = self._caches["nodes"].get(pod.spec.node_name)
        return node.internal_ip if node else ""

    def is_node_lost(self, pod: Pod) -> bool:
        """Return whether the pod's node was up and is not any more."""
        node: Node | None = self._caches["nodes"].get(pod.spec.node_name)
        return has_lost_pods(node)

    def is_withdrawn(self, pod: Pod, withdrawal: Withdrawal) -> bool:
        """Return whether no rule anywhere sends new connections to a terminating pod; `withdrawal` keeps how far that is."""
        caches = self._caches
        current = {EDGE_LEASE, *map(node_lease, caches["nodes"])}  # a removed node's Lease does not count
        leases = [lease for key, lease in caches["leases"].items() if key in current]
        sights = Sights(caches["services"].values(), caches["endpointslices"].values(), leases)
        return withdrawal.is_complete(pod, self._slices_after, sights)
