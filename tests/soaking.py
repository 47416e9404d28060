"""The soak: a lab under traffic while everything about it changes, and what must be true of it afterwards.

Actors, each in a thread with its own client of the API, change one thing at a time with random pauses: replicas, labels, pods,
readiness, a Service. The main thread edits the topology file (a fourth node comes and goes) and kills agents, the edge and the
daemon. Traffic counts connections meanwhile: no try may be lost, since every change is one that a lab promises to make gently.
Workload servers are not killed: the connections to a server that is killed are lost by nature.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labdriver import LabDriver, run
from traffic import Flow, Traffic, request

from netlab.api.resources import DEPLOYMENTS, EVENTS, PODS, SERVICES
from netlab.controlplane.sync import SyncClient
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.errors import ApiError, LabError
from netlab.lab.find import connect
from netlab.state import StateDirectory

TOPOLOGY = Path(__file__).parent / "soak" / "soak.yaml"
FOURTH = ("    - {name: node3,", "    - {name: node4}\n    - {name: node3,")
NODES = ("node1", "node2", "node3")
PROCESSES = ("daemon", "edge", *(f"agent-{node}" for node in NODES))
WARM_UP = 0.3  # of the time: what is compared with the end is measured then
TOGETHER = 1.5  # seconds that the actors go on while `up` runs
RECENT = 6.0  # seconds before a loss whose changes are reported
CHURN = "set=churn"
PASSING = frozenset({404, 409, 503})  # the object has gone, has changed, or the daemon is away: the actor goes on


@dataclass
class Measures:
    """What a process of the lab takes."""

    descriptors: dict[str, int] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)  # MiB
    events: int = 0


@dataclass
class Soak:
    """A lab, the file it follows, and what is done to it."""

    driver: LabDriver
    file: Path
    done: Counter[str] = field(default_factory=Counter)
    troubles: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    rest: threading.Event = field(default_factory=threading.Event)  # the actors pause while it is set
    diary: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=100_000))  # when what was begun

    @classmethod
    def begin(cls, name: str, folder: Path) -> Soak:
        """Bring the lab up."""
        file = Path(shutil.copy(TOPOLOGY, folder / "soak.yaml"))
        soak = cls(LabDriver(name), file)
        soak.driver.up(file)
        return soak

    def path(self, host: str) -> str:
        return namespace_path(host_namespace(self.driver.name, host))

    @contextmanager
    def traffic(self) -> Iterator[Traffic]:
        """Ask from a pod, a node, the client and through the edge, for as long as the block runs."""
        web, names = self.driver.service("web"), self.driver.service("names")
        stable, edited = self.driver.service("stable")["clusterIP"], self.driver.service("edited")["clusterIP"]
        pod = namespace_path(pod_namespace(self.driver.name, "default", "asker"))
        outside, datagrams = (service["externalIP"].split(",")[0] for service in (web, names))
        flows = [
            Flow("pod to web", pod, (web["clusterIP"], 80)),
            Flow("node to web", self.path("node2"), (web["clusterIP"], 80)),
            Flow("client to web by the edge", self.path("client"), (outside, 80)),
            Flow("edge to stable", self.path("edge"), ("172.30.1.1", 30080)),
            Flow("pod to edited", pod, (edited, 80)),
            Flow("pod to names, UDP", pod, (names["clusterIP"], 81), "udp"),
            Flow("client to names, UDP", self.path("client"), (datagrams, 81), "udp"),
            Flow("pod to stable, kept", pod, (stable, 80), "kept"),
            Flow("client to stable, kept", self.path("client"), ("172.30.1.1", 30080), "kept"),
        ]
        with Traffic(flows, pause=0.01) as running:
            yield running

    @contextmanager
    def actors(self) -> Iterator[None]:
        """Run the actors for as long as the block runs."""
        threads = [threading.Thread(target=self._act, args=(actor,), name=actor.__name__) for actor in ACTORS]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def _act(self, actor: Callable[[Soak, SyncClient, random.Random], None]) -> None:
        chance = random.Random(actor.__name__)
        while not self.over.wait(PAUSES[actor.__name__] * chance.uniform(0.5, 1.5)):
            if self.rest.is_set():
                continue
            try:
                with connect(StateDirectory.of(self.driver.name)) as client:
                    self.note(actor.__name__)
                    actor(self, client, chance)
            except ApiError as error:
                if error.code not in PASSING:
                    self.troubles.append(f"{actor.__name__}: {error}")
            except (LabError, OSError):  # the daemon is away
                continue

    def note(self, what: str) -> None:
        """Count something that is done, and when."""
        self.done[what] += 1
        self.diary.append((time.time(), what))

    def before(self, moment: float) -> list[str]:
        """Return what was done just before a moment."""
        return [f"{what} {moment - when:.2f} s before" for when, what in self.diary if 0 <= moment - when < RECENT]

    def edit(self, chance: random.Random) -> None:
        """Add the fourth node to the file, or take it out, and bring the lab there."""
        text = TOPOLOGY.read_text()
        self.file.write_text(text.replace(*FOURTH) if chance.random() < 0.7 and FOURTH[1] not in self.file.read_text() else text)
        self.note("node4 comes" if FOURTH[1] in self.file.read_text() else "node4 goes or nothing")
        self.up()
        self.note("up is done")

    def kill(self, chance: random.Random) -> None:
        """Kill an agent, the edge or the daemon, and let `up` look after it."""
        process = chance.choice(PROCESSES)
        os.kill(self.driver.pid(process), signal.SIGKILL)
        self.note(f"kill {process}")
        if process == "daemon":
            self.up()

    def up(self) -> None:
        """Run `up`, which waits until everything is in place: so the actors go on for a moment, then pause until it is done."""
        pause = threading.Timer(TOGETHER, self.rest.set)
        pause.start()
        result = run("up", "--name", self.driver.name, self.file, check=None)
        pause.cancel()
        self.rest.clear()
        if result.returncode != 0:
            self.troubles.append(f"up: {result.stderr[-600:]}")

    def measures(self) -> Measures:
        """Return what the lab's processes take now."""
        found = Measures()
        for process in PROCESSES:
            pid = self.driver.pid(process)
            found.descriptors[process] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found.resident[process] = pages * os.sysconf("SC_PAGE_SIZE") >> 20
        with connect(StateDirectory.of(self.driver.name)) as client:
            found.events = len(client.list(EVENTS).items)
        return found

    def run(self, seconds: float) -> tuple[Measures, Measures]:
        """Change everything for so long; return what the lab took when it was warm, and at the end."""
        chance, start = random.Random(1), time.monotonic()
        warm = None
        with self.actors():
            while (elapsed := time.monotonic() - start) < seconds:
                if warm is None and elapsed > WARM_UP * seconds:
                    warm = self.measures()
                chance.choice((self.edit, self.edit, self.kill))(chance)
                time.sleep(min(chance.uniform(0, 3), max(0.0, seconds - elapsed)))
        return warm or self.measures(), self.measures()

    def come_to_rest(self) -> None:
        """Bring the lab back to its file: what the actors have made goes."""
        shutil.copy(TOPOLOGY, self.file)
        with connect(StateDirectory.of(self.driver.name)) as client:
            for pod in client.list(PODS, namespace="default", label_selector="set in (extra,other)").items:
                client.delete(PODS, pod["metadata"]["name"], namespace="default")
            client.patch(SERVICES, "edited", {"spec": PLAIN}, namespace="default")
        for address in moody(self.driver):
            request(self.path("node1"), (address, 8080), "/ready/api/ok", "POST")
        self.driver.up(self.file)


# ---- actors: one change each
def scale(_soak: Soak, client: SyncClient, chance: random.Random) -> None:
    client.patch(DEPLOYMENTS, "churn", {"spec": {"replicas": chance.choice((1, 2, 4, 6))}}, namespace="default")


def delete(_soak: Soak, client: SyncClient, chance: random.Random) -> None:
    """Delete a churning pod, half of the time with its label taken off before."""
    pods = client.list(PODS, namespace="default", label_selector=CHURN).items
    staying = [pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    if staying:
        name = chance.choice(staying)
        if chance.random() < 0.5:
            client.patch(PODS, name, {"metadata": {"labels": {"app": None, "udp": None}}}, namespace="default")
        client.delete(PODS, name, namespace="default")


def relabel(_soak: Soak, client: SyncClient, chance: random.Random) -> None:
    """Take a pod out of its ReplicaSet and the Services, or give one back."""
    others = client.list(PODS, namespace="default", label_selector="set=other").items
    pods = others or client.list(PODS, namespace="default", label_selector=CHURN).items
    if pods:
        labels = {"app": "web", "set": "churn", "udp": "yes"} if others else {"app": None, "set": "other", "udp": None}
        client.patch(PODS, chance.choice(pods)["metadata"]["name"], {"metadata": {"labels": labels}}, namespace="default")


def flip(soak: Soak, _client: SyncClient, chance: random.Random) -> None:
    """Tell a pod to fail its readiness probe, or to pass it."""
    if addresses := moody(soak.driver):
        path = chance.choice(("/ready/api/fail", "/ready/api/ok"))
        request(soak.path("node1"), (chance.choice(addresses), 8080), path, "POST")


def extra(_soak: Soak, client: SyncClient, chance: random.Random) -> None:
    """Make a pod of no controller, or delete one."""
    pods = client.list(PODS, namespace="default", label_selector="set=extra").items
    if len(pods) > 3:
        client.delete(PODS, chance.choice(pods)["metadata"]["name"], namespace="default")
        return
    image, port = "registry.k8s.io/e2e-test-images/agnhost", {"name": "http", "containerPort": 80}
    container: dict[str, Any] = {
        "name": "c",
        "image": image,
        "args": ["netexec", "--http-port=80", "--udp-port=81"],
        "ports": [port],
    }
    meta = {"generateName": "extra-", "labels": {"set": "extra", "app": "web"}}
    client.create(
        PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}, namespace="default"
    )


def service(_soak: Soak, client: SyncClient, chance: random.Random) -> None:
    """Edit a Service: other ports come and go, its type and affinity change; its address and port 80 stay."""
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    ports += [{"name": f"p{n}", "port": 1000 + n, "targetPort": "http"} for n in range(chance.choice((0, 1, 3)))]
    spec = {
        "ports": ports,
        "type": chance.choice(("ClusterIP", "NodePort")),
        "sessionAffinity": "ClientIP",
    }
    if chance.random() < 0.5:
        spec |= {"sessionAffinity": "None", "sessionAffinityConfig": None}
    client.patch(SERVICES, "edited", {"spec": spec}, namespace="default")


# What `service` edits, as in the file; `up` leaves alone what the file does not mention.
PLAIN = {
    "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    "type": "ClusterIP",
    "sessionAffinity": "None",
    "sessionAffinityConfig": None,
}
ACTORS = (scale, delete, relabel, flip, extra, service)
PAUSES = {"scale": 0.6, "delete": 0.7, "relabel": 0.7, "flip": 1.0, "extra": 1.0, "service": 1.0}  # seconds, on average


def moody(driver: LabDriver) -> list[str]:
    """Return the addresses of the pods whose readiness can be changed."""
    with connect(StateDirectory.of(driver.name)) as client:
        pods = client.list(PODS, namespace="default", label_selector="set=moody").items
    return [pod["status"]["podIP"] for pod in pods if pod["status"].get("podIP")]


# ---- afterwards
def picture(lab: str) -> dict[str, list[str]]:
    """Return rules, FDB and routes of every node, without what differs between two labs that do the same."""
    found = {}
    for node in NODES:
        inside = ("ip", "netns", "exec", host_namespace(lab, node))
        for name, command in {
            "nft": "nft -s list ruleset",
            "fdb": "bridge fdb show dev flannel.1",
            "routes": "ip route show table all",
            "neighbours": "ip neigh show dev flannel.1",
        }.items():
            lines = re.split(
                r"[\n,{}]|elements =", output(*inside, *command.split())
            )  # nft breaks lists into lines by their length
            found[f"{node} {name}"] = sorted(filter(None, map(normal, lines)))
    return found


NORMAL = (
    (r"(?<!\d)10\.244\.\d+\.\d+\b(?!/24)", "POD"),
    (r"\b10\.96\.\d+\.\d+\b", "SERVICE"),
    (r"\b198\.51\.100\.\d+\b", "BALANCER"),
    (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "MAC"),
    (r"\b[A-Z0-9]{8}-", "HASH-"),
    (r"\b3[0-2]\d{3}\b", "NODEPORT"),
    (r"^\s*\d+ : goto", "N : goto"),  # the place of an endpoint among those of its Service
    (r"\b(REACHABLE|STALE|DELAY|PROBE|NOARP|PERMANENT)\b", ""),
    (r"veth\w+|nl\w{6,}", "VETH"),
    (r"fe80::\S+", "LINKLOCAL"),
)


def normal(line: str) -> str:
    """Return a line without addresses, hashes and states."""
    for pattern, word in NORMAL:
        line = re.sub(pattern, word, line)
    return " ".join(line.split())


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def report(soak: Soak, traffic: Traffic, warm: Measures, end: Measures) -> str:
    """Return the figures of a soak."""
    losses = [
        f"{name} at {moment:.2f}: {soak.before(moment)}" for name, tally in traffic.tallies.items() for moment in tally.times
    ]
    return "\n".join(
        (
            traffic.table(),
            *losses[:20],
            f"done: {json.dumps(dict(soak.done))}",
            f"fds: warm {warm.descriptors}, end {end.descriptors}",
            f"MiB: warm {warm.resident}, end {end.resident}",
            f"Events: warm {warm.events}, end {end.events}",
            f"troubles: {soak.troubles}",
        )
    )
