"""kube-proxy's nftables mode: ServicePortMap -> table `kube-proxy` of a family (semantics 6, 8).

How it works
    `netlab.proxy.frame` is what never changes; each Service adds one fragment: elements in the dispatch maps and the
    chains that they lead to. docs/service-proxy.md draws the way of a packet.

        service-ips --goto--> service-x / local-x    (ClusterIP, by internalTrafficPolicy)
                    --goto--> external-x             (external and load balancer addresses; node ports likewise)
        external-x  --goto--> service-x              any endpoint, masqueraded (Cluster); or for pods and the node itself
                    --goto--> local-x                endpoints of this node, client address kept (Local)
        service-x   --goto--> endpoint-y             one of n at random: numgen gives every endpoint the same chance
        endpoint-y  --------> dnat

    The chains exist only where traffic can reach them. Without any endpoint a port has no chain at all and an element
    in no-endpoint-services that rejects; with endpoints elsewhere but none here, under Local, an element that drops.
    Both may be needed: under externalTrafficPolicy Local without local endpoint, external-x still short-circuits pods
    and the node, and what falls out of it un-translated is dropped by the check (semantics 6.3, 6.4).

What would surprise you
    - `NftablesCompiler` remembers: a Service whose ports are the same objects gets the same fragment object.
    - local-x begins with the masquerade rule of the ClusterIP only if internal traffic uses it; the rule names the
      ClusterIP because external traffic shares the chain.
    - Every endpoint of a port with affinity has a set of its own; the chain that balances asks all sets first, and the
      endpoint's chain renews the client's entry at each new connection (semantics 6.24, 8.7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netlab.api.values import Cidr, Ip
from netlab.netfilter import blocks
from netlab.netfilter.ruleset import FRAME, Chain, Fragment, Ruleset, Set
from netlab.proxy.endpoints import EndpointInfo
from netlab.proxy.frame import (
    CLUSTER_IPS,
    COMMENT,
    FIREWALL_IPS,
    NO_ENDPOINT_NODE_PORTS,
    NO_ENDPOINT_SERVICES,
    SERVICE_IPS,
    SERVICE_NODE_PORTS,
    TABLE,
    ProxyConfig,
    frame,
)
from netlab.proxy.names import endpoint_base, port_base, port_label
from netlab.proxy.servicemap import contains
from netlab.proxy.serviceport import ServicePortInfo, ServicePortMap

WITHOUT_ENDPOINT = frozenset({NO_ENDPOINT_SERVICES, NO_ENDPOINT_NODE_PORTS})  # whose elements name their Service
Elements = dict[str, dict[str, str]]


class NftablesCompiler:
    """Compiles the map of one node again and again; what did not change is not compiled again."""

    def __init__(self, config: ProxyConfig) -> None:
        self._config = config
        self._frame = frame(config)
        self._done: dict[str, tuple[tuple[ServicePortInfo, ...], Fragment]] = {}

    def compile(self, service_map: ServicePortMap) -> Ruleset:
        """Return the whole table. Fragments of Services with unchanged ports are the objects of last time."""
        done: dict[str, tuple[tuple[ServicePortInfo, ...], Fragment]] = {}
        for key, ports in service_map.items():
            known = self._done.get(key)
            if known is None or (known[0] is not ports and known[0] != ports):
                known = (ports, compile_service(ports, self._config))
            done[key] = known
        self._done = done
        fragments = {FRAME: self._frame, **{key: fragment for key, (_, fragment) in done.items()}}
        return Ruleset(self._config.family.nft, TABLE, fragments, COMMENT)


def compile_services(service_map: ServicePortMap, config: ProxyConfig) -> Ruleset:
    """Return the whole table at once."""
    return NftablesCompiler(config).compile(service_map)


def compile_service(ports: tuple[ServicePortInfo, ...], config: ProxyConfig) -> Fragment:
    """Return what one Service adds to the table."""
    chains: list[Chain] = []
    sets: list[Set] = []
    elements: Elements = {CLUSTER_IPS: {port.cluster_ip: "" for port in ports}}
    comments: Elements = {}
    for port in ports:
        compiled = _CompiledPort(port, config)
        chains += compiled.chains()
        sets += blocks.affinity_sets(compiled.targets.values())
        for name, members in compiled.elements().items():
            elements.setdefault(name, {}).update(members)
            if name in WITHOUT_ENDPOINT:
                comments.setdefault(name, {}).update(dict.fromkeys(members, port_label(port)))
    return Fragment.of(chains, sets, elements, comments)


class _CompiledPort:
    """The chains, sets and elements of one service port."""

    def __init__(self, port: ServicePortInfo, config: ProxyConfig) -> None:
        self.port = port
        self.config = config
        self.family = config.family
        self.saddr, self.daddr = f"{self.family.nft} saddr", f"{self.family.nft} daddr"
        base = port_base(port)
        self.cluster, self.local = f"service-{base}", f"local-{base}"
        self.external, self.firewall = f"external-{base}", f"firewall-{base}"
        usable = port.usable
        self.targets = {
            str(endpoint): blocks.Target(
                self.family,
                "endpoint",
                endpoint_base(port, endpoint),
                port.affinity_timeout,
            )
            for endpoint in usable.reachable
        }
        self.any_endpoint = usable.any_in_cluster
        self.internal_endpoints = bool(usable.local) if port.internal_local else self.any_endpoint
        self.external_endpoints = bool(usable.local) if port.external_local else self.any_endpoint
        self.uses_external = self.any_endpoint and port.externally_accessible
        self.uses_firewall = bool(port.load_balancer_ips and port.source_ranges)

    # ---- Elements
    def elements(self) -> Elements:
        """Return what leads packets to the port's chains, or to their end."""
        port, found = self.port, Elements()
        internal = self.local if port.internal_local else self.cluster
        self._dispatch(found, [port.cluster_ip], internal if self.internal_endpoints else "", served=self.internal_endpoints)
        outside = dict.fromkeys((*port.external_ips, *port.load_balancer_ips))
        self._dispatch(found, outside, self.external if self.uses_external else "", served=self.external_endpoints)
        if self.uses_firewall:
            found[FIREWALL_IPS] = {self._key(ip): f"goto {self.firewall}" for ip in port.load_balancer_ips}
        if port.node_port:
            key = blocks.concatenation(port.protocol, port.node_port)
            if self.uses_external:
                found[SERVICE_NODE_PORTS] = {key: f"goto {self.external}"}
            if not self.external_endpoints:
                found[NO_ENDPOINT_NODE_PORTS] = {key: self._refusal}
        return found

    def _dispatch(self, found: Elements, addresses: Iterable[str], chain: str, *, served: bool) -> None:
        for address in addresses:
            key = self._key(address)
            if chain:
                found.setdefault(SERVICE_IPS, {})[key] = f"goto {chain}"
            if not served:
                found.setdefault(NO_ENDPOINT_SERVICES, {})[key] = self._refusal

    def _key(self, address: str) -> str:
        return blocks.concatenation(address, self.port.protocol, self.port.port)

    @property
    def _refusal(self) -> str:
        """No endpoint anywhere is said aloud; none on this node under Local is silence (semantics 6.3)."""
        return "drop" if self.any_endpoint else blocks.REJECT

    # ---- Chains
    def chains(self) -> Iterator[Chain]:
        """Yield the port's chains, those that lead before those that are led to."""
        usable, port = self.port.usable, self.port
        if self.uses_external:
            yield Chain(self.external, tuple(self._external_rules()))
        if self.uses_firewall:
            yield Chain(self.firewall, (self._firewall_rule(),))
        if port.uses_cluster and usable.cluster:
            yield self._balancer(self.cluster, usable.cluster, internal=not port.internal_local)
        if port.uses_local and usable.local:
            yield self._balancer(self.local, usable.local, internal=port.internal_local)
        for endpoint in usable.reachable:
            yield self._translation(self.targets[str(endpoint)], endpoint)

    def _external_rules(self) -> Iterator[str]:
        if not self.port.external_local:
            # The endpoint may be on another node: its reply must come back here to be translated back.
            yield blocks.MARK_FOR_MASQUERADE
            yield f"goto {self.cluster}"
            return
        # Pods of the cluster and this node itself are not "external": they reach all endpoints, as if they had gone
        # out to the load balancer and come back (semantics 6.4).
        from_pods = f"{self.saddr} {self.config.cluster_cidr}"
        yield f'{from_pods} goto {self.cluster} comment "short-circuit pod traffic"'
        yield f'fib saddr type local {blocks.MARK_FOR_MASQUERADE} comment "masquerade local traffic"'
        yield f'fib saddr type local goto {self.cluster} comment "short-circuit local traffic"'
        if self.external_endpoints:
            yield f"goto {self.local}"

    def _firewall_rule(self) -> str:
        sources: tuple[Cidr | Ip, ...] = self.port.source_ranges
        if contains(sources, self.config.node_ip):
            # A node that holds the address itself sends to it from it (semantics 6.12).
            sources = (*sources, *(ip for ip in self.port.load_balancer_ips if not contains(sources, ip)))
        return blocks.only_from(self.family, sources)

    def _balancer(self, name: str, endpoints: tuple[EndpointInfo, ...], *, internal: bool) -> Chain:
        masquerade = (self._masquerade_rule(),) if internal else ()
        targets = [self.targets[str(endpoint)] for endpoint in endpoints]
        return Chain(name, (*masquerade, *blocks.balance(targets)))

    def _masquerade_rule(self) -> str:
        """Keep the source of pods; of all others only a masqueraded source brings the reply back here (semantics 6.6, 6.7)."""
        port = self.port
        pods = self.config.cluster_cidr
        sources = "" if self.config.masquerade_all else f"{self.saddr} != {pods} "
        target = f"{self.daddr} {port.cluster_ip} {port.protocol} dport {port.port}"
        return f"{target} {sources}{blocks.MARK_FOR_MASQUERADE}"

    def _translation(self, target: blocks.Target, endpoint: EndpointInfo) -> Chain:
        """Masquerade a pod that reaches itself: it must not see itself as client (semantics 6.8)."""
        hairpin = f"{self.saddr} {endpoint.address} {blocks.MARK_FOR_MASQUERADE}"
        translate = blocks.dnat(self.family, self.port.protocol, endpoint.address, endpoint.port)
        return Chain(target.chain, (hairpin, *target.remember(), translate))
