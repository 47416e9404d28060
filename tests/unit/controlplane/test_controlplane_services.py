from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from netlab.api.resources import NODES, SERVICES, Json
from netlab.controlplane.allocation import Band, Claims, Former, node_port_band
from netlab.controlplane.api import Api, ApiSettings, Target, WriteOptions
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.local import LocalClient
from netlab.controlplane.services import ServiceAllocator
from netlab.controlplane.store import Store
from netlab.errors import ApiError


def service(name: str = "blue", /, namespace: str = "default", **spec: Any) -> Json:
    spec.setdefault("ports", [{"port": 80}])
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def node_ports(spec: Json) -> list[int]:
    return [port.get("nodePort", 0) for port in spec["ports"]]


@pytest.mark.parametrize(
    ("band", "expected"),
    [
        (node_port_band("30000-32767"), Band(30000, 32767, 30086)),
        (node_port_band("30000-30009"), Band(30000, 30009, 30000)),
    ],
)
def test_node_port_bands(band: Band, expected: Band) -> None:
    """The static band of node ports has 86 ports in the usual range (semantics 4.4)."""
    assert expected == band


@pytest.mark.parametrize(
    ("subnet", "first", "dynamic", "last"),
    [
        ("10.96.0.0/16", "10.96.0.1", "10.96.1.1", "10.96.255.254"),
        ("10.96.0.0/12", "10.96.0.1", "10.96.1.1", "10.111.255.254"),
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.17", "10.0.0.254"),
        ("10.0.0.0/28", "10.0.0.1", "10.0.0.1", "10.0.0.14"),
    ],
)
def test_address_bands(subnet: str, first: str, dynamic: str, last: str) -> None:
    """The static band of Service addresses is min(max(16, size/16), 256) at the bottom (semantics 4.3)."""
    from ipaddress import IPv4Address

    band = ServiceAllocator.of(subnet, "30000-32767").addresses

    assert (first, dynamic, last) == tuple(str(IPv4Address(n)) for n in (band.first, band.dynamic, band.last))


@pytest.mark.parametrize(("held", "expected"), [({4, 5}, 3), ({3, 4, 5}, 1), ({1, 3, 4, 5}, 2), ({1, 2, 3, 4, 5}, None)])
def test_what_is_kept_for_requests_is_handed_out_last(held: set[int], expected: int | None) -> None:
    """Numbers come from above the static band, and from the band only when nothing else is left (semantics 4.3)."""
    assert expected == Band(first=1, last=5, dynamic=3).choose("default/web", lambda number: number not in held)


async def test_allocation_is_deterministic(client: LocalClient, new_api) -> None:
    """The same Services get the same addresses and ports in another lab, out of the dynamic bands."""
    first = await client.create(SERVICES, service(type="NodePort"))
    second = await LocalClient(new_api(Store.open(":memory:"))).create(SERVICES, service(type="NodePort"))

    assert (first["spec"]["clusterIP"], node_ports(first["spec"])) == (second["spec"]["clusterIP"], node_ports(second["spec"]))
    assert node_ports(first["spec"])[0] >= 30086


def numbers_of(spec: Json) -> set[object]:
    return {spec["clusterIP"], spec.get("healthCheckNodePort"), *node_ports(spec)} - {None, 0}


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "ClusterIP"},
        {"type": "NodePort"},
        {"type": "NodePort", "ports": [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]},
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    ],
)
async def test_a_service_that_is_made_again_is_a_new_one(client: LocalClient, new_api, spec: Json) -> None:
    """Its address and node ports are others (semantics 4.22), the same ones in every lab; other Services keep theirs."""
    lives = []
    for side in (client, LocalClient(new_api(Store.open(":memory:")))):
        other = await side.create(SERVICES, {**service(**spec), "metadata": {"name": "other"}})
        found = []
        for _ in range(4):
            made = await side.create(SERVICES, service(**spec))
            found.append(numbers_of(made["spec"]))
            await side.delete(SERVICES, made["metadata"]["name"])
        lives.append(found)
        await side.delete(SERVICES, "other")
        again = await side.create(SERVICES, {**service(**spec), "metadata": {"name": "other"}})
        assert not numbers_of(other["spec"]) & numbers_of(again["spec"])

    assert lives[0] == lives[1]
    assert all(not before & after for before, after in pairwise(lives[0]))


async def test_a_range_that_is_full_gives_an_address_again(client: LocalClient) -> None:
    """The address of the last life is avoided, not withheld; one that is asked for is given."""
    asked = service(clusterIP="10.96.0.77")
    await client.create(SERVICES, asked)
    await client.delete(SERVICES, asked["metadata"]["name"])
    again = await client.create(SERVICES, asked)

    assert "10.96.0.77" == again["spec"]["clusterIP"]
    assert 2 == Band(1, 2, 1).choose("default/web", lambda number: number != 1, avoided={2})
    assert 1 == Band(1, 2, 1).choose("default/web", lambda _: True, avoided={2})


def test_pasts_are_bounded() -> None:
    """A lab that makes and deletes Services for days does not grow: the names deleted longest ago are forgotten."""
    former = Former(limit=2)
    for name in ("a", "b", "a", "c", "a"):
        former.end(name, Claims())

    assert {"c": "c#1", "a": "a#3", "b": "b"} == {name: former.seed(name) for name in "cab"}
    assert 2 == len(former.pasts)


async def test_defaults(client: LocalClient) -> None:
    """A Service is filled in as on a cluster (semantics 4.7, 4.18, 4.21)."""
    spec = (await client.create(SERVICES, service(type="LoadBalancer", sessionAffinity="ClientIP")))["spec"]

    assert {"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": node_ports(spec)[0]} == spec["ports"][0]
    assert {"clientIP": {"timeoutSeconds": 10800}} == spec["sessionAffinityConfig"]
    assert ("Cluster", "Cluster", True) == tuple(
        spec[k] for k in ("externalTrafficPolicy", "internalTrafficPolicy", "allocateLoadBalancerNodePorts")
    )
    assert ("SingleStack", ["IPv4"], [spec["clusterIP"]]) == tuple(
        spec[k] for k in ("ipFamilyPolicy", "ipFamilies", "clusterIPs")
    )


@pytest.mark.parametrize(
    ("spec", "absent"),
    [
        ({"type": "ExternalName", "externalName": "db.example.com"}, ("clusterIP", "clusterIPs", "externalTrafficPolicy")),
        ({"type": "ClusterIP"}, ("externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts")),
        ({"type": "LoadBalancer"}, ("healthCheckNodePort",)),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, ("healthCheckNodePort",)),
    ],
)
async def test_what_a_type_does_not_have(client: LocalClient, spec: Json, absent: tuple[str, ...]) -> None:
    """Fields without a meaning for the type stay away."""
    stored = (await client.create(SERVICES, service(**spec)))["spec"]

    assert [] == [name for name in absent if name in stored]


@pytest.mark.parametrize(
    ("spec", "count", "health"),
    [
        ({"type": "ClusterIP"}, 0, False),
        ({"type": "NodePort"}, 1, False),
        ({"type": "LoadBalancer"}, 1, False),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, 1, True),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, 0, False),
    ],
)
async def test_ports_by_type(client: LocalClient, spec: Json, count: int, health: bool) -> None:
    """Node ports and health check ports are allocated where the type needs them (semantics 4.10, 4.20)."""
    stored = (await client.create(SERVICES, service(**spec)))["spec"]

    assert (count, health) == (sum(1 for p in node_ports(stored) if p), "healthCheckNodePort" in stored)


async def test_one_port_number_for_both_protocols(client: LocalClient) -> None:
    """TCP and UDP on the same port share the node port (semantics 4.5, 4.6)."""
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "w", "port": 80}]
    numbers = node_ports((await client.create(SERVICES, service(type="NodePort", ports=ports)))["spec"])

    assert numbers[0] == numbers[1] != numbers[2]


TAKEN = "provided IP is already allocated"
OUT_OF_SUBNET = "the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
OUT_OF_RANGE = "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"clusterIP": "10.96.0.77"}, f"failed to allocate IP 10.96.0.77: {TAKEN}"),
        ({"clusterIP": "10.96.0.10"}, f"failed to allocate IP 10.96.0.10: {TAKEN}"),
        ({"clusterIP": "10.96.0.1"}, f"failed to allocate IP 10.96.0.1: {TAKEN}"),
        ({"clusterIP": "10.97.0.1"}, OUT_OF_SUBNET),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]},
         "spec.ports[0].nodePort: Invalid value: 31000: provided port is already allocated"),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
         OUT_OF_RANGE),
    ],
)  # fmt: skip
async def test_what_cannot_be_had(client: LocalClient, spec: Json, message: str) -> None:
    """An address or port that is taken or out of range is refused with Kubernetes' words (semantics 4.1, 4.5)."""
    taken = service("first", clusterIP="10.96.0.77", type="NodePort", ports=[{"port": 80, "nodePort": 31000}])
    await client.create(SERVICES, taken)
    with pytest.raises(ApiError) as caught:
        await client.create(SERVICES, service(**spec))

    assert (422, "Invalid") == (caught.value.code, caught.value.reason)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("name", "namespace", "address"), [("kubernetes", "default", "10.96.0.1"), ("kube-dns", "kube-system", "10.96.0.10")]
)
async def test_reserved_addresses_go_to_their_service(client: LocalClient, name: str, namespace: str, address: str) -> None:
    """The cluster's own Services get the addresses kept for them (semantics 4.2)."""
    stored = await client.create(SERVICES, service(name, namespace, clusterIP=address))

    assert address == stored["spec"]["clusterIP"]


async def test_same_node_port_for_another_protocol(client: LocalClient) -> None:
    """TCP and UDP may use the same node port (semantics 4.5)."""
    await client.create(SERVICES, service("tcp", type="NodePort", ports=[{"port": 80, "nodePort": 31000}]))
    udp = service("udp", type="NodePort", ports=[{"port": 80, "protocol": "UDP", "nodePort": 31000}])

    assert [31000] == node_ports((await client.create(SERVICES, udp))["spec"])


async def test_an_update_keeps_what_it_leaves_out(client: LocalClient) -> None:
    """Applying a file again, which names no address and no port any more, changes nothing, also for chosen ones."""
    ports = [{"name": "a", "port": 80, "nodePort": 31000}, {"name": "b", "port": 81, "nodePort": 31001}]
    chosen = {"clusterIP": "10.96.0.77", "healthCheckNodePort": 31002, "ports": ports}
    policy = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    before = await client.create(SERVICES, service(**policy, **chosen))
    after = await client.update(SERVICES, service(**policy, ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}]))

    assert 31002 == before["spec"]["healthCheckNodePort"]
    assert before == after


async def test_a_new_port_gets_its_own_node_port(client: LocalClient) -> None:
    """Old ports keep their node ports when one is added or the order changes."""
    await client.create(SERVICES, service(type="NodePort", ports=[{"name": "a", "port": 80, "nodePort": 31000}]))
    after = await client.update(SERVICES, service(type="NodePort", ports=[{"name": "b", "port": 81}, {"name": "a", "port": 80}]))

    assert 31000 == node_ports(after["spec"])[1] != node_ports(after["spec"])[0]


NAMED = [{"name": "a", "port": 80, "nodePort": 31000}, {"name": "b", "port": 81, "nodePort": 31001}]
BALANCED: Json = {
    "type": "LoadBalancer",
    "externalTrafficPolicy": "Local",
    "healthCheckNodePort": 31002,
    "loadBalancerClass": "a/b",
}
UPDATES = [
    pytest.param(
        {"type": "NodePort", "ports": NAMED},
        {"ports": [{"name": "a", "port": 8080}, {"name": "b", "port": 81}]},
        {"nodePorts": [31000, 31001]},
        id="an edited port keeps its node port, by its name",
    ),
    pytest.param(
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31000}]},
        {"ports": [{"port": 8080}]},
        {"nodePorts": [31000]},
        id="the port without a name, too",
    ),
    pytest.param(
        {"type": "NodePort", "ports": NAMED},
        {"type": "ClusterIP", "ports": NAMED[:1]},
        {"nodePorts": [0]},
        id="another type and fewer ports",
    ),
    pytest.param(
        {"type": "NodePort", "ports": NAMED},
        {"type": "ClusterIP", "ports": [NAMED[1], NAMED[0], {"name": "c", "port": 82}]},
        {"nodePorts": [0, 0, 0]},
        id="another type, ports moved and one added",
    ),
    pytest.param(
        {"type": "NodePort", "ports": NAMED},
        {"type": "ClusterIP", "ports": [{**NAMED[0], "nodePort": 31009}]},
        r"spec.ports\[0\].nodePort: Forbidden",
        id="another type with a new node port",
    ),
    pytest.param(
        {"type": "LoadBalancer", "ports": NAMED},
        {"allocateLoadBalancerNodePorts": False},
        {"nodePorts": [31000, 31001]},
        id="no more node ports, but those there are",
    ),
    pytest.param(
        {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": NAMED[:1]},
        {"ports": [*NAMED[:1], {"name": "c", "port": 82}]},
        {"nodePorts": [31000, 0]},
        id="a port that asked for one has it, a new port none",
    ),
    pytest.param(
        BALANCED, {"healthCheckNodePort": 30999}, "healthCheckNodePort: Invalid value: 30999: field is immutable", id="d"
    ),
    pytest.param(BALANCED, {"loadBalancerClass": "c/d"}, 'loadBalancerClass: Invalid value: "c/d": may not change once', id="e"),
    pytest.param({"type": "LoadBalancer"}, {"loadBalancerClass": "c/d"}, "loadBalancerClass: Invalid value", id="e, added"),
    pytest.param({"type": "ClusterIP"}, {"type": "LoadBalancer", "loadBalancerClass": "c/d"}, {}, id="e, with the type"),
    pytest.param({"clusterIP": "10.96.0.77"}, {"clusterIP": ""}, {"clusterIP": "10.96.0.77"}, id="an empty address keeps it"),
    pytest.param(
        {"type": "LoadBalancer"},
        {"loadBalancerSourceRanges": [" 203.0.113.0/25", "10.0.0.0/8 "]},
        {"loadBalancerSourceRanges": [" 203.0.113.0/25", "10.0.0.0/8 "]},
        id="padded source ranges",
    ),
    pytest.param({}, {"allocateLoadBalancerNodePorts": True}, "allocateLoadBalancerNodePorts: Forbidden", id="i, ClusterIP"),
    pytest.param(
        {"type": "ExternalName", "externalName": "a.example", "externalIPs": ["192.0.2.1"]},
        {"externalTrafficPolicy": "Local"},
        "externalTrafficPolicy: Invalid value",
        id="i, ExternalName is not reached from outside",
    ),
    pytest.param(
        {"type": "ExternalName", "externalName": "a.example"},
        {"ports": [{"port": 80, "nodePort": 31000}]},
        {"nodePorts": [31000]},
        id="i, a node port of an ExternalName is accepted",
    ),
]


@pytest.mark.parametrize(("before", "patch", "expected"), UPDATES)
async def test_updates_as_in_kubernetes(client: LocalClient, before: Json, patch: Json, expected: Json | str) -> None:
    """What an update carries over, releases, refuses (pkg/registry/core/service, ValidateServiceUpdate; semantics 4.9, 4.10)."""
    await client.create(SERVICES, service(**before))
    if isinstance(expected, str):
        with pytest.raises(ApiError, match=expected):
            await client.patch(SERVICES, "blue", {"spec": patch})
        return
    spec = (await client.patch(SERVICES, "blue", {"spec": patch}))["spec"]

    assert {name: node_ports(spec) if name == "nodePorts" else spec[name] for name in expected} == expected


async def test_the_cluster_ip_is_immutable(client: LocalClient) -> None:
    """Another address, or headless, is refused for a Service that has one (semantics 4.1)."""
    await client.create(SERVICES, service(clusterIP="10.96.0.77"))
    for wanted in ("10.96.0.78", "None"):
        with pytest.raises(ApiError, match=rf'spec.clusterIPs\[0\]: Invalid value: \["{wanted}"\]: may not change once set'):
            await client.patch(SERVICES, "blue", {"spec": {"clusterIP": wanted}})


TRANSITIONS = [
    ("NodePort", {"type": "ClusterIP"}, True, 0),
    ("NodePort", {"type": "ExternalName", "externalName": "a.example.com"}, False, 0),
    ("ClusterIP", {"type": "NodePort"}, True, 1),
    ("LoadBalancer", {"type": "NodePort"}, True, 1),
    ("LoadBalancer", {"type": "ClusterIP"}, True, 0),
]


@pytest.mark.parametrize(("before", "patch", "address", "ports"), TRANSITIONS)
@pytest.mark.parametrize("whole", [False, True])
async def test_type_changes(
    client: LocalClient, api: Api, before: str, patch: Json, address: bool, ports: int, whole: bool
) -> None:
    """A change of type releases and allocates, by patch and by an update of the whole object (semantics 4.9)."""
    old = await client.create(
        SERVICES, service(type=before, externalTrafficPolicy="Cluster") if before != "ClusterIP" else service()
    )
    if whole:
        new = await client.update(SERVICES, {**old, "spec": {**old["spec"], **patch}})
    else:
        new = await client.patch(SERVICES, "blue", {"spec": patch})
    spec, held = new["spec"], api._allocator.holdings

    assert (address, ports) == ("clusterIP" in spec, sum(1 for number in node_ports(spec) if number))
    assert (int(address), ports) == (len(held.addresses), len(held.ports))
    assert ("externalTrafficPolicy" in spec) == (patch["type"] in {"NodePort", "LoadBalancer"})


async def test_back_from_external_name(client: LocalClient) -> None:
    """A Service that comes back from ExternalName gets an address again (semantics 4.9)."""
    await client.create(SERVICES, service(type="ExternalName", externalName="a.example.com"))
    back = await client.patch(SERVICES, "blue", {"spec": {"type": "ClusterIP", "externalName": None}})

    assert back["spec"]["clusterIPs"] == [back["spec"]["clusterIP"]]


async def test_leaving_local_frees_the_health_check_port(client: LocalClient, api: Api) -> None:
    """HealthCheckNodePort goes with the policy (semantics 4.20)."""
    await client.create(SERVICES, service(type="LoadBalancer", externalTrafficPolicy="Local"))
    after = await client.patch(SERVICES, "blue", {"spec": {"externalTrafficPolicy": "Cluster"}})

    assert "healthCheckNodePort" not in after["spec"]
    assert 1 == len(api._allocator.holdings.ports)


async def test_a_load_balancer_address_goes_with_the_type(client: LocalClient) -> None:
    """status.loadBalancer is emptied when the Service is no load balancer any more."""
    created = await client.create(SERVICES, service(type="LoadBalancer"))
    created["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}
    await client.update(SERVICES, created, subresource="status")
    after = await client.patch(SERVICES, "blue", {"spec": {"type": "NodePort"}})

    assert {"loadBalancer": {}} == after["status"]


async def test_deleting_frees(client: LocalClient) -> None:
    """A deleted Service's address and ports can be had again (semantics 4.5, 4.22)."""
    body = service(type="NodePort", clusterIP="10.96.0.77", ports=[{"port": 80, "nodePort": 31000}])
    await client.create(SERVICES, body)
    await client.delete(SERVICES, "blue")

    assert "10.96.0.77" == (await client.create(SERVICES, body))["spec"]["clusterIP"]


async def test_holdings_survive_a_restart(client: LocalClient, store: Store, new_api) -> None:
    """A restarted server knows what is taken."""
    await client.create(SERVICES, service(clusterIP="10.96.0.77"))
    with pytest.raises(ApiError, match=TAKEN):
        await LocalClient(new_api(store)).create(SERVICES, service("green", clusterIP="10.96.0.77"))


def test_a_dry_run_consumes_nothing(api: Api) -> None:
    """A dry run shows what would be allocated and holds none of it."""
    target, options = Target(SERVICES, "default"), WriteOptions(dry_run=True)
    tried = api.create(ADMIN, target, service(type="NodePort"), options).stored.body["spec"]
    held = (dict(api._allocator.holdings.addresses), dict(api._allocator.holdings.ports))
    made = api.create(ADMIN, target, service(type="NodePort")).stored.body["spec"]

    assert ({}, {}) == held
    assert tried == made


async def test_a_full_range(store: Store) -> None:
    """When nothing is left the Service is refused, and a freed address is found again."""
    api = Api(store, settings=ApiSettings(service_subnet="10.0.0.0/28"))
    client = LocalClient(api)
    for number in range(12):  # 14 addresses, .1 and .10 are reserved
        await client.create(SERVICES, service(f"s{number}"))
    with pytest.raises(ApiError, match="range is full"):
        await client.create(SERVICES, service("late"))
    await client.delete(SERVICES, "s5")

    assert "10.0.0.0/28" == str(api._allocator.subnet)
    assert (await client.create(SERVICES, service("late")))["spec"]["clusterIP"].startswith("10.0.0.")


async def test_headless(client: LocalClient) -> None:
    """A headless Service takes no address."""
    stored = await client.create(SERVICES, service(clusterIP="None"))

    assert ("None", ["None"]) == (stored["spec"]["clusterIP"], stored["spec"]["clusterIPs"])


async def test_node_names_are_no_services(client: LocalClient) -> None:
    """Only Services hold addresses."""
    await client.create(NODES, {"metadata": {"name": "node1"}})

    assert {} == client.api._allocator.holdings.claims
