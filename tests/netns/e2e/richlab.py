"""The rich lab of test_semantics.py: who asks whom, in words, with real sockets made inside the lab's namespaces.

Who: `client`, `stranger`, `node2`, `pod2` (the caller pod of node2), or the beginning of a pod's name.
Whom: `cip:web` (the ClusterIP of Service web), `lb:web-local` (its load balancer address), `np3` (node3's own address),
or an address as it is; `:port` at the end, 80 if left out.
"""

from __future__ import annotations

import copy
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from labdriver import LabDriver

from netlab.api.resources import SERVICES
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.kernel.namespaces import inside
from netlab.lab.find import connect
from netlab.state import StateDirectory

BASE = tuple(yaml.safe_load_all((Path(__file__).parent / "semantics.yaml").read_text()))
CONTROLLED = {"web", "web2", "caller"}  # pods with made-up names
REFUSED, DROPPED, RESET, UNREACHABLE = "REFUSED", "DROPPED", "RESET", "UNREACHABLE"
SILENCE = 0.9  # seconds until an unanswered connection counts as dropped: a lost SYN is sent again after one
PATIENCE = 10  # seconds for an answer: a server may wait for its turn on a busy machine, the kernel does not
MOST_REQUESTS = 80  # to see every backend: one of three is missed by (2/3) ** 80


@dataclass(frozen=True)
class Answer:
    """What came back: who answered and the source address it saw, or an outcome in capitals as `server`."""

    server: str
    source: str = ""


@dataclass
class RichLab:
    """The lab and the file it follows: `up` takes the base file with a test's edits; `ask` sends a request."""

    driver: LabDriver
    file: Path
    documents: list = field(default_factory=list)
    _status: dict = field(default_factory=dict)

    def up(self, edit=lambda _documents: None):
        """Converge to the base file as edited; without an edit, back to the base file. Nothing happens if that is so."""
        documents = copy.deepcopy(list(BASE))
        edit(documents)
        if documents != self.documents:
            self.file.write_text(yaml.safe_dump_all(documents))
            self.driver.up(self.file)
            self.documents = documents
            self._status = self.driver.status()

    def service(self, name):
        return next(s for s in self._status["services"] if s["name"] == name)

    def pod(self, beginning):
        return next(p for p in self._status["pods"] if p["name"].startswith(beginning))

    def pod_name(self, who):
        """Return the name of a pod as `exec` takes it."""
        pod = self._pod_of(who)
        return f"{pod['namespace']}/{pod['name']}"

    def web(self, node):
        return next(p for p in self._status["pods"] if p["name"].startswith("web-") and p["node"] == node)

    def caller(self, node):
        return next(p for p in self._status["pods"] if p["name"].startswith("caller-") and p["node"] == node)

    def _pod_of(self, who):
        if who.startswith("pod") and who[3:].isdigit():
            return self.caller(f"node{who[3:]}")
        return None if who.startswith(("node", "client", "stranger")) else self.pod(who)

    def path(self, who):
        """Return the network namespace of a host or pod."""
        if pod := self._pod_of(who):
            return namespace_path(pod_namespace(self.driver.name, pod["namespace"], pod["name"]))
        return namespace_path(host_namespace(self.driver.name, who))

    def address(self, who):
        """Return the own address of a host or pod."""
        hosts = {"client": "203.0.113.10", "stranger": "203.0.113.11"}
        pod = self._pod_of(who)
        return pod["ip"] if pod else hosts.get(who) or f"172.30.1.{who[4:]}"

    def addresses(self, node):
        """Return all addresses a node may put on what it masquerades."""
        number = node[4:]
        return {f"172.30.1.{number}", f"10.244.{number}.0", f"10.244.{number}.1"}

    def target(self, whom):
        """Return the address and port meant."""
        kind, _, rest = whom.partition(":")
        name, _, port = rest.partition(":")
        if kind == "cip":
            return self.service(name)["clusterIP"], int(port or 80)
        if kind == "lb":
            return self.service(name)["externalIP"].split(",")[0], int(port or 80)
        return (f"172.30.1.{kind[2:]}" if kind.startswith("np") else kind), int(name or 80)

    @contextmanager
    def socket(self, who, kind=socket.SOCK_STREAM):
        """Make a socket inside a namespace; it stays there."""
        with inside(self.path(who)):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(SILENCE if kind == socket.SOCK_STREAM else PATIENCE)
        with made:
            yield made

    def ask(self, who, whom, path="/", method="GET"):
        """Send one HTTP request on a connection of its own."""
        with self.socket(who) as connection:
            try:
                connection.connect(self.target(whom))
                connection.settimeout(PATIENCE)
                connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            except OSError as error:
                return Answer(outcome(error))
        headers = dict(line.split(": ", 1) for line in text.partition("\r\n\r\n")[0].splitlines()[1:])
        return Answer(headers.get("X-Netlab-Pod", text), headers.get("X-Netlab-Client", "").rpartition(":")[0])

    def ask_datagram(self, connection):
        """Ask for a name on a connected UDP socket; return the first line of the answer, or what befell the question."""
        for _ in range(2):  # a refusal of before may be told first
            try:
                connection.send(b"hostname")
                answer = connection.recv(2000).decode().splitlines()[0]
            except PermissionError:  # so the kernel tells a sender on the node itself that its packet was rejected
                answer = REFUSED
            except OSError as error:
                answer = outcome(error)
        return answer

    def health(self, whom, service):
        """Ask a node's healthCheckNodePort of a Service as a load balancer does; return the HTTP code."""
        with connect(StateDirectory(self.driver.name, self.driver.state)) as client:
            port = client.get(SERVICES, service, namespace="default")["spec"]["healthCheckNodePort"]
        return self.http_code(f"{whom}:{port}", "/")

    def http_code(self, whom, path):
        """Return the code of the answer to the client's request."""
        with self.socket("client") as connection:
            connection.connect(self.target(whom))
            connection.settimeout(PATIENCE)
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return connection.recv(4096).decode().split()[1]

    def ask_often(self, who, whom, until):
        """Ask until all of `until` have answered, or somebody else has. Return who answered and what they saw."""
        servers, sources = set(), set()
        for _ in range(MOST_REQUESTS):
            answer = self.ask(who, whom)
            servers.add(self.name(answer.server))
            sources.add(answer.source)
            if not servers < until:
                break
        return servers, sources

    def name(self, server):
        """Return what a test calls a server: `web@node1` for a pod of a controller, its name for any other."""
        pod = next((p for p in self._status["pods"] if p["name"] == server), None)
        owner = server.partition("-")[0]
        return f"{owner}@{pod['node']}" if pod and owner in CONTROLLED else server


def outcome(error):
    """Return the word for what befell a connection."""
    words = {ConnectionRefusedError: REFUSED, TimeoutError: DROPPED, ConnectionResetError: RESET}
    return words.get(type(error), f"{UNREACHABLE} {error}")


class Load:
    """Connections one after the other from several askers, until the `with` block ends."""

    def __init__(self, rich, flows):
        self.answers = {flow: Counter() for flow in flows}
        self._rich = rich
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(flow,)) for flow in flows]

    def _run(self, flow):
        target = self._rich.target(flow[1])
        while not self._over.wait(0.005):
            self.answers[flow][self._rich.ask(flow[0], f"{target[0]}:{target[1]}").server] += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def failures(self):
        """Return what was not an answer, by flow."""
        return {flow: bad for flow, seen in self.answers.items() if (bad := {w: n for w, n in seen.items() if w.upper() == w})}
