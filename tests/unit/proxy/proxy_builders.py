"""Services, EndpointSlices and nodes for the tests of the service proxy, in few words."""

from __future__ import annotations

from netlab.api.cluster import Node
from netlab.api.discovery import Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForZone
from netlab.api.meta import ObjectMeta
from netlab.api.services import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus
from netlab.family import Family
from netlab.netfilter.language import Packet
from netlab.netfilter.trace import Host, trace
from netlab.overlay.masquerade import flannel_rules
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.nftables import compile_services
from netlab.proxy.servicemap import ServicePortMap, build

NODE = Node(metadata=ObjectMeta(name="node1", labels={"topology.kubernetes.io/zone": "a"}))
CONFIG = ProxyConfig(
    Family.IPV4,
    node_ip="172.30.1.1",
    cluster_cidr="10.244.0.0/16",
    service_cidr="10.96.0.0/16",
)
HOST = Host(frozenset({"172.30.1.1", "10.244.1.0", "10.244.1.1"}))
FLANNEL = flannel_rules(Family.IPV4, "10.244.0.0/16", "10.244.1.0/24")

LOCAL, REMOTE = "10.244.1.5", "10.244.2.5"
POD, OTHER_POD, NODE_IP, CLIENT = "10.244.1.9", "10.244.3.9", "172.30.1.1", "203.0.113.10"


def endpoint(
    address: str, *, ready: bool = True, terminating: bool = False, serving: bool | None = None, **hints: str
) -> Endpoint:
    """An endpoint on the node that its address belongs to: 10.244.<node>.x. `zone`, `node`: hinted for."""
    return Endpoint(
        addresses=(address,),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating or None),
        node_name=f"node{address.split('.')[2]}",
        hints=EndpointHints(
            for_zones=(ForZone(name=hints["zone"]),) if "zone" in hints else (),
            for_nodes=(ForZone(name=hints["node"]),) if "node" in hints else (),
        )
        if hints
        else None,
    )


def going(address: str) -> Endpoint:
    """An endpoint that terminates and still serves."""
    return endpoint(address, ready=False, terminating=True, serving=True)


def slice_of(
    *endpoints: Endpoint | str, name: str = "web-1", service: str = "web", ports: tuple[EndpointPort, ...] = ()
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=name, namespace="ns", labels={"kubernetes.io/service-name": service}),
        endpoints=tuple(endpoint(e) if isinstance(e, str) else e for e in endpoints),
        ports=ports or (EndpointPort(port=8080, name="http", protocol="TCP"),),
    )


def service(
    *, name: str = "web", ports: tuple[ServicePort, ...] = (), lb: str = "", labels: dict[str, str] | None = None, **spec
) -> Service:
    """A Service ns/web with port http 80/TCP at 10.96.0.5; `lb` is its load balancer address."""
    return Service(
        metadata=ObjectMeta(name=name, namespace="ns", labels=labels or {}),
        spec=ServiceSpec(
            ports=ports
            or (ServicePort(port=80, name="http", node_port=30080 if spec.get("type", "ClusterIP") != "ClusterIP" else 0),),
            **{"cluster_ip": "10.96.0.5", **spec},
        ),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=(LoadBalancerIngress(ip=lb),) if lb else ())),
    )


def service_map(*objects: Service | EndpointSlice, node: Node = NODE) -> ServicePortMap:
    return build(
        [o for o in objects if isinstance(o, Service)],
        [o for o in objects if isinstance(o, EndpointSlice)],
        node,
        Family.IPV4,
    )


def outcomes(
    objects: tuple,
    source: str,
    destination: str,
    port: int,
    *,
    protocol: str = "tcp",
    config: ProxyConfig = CONFIG,
    host: Host = HOST,
) -> set[str]:
    """What may happen to a packet on node1 with the proxy's and flannel's tables."""
    tables = [compile_services(service_map(*objects), config), FLANNEL]
    forward = {str(o) for o in trace(tables, Packet(source, protocol, destination, port), host)}
    assert forward == {str(o) for o in trace(tables[::-1], Packet(source, protocol, destination, port), host)}, "depends on order"
    return forward
