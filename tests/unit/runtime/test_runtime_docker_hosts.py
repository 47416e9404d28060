"""Hosts as containers: what is asked of the engine, what is bound and wired, and what is mended."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from netlab.api.lab import HostStatus, Lab, LabClient, LabNode, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.dataplane.fabric import UNDERLAY
from netlab.dataplane.state import Bridge, Link, NamespaceState, Operation, Route, Verb
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import LAB_LABEL, NO_NETWORK, ROLE_LABEL, STATE_LABEL, NetworkSpec
from netlab.errors import LabError
from netlab.hosts import docker
from netlab.hosts.docker import DockerRuntime
from netlab.hosts.docker_network import CANDIDATES, choose_network
from netlab.hosts.hosts import plan_hosts
from netlab.kernel.fake import FakeKernel
from netlab.state import StateDirectory

IMAGES = {role: f"netlab/{role}:1" for role in ("node", "edge", "client", "workloads")}
HOSTS = ["client", "edge", "fabric", "node1", "node2"]
NETNS = "/run/netns/demo-"


class MachineKernel(FakeKernel):
    """Where Docker has put an interface of its own into a namespace that is bound under the fabric's name."""

    def bind_namespaces(self, sources):
        bound = super().bind_namespaces(sources)
        for path in bound:
            if path == f"{NETNS}fabric":
                self.perform(path, [Operation(Verb.ADD, Link("eth0", Bridge()))])
        return bound


@dataclass
class Scene:
    """A lab with two nodes and a client on an engine and a kernel in memory."""

    state: StateDirectory
    engine: FakeEngine = field(default_factory=lambda: FakeEngine(images={tag: {} for tag in IMAGES.values()}))
    kernel: MachineKernel = field(default_factory=MachineKernel)
    lost: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state.create()
        self.state.images_file.write_text(str(IMAGES).replace("'", '"'))
        self.runtime = DockerRuntime(self.engine, self.kernel, self.state, lambda host: self.state.tokens / host)
        nodes, clients = (LabNode(name="node1"), LabNode(name="node2")), (LabClient(name="client"),)
        self.lab = Lab(metadata=ObjectMeta(name="demo"), spec=LabSpec(runtime="docker", nodes=nodes, clients=clients))
        self.hosts: tuple[HostStatus, ...] = plan_hosts(self.lab, ()).wanted
        self.runtime.watch(lambda: self.lost.append(1))

    def converge(self) -> int:
        return self.runtime.converge(self.lab, self.hosts)

    def container(self, host):
        return next(c for c in self.engine.containers({LAB_LABEL: "demo"}) if c.labels["netlab/owner"] == host)

    def spec(self, host):
        return self.engine.specs[self.container(host).id]

    def addresses(self, host):
        return [a.address for a in self.kernel.observe(f"{NETNS}{host}").addresses if a.device != "lo"]


@pytest.fixture
def scene(tmp_path) -> Scene:
    return Scene(StateDirectory("demo", tmp_path / "demo"))


def test_a_lab_is_made_and_then_left_alone(scene: Scene) -> None:
    """One container per host, each bound, wired and on record; a second look finds nothing to do."""
    assert scene.converge() > 0

    running = scene.engine.containers({LAB_LABEL: "demo"})

    assert [c.labels["netlab/owner"] for c in running] == HOSTS
    assert scene.state.recorded_namespaces() == tuple(f"demo-{host}" for host in HOSTS)
    assert [scene.addresses(host) for host in HOSTS] == [
        ["203.0.113.10/24"],
        ["172.30.0.1/16", "203.0.113.1/24"],
        ["172.30.0.2/16"],
        ["172.30.1.1/16"],
        ["172.30.1.2/16"],
    ]
    assert scene.converge() == 0


def test_the_networks_segment_is_the_underlay(scene: Scene) -> None:
    """Only the fabric is on the lab's network, and its interface there is a port of the underlay."""
    scene.converge()
    ports = {link.name: link.master for link in scene.kernel.observe(f"{NETNS}fabric").links}

    assert [network.subnets for network in scene.engine.networks({LAB_LABEL: "demo"})] == [("172.30.0.0/16",)]
    assert {host: scene.spec(host).network for host in HOSTS} == {**dict.fromkeys(HOSTS, NO_NETWORK), "fabric": "netlab_demo"}
    assert ports["eth0"] == UNDERLAY
    assert scene.spec("fabric").stop_signal == "SIGKILL"  # `sleep` as the first process would ignore SIGTERM for ten seconds


CAPABILITIES = {
    "fabric": set(),
    "client": {"NET_RAW", "SETUID", "SETGID", "KILL"},
    "edge": {"NET_RAW", "SETUID", "SETGID", "KILL", "NET_ADMIN", "NET_BIND_SERVICE"},
    "node1": {"NET_RAW", "SETUID", "SETGID", "KILL", "NET_ADMIN", "NET_BIND_SERVICE"},
}


@pytest.mark.parametrize("host", CAPABILITIES)
def test_what_a_host_may_do(scene: Scene, host: str) -> None:
    """Each role has just the capabilities that docs/docker.md lists, and no way to more."""
    scene.converge()

    assert set(scene.spec(host).capabilities) == CAPABILITIES[host]
    assert scene.spec(host).no_new_privileges


@pytest.mark.parametrize(("host", "tokens"), [("fabric", []), ("client", []), ("edge", ["edge"]), ("node1", ["node1"])])
def test_what_a_host_is_given(scene: Scene, host: str, tokens: list[str]) -> None:
    """A host is given its own token and nobody else's, nothing that it could write, and no socket."""
    scene.converge()
    mounts = scene.spec(host).mounts
    folder = str(scene.state.tokens)

    assert [m.source.removeprefix(f"{folder}/") for m in mounts if m.source.startswith(folder)] == tokens
    assert not any(mount.writable or mount.source.endswith(".sock") or mount.source == folder for mount in mounts)


LOSSES = [
    ("removed", "node1", lambda engine, container: engine.remove([container.id])),
    ("ended", "node2", lambda engine, container: engine.end(container.id, 137)),
    ("fabric removed", "fabric", lambda engine, container: engine.remove([container.id])),
    ("edge ended", "edge", lambda engine, container: engine.end(container.id)),
    ("network pruned", "fabric", lambda engine, container: (engine.end(container.id), engine.remove_network("netlab_demo"))),
    ("engine restarted", "client", lambda engine, _: engine.lose()),
]


@pytest.mark.parametrize(("host", "lose"), [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES])
def test_what_is_lost_comes_back_with_its_address(scene: Scene, host: str, lose) -> None:
    """A lost container is told of, runs again in a new namespace, and has the address it had."""
    scene.converge()
    before, addresses = scene.container(host), scene.addresses(host)
    lose(scene.engine, before)

    assert scene.lost

    assert scene.converge() > 0
    assert scene.container(host).pid != before.pid
    assert scene.addresses(host) == addresses
    assert all(container.runs for container in scene.engine.containers({LAB_LABEL: "demo"}))
    assert scene.converge() == 0


def test_what_was_paused_goes_on(scene: Scene) -> None:
    """A host that somebody paused has its namespace and its address: it is resumed, and that counts as a change."""
    scene.converge()
    before = scene.container("node1")
    scene.engine.pause(before.id)

    assert scene.converge() == 1
    assert scene.container("node1") == before
    assert scene.converge() == 0


def test_a_fabric_that_was_taken_off_the_network(scene: Scene) -> None:
    """It is made anew, on the network."""
    scene.converge()
    before = scene.container("fabric")
    scene.engine.disconnect(before.id)

    assert scene.converge() > 0
    assert (scene.container("fabric").id != before.id, scene.container("fabric").networks) == (True, before.networks)
    assert scene.converge() == 0


def test_with_the_fabric_every_agent_begins_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection with the API server has no other end any more, and nothing tells it so; a new host's agent is new."""
    ended: list[int] = []
    monkeypatch.setattr(docker, "children", lambda pid: (-pid,))
    monkeypatch.setattr(docker, "start_time", lambda _pid: 1)
    monkeypatch.setattr(docker, "end", lambda pid, *_: ended.append(-pid))
    scene.converge()
    scene.engine.remove([scene.container("node2").id])
    scene.converge()
    before = list(ended)
    scene.engine.remove([scene.container("fabric").id, scene.container("node2").id])
    scene.converge()

    assert before == []
    assert sorted(ended) == sorted(scene.container(host).pid for host in ("edge", "node1"))


def test_a_host_stands_while_its_container_runs(scene: Scene, monkeypatch) -> None:
    """What is known of the process tells, and not the namespace that its name keeps; also another process of its number."""
    starts: dict[int, int] = {}
    monkeypatch.setattr("netlab.hosts.docker.start_time", lambda pid: starts.get(pid, 1))

    assert not scene.runtime.stands("node1")

    scene.converge()
    before = scene.container("node1")

    assert [scene.runtime.stands(host) for host in HOSTS] == [True] * len(HOSTS)
    assert DockerRuntime(scene.engine, scene.kernel, scene.state, lambda host: scene.state.tokens / host).stands("node1")

    starts[before.pid] = 2

    assert [host for host in HOSTS if not scene.runtime.stands(host)] == ["node1"]
    assert scene.kernel.namespace_exists(f"{NETNS}node1")

    scene.engine.end(before.id)
    scene.converge()

    assert scene.runtime.stands("node1")


def test_pods_ending_are_no_loss_of_hosts(scene: Scene) -> None:
    """Only containers of hosts are listened to."""
    scene.converge()
    pod = {**scene.spec("client").labels, ROLE_LABEL: "container"}
    from dataclasses import replace

    [container] = scene.engine.start([replace(scene.spec("client"), name="pod", labels=pod)])
    scene.engine.end(container.id)

    assert scene.lost == []


def test_a_host_that_leaves(scene: Scene) -> None:
    """Its container, its name and its record go; the others stay."""
    scene.converge()
    scene.runtime.remove("demo", [host for host in scene.hosts if host.name == "node2"])

    assert [c.labels["netlab/owner"] for c in scene.engine.containers({LAB_LABEL: "demo"})] == HOSTS[:-1]
    assert not scene.kernel.namespace_exists(f"{NETNS}node2")
    assert "demo-node2" not in scene.state.recorded_namespaces()


def test_a_strangers_namespace_is_not_taken(scene: Scene) -> None:
    """A name that exists without a record is somebody else's."""
    scene.kernel.create_namespaces([f"{NETNS}node1"])

    with pytest.raises(LabError, match="not created by lab 'demo': demo-node1"):
        scene.converge()


# ---- which subnet
TAKEN = NetworkSpec("other", "172.30.0.0/16", "172.30.0.3", {LAB_LABEL: "first", STATE_LABEL: "/run"})
MINE = NetworkSpec("netlab_demo", "172.25.0.0/16", "172.25.0.3", {LAB_LABEL: "demo", STATE_LABEL: "/run"})
ROUTE_OF_NODES = NamespaceState(routes=(Route("172.30.7.0/24", "eth0"),))
ROUTE = NamespaceState(routes=(Route("172.29.4.0/24", "eth0"), Route("0.0.0.0/0", "eth0", gateway="192.0.2.1")))


@pytest.mark.parametrize(
    ("networks", "machine", "subnet"),
    [
        pytest.param([], NamespaceState(), "172.30.0.0/16", id="free"),
        pytest.param([TAKEN], NamespaceState(), "172.29.0.0/16", id="another lab's"),
        pytest.param([TAKEN], ROUTE, "172.28.0.0/16", id="a route of the machine"),
        pytest.param([MINE], NamespaceState(), "172.25.0.0/16", id="left by an `up` that was killed"),
    ],
)
def test_a_free_subnet_is_taken(scene: Scene, networks, machine, subnet) -> None:
    """The first range that nobody has; the network that keeps it is made at once."""
    for spec in networks:
        scene.engine.create_network(spec)

    assert choose_network(scene.engine, machine, scene.lab, "/run", stated=False) == subnet
    assert [network.subnets for network in scene.engine.networks({LAB_LABEL: "demo"})] == [(subnet,)]


def test_a_network_left_with_another_subnet(scene: Scene) -> None:
    """Who states another subnet than the lab's last `up`, which was killed, gets it."""
    scene.engine.create_network(MINE)

    assert choose_network(scene.engine, NamespaceState(), scene.lab, "/run", stated=True) == "172.30.0.0/16"
    assert [network.subnets for network in scene.engine.networks({LAB_LABEL: "demo"})] == [("172.30.0.0/16",)]


@pytest.mark.parametrize(
    ("networks", "machine", "holder"),
    [
        pytest.param([TAKEN], NamespaceState(), "the Docker network other of lab first", id="network"),
        pytest.param(
            [], NamespaceState(routes=(Route("172.30.7.0/24", "eth0"),)), "the machine's route to 172.30.7.0/24", id="route"
        ),
    ],
)
def test_a_stated_subnet_that_is_taken(scene: Scene, networks, machine, holder) -> None:
    """The holder is named, and nothing is made."""
    for spec in networks:
        scene.engine.create_network(spec)

    with pytest.raises(LabError, match=f"nodeSubnet: 172.30.0.0/16 overlaps with {holder}"):
        choose_network(scene.engine, machine, scene.lab, "/run", stated=True)
    assert scene.engine.networks({LAB_LABEL: "demo"}) == []


class Crowded(FakeEngine):
    """An engine where somebody else makes a network between one's look and one's wish."""

    def create_network(self, spec):
        if not self.networks({LAB_LABEL: "first"}):
            super().create_network(TAKEN)
        return super().create_network(spec)


@pytest.mark.parametrize("stated", [False, True])
def test_two_at_the_same_moment(scene: Scene, stated: bool) -> None:
    """Whom the engine refuses a subnet that was free a moment ago takes the next, or is told when none but this will do."""
    engine = Crowded()
    if stated:
        with pytest.raises(LabError, match=r"172\.30\.0\.0/16 overlaps with a network that another client has just created"):
            choose_network(engine, NamespaceState(), scene.lab, "/run", stated=True)
    else:
        assert choose_network(engine, NamespaceState(), scene.lab, "/run", stated=False) == "172.29.0.0/16"
    assert [network.name for network in engine.networks({})] == (["other"] if stated else ["netlab_demo", "other"])


def test_no_subnet_is_free(scene: Scene) -> None:
    """Who has taken all of them must say which one."""
    for number, subnet in enumerate(CANDIDATES):
        scene.engine.create_network(NetworkSpec(f"n{number}", subnet, ""))

    with pytest.raises(LabError, match="are in use"):
        choose_network(scene.engine, NamespaceState(), scene.lab, "/run", stated=False)
