from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import dns.message
import dns.query
import dns.rcode
import pytest

from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, EVENTS, LEASES, NODES, SERVICES
from netlab.controlplane.api import Api
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store
from netlab.dataplane.state import Address
from netlab.edge.balancer import Balancer
from netlab.edge.frontends import Check
from netlab.edge.health import PACE, Pace
from netlab.edge.names import OutsideNames
from netlab.errors import ApiError
from netlab.kernel.fake import FakeKernel

PATH = "/run/netns/lab-edge"
HEALTH_CHECK_NODE_PORT = 32000


class Gate:
    """The edge's client, whose writes hang while its world says so."""

    def __init__(self, world) -> None:
        self._world = world

    def __getattr__(self, name):
        return hang if self._world.writes_hang and name in {"create", "update", "patch"} else getattr(self._world.client, name)


class World:
    """A lab's API and the edge's kernel, with nodes that answer as `up` says."""

    def __init__(self, client: LocalClient) -> None:
        self.client = client
        self.kernel = FakeKernel()
        self.kernel.create_namespaces([PATH])
        self.up: set[str] = set()
        self.pace = PACE
        self.port = 0
        self.writes_hang = False
        self.holding: asyncio.Event | None = None  # set: the questions to HEALTH_CHECK_NODE_PORT have their answers
        self.asked = asyncio.Event()
        self.names = OutsideNames("127.0.0.1")

    async def probe(self, check: Check) -> bool:
        if check.port == HEALTH_CHECK_NODE_PORT and self.holding:
            self.asked.set()
            await self.holding.wait()
        return check.address in self.up

    def balancer(self) -> Balancer:
        self.names = OutsideNames("127.0.0.1", self.port)
        return Balancer(Gate(self), self.kernel, PATH, self.probe, self.names, pace=self.pace)

    async def lease(self) -> dict[str, str]:
        try:
            lease = await self.client.get(LEASES, "netlab-edge", namespace="kube-system")
        except ApiError:
            return {}
        return lease["metadata"]["annotations"]

    async def synced(self) -> int:
        return int(json.loads((await self.lease())["netlab/synced"])["services"])

    async def healthy(self) -> dict:
        return json.loads((await self.lease()).get("netlab/load-balancers", "{}"))

    async def reaches(self, expected: dict) -> None:
        async with asyncio.timeout(10):
            while await self.healthy() != expected:  # noqa: ASYNC110 - the API is asked as a user asks it
                await asyncio.sleep(0.01)

    async def add_node(self, number: int) -> None:
        name, address = f"node{number}", f"172.30.1.{number}"
        status = {"addresses": [{"type": "InternalIP", "address": address}]}
        await self.client.create(
            NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status}
        )

    async def add_service(self, name: str, address: str, ip_mode: str = "VIP", **spec) -> None:
        body = {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80}], **spec}
        await self.client.create(
            SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": body}
        )
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": ip_mode}]}}}
        await self.client.patch(SERVICES, name, status, namespace="default", subresource="status")


@pytest.fixture
def world():
    return World(LocalClient(Api(Store.open(":memory:"))))


@asynccontextmanager
async def running(world: World):
    task = asyncio.create_task(world.balancer().run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_edge_balancer_follows_objects_and_health(world):
    """Addresses, rules and the Lease follow Services and the health of nodes; the Lease names what was seen."""
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    await world.add_node(2)
    async with running(world):
        await world.add_service("blue", "198.51.100.1")
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
        world.up = {"172.30.1.1", "172.30.1.2"}
        await world.reaches({"default/blue": {"80/TCP": ["node1", "node2"]}})
        synced = json.loads((await world.lease())["netlab/synced"])
    service = await world.client.get(SERVICES, "blue", namespace="default")

    assert (True, True, {"services", "endpointslices", "nodes", "configmaps", "labs"}) == (
        Address("lo", "198.51.100.1/32") in world.kernel.observe(PATH).addresses,
        int(synced["services"]) >= int(service["metadata"]["resourceVersion"]),
        set(synced),
    )


async def test_edge_balancer_takes_away(world):
    """A Service that goes takes its address and rules along; 127.0.0.1 stays."""
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    async with running(world):
        await world.add_service("blue", "198.51.100.1")
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
        await world.client.delete(SERVICES, "blue", namespace="default")
        await world.reaches({})
    listing = world.kernel.nft_list(PATH, "ip", "netlab-edge")

    assert ((Address("lo", "127.0.0.1/8"),), ()) == (
        world.kernel.observe(PATH).addresses, listing.elements["service-ports"]
    )  # fmt: skip


async def test_edge_balancer_starts_again_without_writing(world):
    """A new process finds its predecessor's rules as it would write them, and leaves them alone."""
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    await world.add_service("blue", "198.51.100.1")
    async with running(world):
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
    written = len(world.kernel.scripts), len(world.kernel.performed)
    await world.client.delete(LEASES, "netlab-edge", namespace="kube-system")
    async with running(world):
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})

    assert written == (len(world.kernel.scripts), len(world.kernel.performed))


async def test_edge_balancer_tells_what_it_cannot_serve(world):
    """A Service without node ports whose address no node takes gets an event, and no rule."""
    async with running(world):
        await world.add_service("blue", "198.51.100.1", ip_mode="Proxy", allocateLoadBalancerNodePorts=False)
        async with asyncio.timeout(10):
            while not (events := (await world.client.list(EVENTS, namespace="default")).items):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

    assert ("UnsupportedLoadBalancer", "blue") == (events[0]["reason"], events[0]["involvedObject"]["name"])


async def test_edge_balancer_asks_again_when_endpoints_change(world):
    """A change of a Service's endpoints has its nodes asked at once, not at the next interval."""
    world.pace = Pace(interval=60, fast_after_change=0)
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    await world.add_node(2)
    meta = {"name": "blue-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "blue"}}
    body = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4"}
    async with running(world):
        await world.add_service("blue", "198.51.100.1")
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
        world.up = {"172.30.1.1", "172.30.1.2"}
        await world.client.create(ENDPOINT_SLICES, {**body, "endpoints": [{"addresses": ["10.244.2.2"]}], "ports": []})
        await world.reaches({"default/blue": {"80/TCP": ["node1", "node2"]}})
    healthy = await world.healthy()

    assert healthy == {"default/blue": {"80/TCP": ["node1", "node2"]}}


def hosts(text: str) -> dict:
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"NodeHosts": text},
        "metadata": {"name": "coredns", "namespace": "kube-system"},
    }  # fmt: skip


async def outside(world: World, name: str) -> tuple[str, list[str]]:
    """Ask the edge's DNS server; return the code and the addresses."""
    query = dns.message.make_query(name, "A")
    answer = await asyncio.to_thread(dns.query.tcp, query, "127.0.0.1", 10, world.names.port)
    return dns.rcode.to_text(answer.rcode()), [str(record) for found in answer.answer for record in found]


async def acknowledged(world: World, kind: str, version: str) -> None:
    """Wait until the Lease says that a kind is programmed up to a version."""
    async with asyncio.timeout(10):
        while int(json.loads((await world.lease()).get("netlab/synced", "{}")).get(kind, 0)) < int(version):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_edge_serves_names_outside_the_cluster(world):
    """11.21: hosts as the ConfigMap has them once the Lease says so, and no name of the cluster."""
    await world.add_service("blue", "198.51.100.1")
    async with running(world):
        made = await world.client.create(CONFIG_MAPS, hosts("172.30.1.1 node1\n"))
        await acknowledged(world, "configmaps", made["metadata"]["resourceVersion"])
        before = [await outside(world, name) for name in ("node1", "client", "blue.default.svc.cluster.local")]
        change = {"data": {"NodeHosts": "203.0.113.10 client\n"}}
        made = await world.client.patch(CONFIG_MAPS, "coredns", change, namespace="kube-system")
        await acknowledged(world, "configmaps", made["metadata"]["resourceVersion"])
        after = [await outside(world, name) for name in ("node1", "client")]

    assert [("NOERROR", ["172.30.1.1"]), ("NXDOMAIN", []), ("NXDOMAIN", [])] == before
    assert [("NXDOMAIN", []), ("NOERROR", ["203.0.113.10"])] == after


async def test_edge_balances_without_its_dns_server(world):
    """A DNS server that cannot listen stops no load balancer; the Lease says so and does not acknowledge ConfigMaps."""
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        world.port = taken.getsockname()[1]
        async with running(world):
            await world.add_service("blue", "198.51.100.1")
            await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
            told = {key: json.loads(text) for key, text in (await world.lease()).items()}

    assert "configmaps" not in told["netlab/synced"]
    assert ["dns"] == list(told["netlab/problems"])
    assert "in use" in told["netlab/problems"]["dns"][0]


async def test_edge_balancer_keeps_nodes_until_a_new_check_has_an_answer(world):
    """A Service that loses its node ports is checked in another way: its nodes serve on until they were asked (no gap)."""
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    async with running(world):
        await world.add_service("blue", "198.51.100.1")
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
        world.holding = asyncio.Event()  # from now on, new questions have no answer
        local = {"spec": {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}}
        changed = await world.client.patch(SERVICES, "blue", local, namespace="default")
        async with asyncio.timeout(10):
            await world.asked.wait()
            while await world.synced() < int(changed["metadata"]["resourceVersion"]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        served = world.kernel.nft_list(PATH, "ip", "netlab-edge").elements["service-ports"]
        world.up = set()
        world.holding.set()
        await world.reaches({"default/blue": {"80/TCP": []}})

    assert 1 == len(served)


async def test_edge_balancer_programs_while_the_api_hangs(world):
    """A node that fails gets no traffic, also while no Lease can be written."""
    world.up = {"172.30.1.1"}
    await world.add_node(1)
    async with running(world):
        await world.add_service("blue", "198.51.100.1")
        await world.reaches({"default/blue": {"80/TCP": ["node1"]}})
        world.writes_hang = True
        for up, expected in ((set(), "unhealthy-ports"), ({"172.30.1.1"}, "service-ports")):
            world.up = up
            async with asyncio.timeout(10):
                while not world.kernel.nft_list(PATH, "ip", "netlab-edge").elements[expected]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


async def hang(*_arguments, **_options):
    await asyncio.Event().wait()
