"""One accepted topology through everything behind the front end, in one process.

    file -> lab.apply -> API (validation, defaults, allocation) -> controllers until idle -> pods run and are ready
         -> per node: overlay, proxy, rules as nft text      -> DNS: the zone, and questions of every kind
         -> edge: frontends, rules as nft text               -> per pod: files, environment, arguments of its server, status
         -> the checks of `netlab test connectivity`

Nothing may raise but the errors that are an answer: the API's refusals below 500, a container's
ConfigError, a server's BadArgumentsError. Code that contains an exception logs it with its
traceback: that counts as raised, too.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import signal
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from types import FrameType
from typing import Any

import dns.exception
import dns.message
import dns.name
import msgspec
import yaml
from fuzz_grammar import drawn, preferred, status_schemas

from netlab.api.cluster import Node
from netlab.api.lab import Lab
from netlab.api.meta import Condition
from netlab.api.pods import Container, Pod
from netlab.api.resources import BY_PLURAL, LABS, NODES, PODS, SECRETS, Json, Resource
from netlab.api.wellknown import HOST_NAMES, HOST_NAMES_KEY
from netlab.controlplane.api import Api, ApiSettings
from netlab.controlplane.controllers.world import FIELDS
from netlab.controlplane.local import LocalClient
from netlab.controlplane.manager import Manager
from netlab.controlplane.store import Store
from netlab.controlplane.validation import LabRules
from netlab.daemon.hosts import new_node, node_labels
from netlab.dns.messages import respond_to
from netlab.dns.zone import Zone
from netlab.edge.frontends import backends, load_balancer_addresses, offered, unserved
from netlab.edge.rules import Balancing, compile_rules
from netlab.errors import ApiError, InvalidTopologyError, InvalidValueError
from netlab.family import Family
from netlab.hosts.hosts import plan_hosts
from netlab.kernel.fake_nft import FakeNft
from netlab.lab import apply
from netlab.netfilter.script import render
from netlab.node.kubelet.cluster_view import Cluster
from netlab.node.kubelet.nodes import ready_condition
from netlab.node.kubelet.status import PodView, pod_status, status_body
from netlab.node.pods import containers
from netlab.node.pods.builtin import builtin_of, server_spec
from netlab.node.pods.readiness import initial
from netlab.node.pods.runtime import Run
from netlab.overlay.backends import announcement
from netlab.plane import View, parts
from netlab.probe.plan.plan import choices, plan
from netlab.probe.plan.snapshot import LISTED, Snapshot
from netlab.process import podfiles
from netlab.process.podfiles import ConfigError, PodFiles
from netlab.proxy.health import health_check_answers
from netlab.proxy.servicemap import build
from netlab.topology import Source, Topology, load
from netlab.workloads.servers import SERVERS
from netlab.workloads.servers.base import BadArgumentsError, Process

HANG = 5  # seconds that one topology may take
TYPES = ("A", "AAAA", "SRV", "PTR", "SOA", "ANY", "TXT")
STATUS = status_schemas()
PATCHES = 3  # writes to objects of each accepted topology


class Failure(Exception):  # noqa: N818 -- what the search looks for
    """Something that must not happen, with the topology it happened to."""


class HangError(BaseException):
    """A topology took longer than HANG. No `except Exception` of the code under test holds it up."""


@dataclass
class Tally:
    """How far the cases came. `refused`: by the API, after the file was accepted."""

    tried: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    patches: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Tally) -> Tally:
        total = Tally(self.tried + other.tried, self.accepted + other.accepted)
        total.refused, total.patches = self.refused + other.refused, self.patches + other.patches
        return total


class Tracebacks(logging.Handler):
    """Collects log records with an exception: what somebody has caught and survived."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise HangError in this process's main thread when the block takes longer."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def try_case(documents: list[Any], chance: random.Random, tally: Tally) -> None:
    """Take one topology as far as it goes. Raises Failure."""
    text = yaml.safe_dump_all(documents, allow_unicode=True)
    tracebacks = Tracebacks()
    logging.getLogger("netlab").addHandler(tracebacks)
    tally.tried += 1
    try:
        with time_limit(HANG):
            if topology := accepted(text):
                tally.accepted += 1
                asyncio.run(through(topology, chance, tally))
    except (Exception, HangError) as error:
        cause = _first(error)
        where = traceback.extract_tb(cause.__traceback__)[-3:]
        raise Failure(f"{cause!r} at {[f'{frame.filename}:{frame.lineno}' for frame in where]}\n{text}") from error
    finally:
        logging.getLogger("netlab").removeHandler(tracebacks)
    if tracebacks.found:
        raise Failure(f"{tracebacks.found}\n{text}")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def accepted(text: str) -> Topology | None:
    """Return the topology, None when the front end refuses it in the right form."""
    try:
        return load([Source("f.yaml", text)])
    except InvalidTopologyError as error:
        lines = str(error).splitlines()
        bad = [line for line in lines if not line.startswith("f.yaml:") or line.split(":")[1:3] == ["0", "0"]]
        if bad or not lines or not all(line.isprintable() for line in lines):
            raise Failure(f"malformed lines {bad or lines}") from error
        return None


# ---- the control plane
class Plane:
    """The API server of one lab, its controllers, and hands that do the kubelet's and the agents' writing."""

    def __init__(self, lab: Lab, tally: Tally) -> None:
        networking = lab.spec.networking
        settings = ApiSettings(networking.service_subnet, networking.node_port_range)
        self.lab, self.tally = lab, tally
        self.store = Store.open(":memory:")
        self.client = LocalClient(Api(self.store, settings=settings, validate=LabRules(lab, self.store)))
        self.manager = Manager.over(self.client, self.store.last_change)

    def objects(self, resource: Resource[Any]) -> list[Any]:
        """Return the objects of a kind, decoded."""
        return [resource.decode(stored.body) for stored in self.store.list(resource)]

    async def idle(self, task: asyncio.Task[None]) -> None:
        """Wait for the controllers; an exception of theirs is raised."""
        waiting = asyncio.ensure_future(self.manager.wait_idle())
        await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            await task
        await waiting

    async def attempt(self, write: Any, what: str, counter: Counter[str]) -> Json:
        """Do a write; a refusal is counted, an internal error is raised."""
        try:
            answer: Json = await write
        except ApiError as error:
            if error.code >= 500:
                raise
            counter[f"{what}: {error.code}"] += 1
            return {}
        counter[f"{what}: done"] += 1
        return answer

    async def register_nodes(self) -> None:
        """Make the Node objects, as the lab's controller does."""
        labels = {node.name: node.labels for node in self.lab.spec.nodes}
        for host in plan_hosts(self.lab, ()).nodes:
            node = new_node(host, node_labels(host.name, labels[host.name]))
            await self.client.create(NODES, NODES.encode(node))

    async def nodes_report(self) -> None:
        """Write what kubelet and agents write about nodes that work."""
        for node in self.objects(NODES):
            ready_condition(node, True, {}, (), 0.0)
            status = msgspec.structs.replace(node.status, conditions=(Condition(type="Ready", status="True"),))
            body = NODES.encode(Node(status=status))["status"]
            await self.client.patch(NODES, node.metadata.name, {"status": body}, subresource="status")
            if missing := announcement(self.lab, node):
                await self.client.patch(NODES, node.metadata.name, {"metadata": {"annotations": missing}})

    async def pods_run(self) -> None:
        """Write the status of every bound pod as running and ready."""
        nodes = {node.metadata.name: node for node in self.objects(NODES)}
        numbers = {name: itertools.count(2) for name in nodes}
        for pod in self.objects(PODS):
            node = nodes.get(pod.spec.node_name)
            if node is None or not node.spec.pod_cidr:
                continue
            own = IPv4Network(node.spec.pod_cidr)
            address = (
                node.internal_ip if pod.spec.host_network else str(own[next(numbers[node.metadata.name]) % own.num_addresses])
            )
            view = PodView(address, node.internal_ip, True, False, 1.0, {c.name: running() for c in pod.spec.containers})
            done = {c.name: completed() for c in pod.spec.init_containers}
            status = pod_status(pod, PodView(**{**vars(view), "records": {**view.records, **done}}), 2.0)
            patch = {"status": status_body(status)}
            meta = pod.metadata
            write = self.client.patch(PODS, meta.name, patch, namespace=meta.namespace, subresource="status")
            await self.attempt(write, "status of a pod", self.tally.refused)


def running() -> containers.ContainerRecord:
    """Return the record of a container that runs."""
    return containers.started(containers.ContainerRecord(), now=1.0, readiness=initial(None))


def completed() -> containers.ContainerRecord:
    """Return the record of an init container that has done its work."""
    return containers.ended(running(), code=0, now=2.0, policy="Never", pod="p", name="c")


async def through(topology: Topology, chance: random.Random, tally: Tally) -> None:
    """Take an accepted topology through the control plane, then look at it from everywhere; and again after some writes."""
    plane = Plane(topology.lab, tally)
    task = asyncio.ensure_future(plane.manager.run())
    try:
        for change in apply.plan(topology.manifests, {}, BY_PLURAL):
            await plane.attempt(
                plane.client.create(change.resource, change.body, namespace=change.namespace), "create", tally.refused
            )
        await plane.register_nodes()
        for _ in range(2):
            await plane.idle(task)
            await plane.nodes_report()
            await plane.pods_run()
        await plane.idle(task)
        look(plane)
        for _ in range(PATCHES):
            await patch_something(plane, chance)
        await plane.idle(task)
        look(plane)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        plane.store.close()


async def patch_something(plane: Plane, chance: random.Random) -> None:
    """Write a mutated object, or its mutated status, over one that is there."""
    resource, stored = chance.choice([(r, s) for r, s in plane.store.all() if r is not LABS])
    body = {"kind": resource.kind, "apiVersion": resource.api_version, **stored.copy()}
    status = {"status": drawn(STATUS[resource.kind], "status", chance)} if resource.has_status and chance.random() < 0.5 else {}
    subresource = "status" if status and chance.random() < 0.8 else ""
    changed = {**preferred(body, chance), **status}
    write = plane.client.update(resource, changed, subresource=subresource) if _is_named(changed) else None
    if chance.random() < 0.5 or write is None:
        if write is not None:
            write.close()
        meta = body["metadata"]
        patch = {key: value for key, value in changed.items() if key not in body or body[key] != value}
        write = plane.client.patch(resource, meta["name"], patch, namespace=meta.get("namespace", ""), subresource=subresource)
    await plane.attempt(write, f"{'status' if subresource else 'object'} of {resource.kind}", plane.tally.patches)


def _is_named(body: Json) -> bool:
    """Tell whether a client can tell from a body where to send it."""
    meta = body.get("metadata")
    return (
        isinstance(meta, dict)
        and all(isinstance(meta.get(key, ""), str) for key in ("name", "namespace"))
        and bool(meta.get("name"))
    )


# ---- everybody who reads the objects
def look(plane: Plane) -> None:
    """Compute what every part computes from the objects there are."""
    objects = {resource.plural: plane.objects(resource) for resource in (*FIELDS.values(), SECRETS)}
    for node in objects["nodes"]:
        look_from_node(node, objects, plane.lab)
    look_from_edge(objects)
    ask_names(objects, plane.lab)
    for pod in objects["pods"]:
        look_into(pod, objects, plane.lab)
    listed = {resource.plural: [stored.body for stored in plane.store.list(resource)] for resource in LISTED}
    snapshot = Snapshot.decode(plane.lab.metadata.name, listed)
    plan(snapshot)
    choices(snapshot)


def look_from_node(node: Node, objects: dict[str, list[Any]], lab: Lab) -> None:
    """Do what an agent does: overlay, service ports, health checks, rules as text that nft takes."""
    services = build(objects["services"], objects["endpointslices"], node, Family.IPV4)
    health_check_answers(services)
    for part in parts(lab):
        with suppress(InvalidValueError):  # of the own Node object
            load_rules(part.wanted(View(node, tuple(objects["nodes"]), services)).tables)


def load_rules(rulesets: Iterable[Any]) -> None:
    """Give rules as text to the fake of nft, which refuses what it does not know."""
    kernel = FakeNft()
    for ruleset in rulesets:
        text = render(ruleset)
        bad = [line for line in text.splitlines() if not line.isprintable()]
        assert not bad, bad
        kernel.run(text)


def look_from_edge(objects: dict[str, list[Any]]) -> None:
    """Do what the edge does."""
    services, nodes = objects["services"], backends(objects["nodes"], Family.IPV4)
    found = offered(services, Family.IPV4)
    [frontend.check(node) for frontend in found.frontends for node in nodes]
    load_rules([compile_rules(Family.IPV4, Balancing(dict.fromkeys(found.frontends, nodes), nodes))])
    list(unserved(services, found.refused, Family.IPV4))
    [load_balancer_addresses(service, Family.IPV4) for service in services]


def ask_names(objects: dict[str, list[Any]], lab: Lab) -> None:
    """Ask the DNS server of a node."""
    hosts = next((c.data.get(HOST_NAMES_KEY, "") for c in objects["configmaps"] if c.key == HOST_NAMES), "")
    domain = lab.spec.networking.dns_domain
    zone = Zone.build(domain, objects["services"], objects["endpointslices"], objects["namespaces"], node_hosts_text=hosts)
    names = [f"{service.metadata.name}.{service.metadata.namespace}.svc.{domain}" for service in objects["services"][:20]]
    names += [
        f"_{p.name}._{p.protocol.lower()}.{n}" for s, n in zip(objects["services"], names, strict=False) for p in s.spec.ports
    ]
    names += [node.metadata.name for node in objects["nodes"][:2]]
    names += ["1.0.96.10.in-addr.arpa", "2.1.244.10.in-addr.arpa", f"none.default.svc.{domain}", domain, "."]
    for number, name in enumerate(filter(_is_askable, names)):
        query = dns.message.make_query(name, TYPES[number % len(TYPES)], use_edns=bool(number % 2))
        response = respond_to(query.to_wire(), zone, stream=bool(number % 3))
        assert response is not None, name
        dns.message.from_wire(response.wire)


def _is_askable(name: str) -> bool:
    try:
        dns.name.from_text(name)
    except dns.exception.DNSException:
        return False
    return True


def look_into(pod: Pod, objects: dict[str, list[Any]], lab: Lab) -> None:
    """Do what the kubelet does before it starts a pod's containers."""
    caches = {plural: {obj.key: obj for obj in found} for plural, found in objects.items()}
    cluster = Cluster(caches | {"leases": {}}, lab.spec.networking, lambda _pods: 0)
    address = pod.status.pod_ip or "10.244.1.9"
    try:
        texts = cluster.files(pod, address)
        name = texts["hostname"].strip()
        for container in (*pod.spec.init_containers, *pod.spec.containers):
            sources = cluster.sources(pod, address)
            environment = podfiles.environment(pod, container, sources, name=name, base={"PATH": podfiles.PATH})
            start(pod, container, environment, address)
    except ConfigError:
        return
    for text in texts.values():
        text.encode()


def start(pod: Pod, container: Container, environment: podfiles.Environment, address: str) -> None:
    """Compute the command line or the server of a container."""
    run = Run(pod, container, 0, "/run/netns/x", address, PodFiles(Path("/tmp")), environment)
    if not (server := builtin_of(container)):
        podfiles.command_line(container, environment.declared)
        return
    try:
        SERVERS[server](Process(server_spec(run)))
    except BadArgumentsError:
        return
