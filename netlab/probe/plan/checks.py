"""A check as a value: who does what to whom, and what must come of it.

`plan` makes checks from the API's objects, `runner` carries out their action, `verdict` compares. An action is one of

- Reach: a packet to a place, answered by the runner's own socket there: proves the network, whatever the workload.
- Visit: a connection or datagram to an address of a Service, answered by the real workload.
- Ask: one DNS question.
- LookUp: a name as a program gives it to its pod's resolver, which tries it with the search list of its resolv.conf.

Expected sources are sets, since "the node's address" depends on the way out (`expectation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.sampling import draws

STICKY_ATTEMPTS = 10


class Kind(Enum):
    """What sort of host a place is. NOWHERE is an address that no host of the lab has."""

    POD = "pod"
    NODE = "node"
    CLIENT = "client"
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class Place:
    """Somewhere in the lab with a network namespace and an address.

    `name` is a host's name or a pod's `namespace/name`; `namespace` the network namespace's name; `node` the node it
    is on (a node is on itself). A hostNetwork pod has its node's namespace and address and is of kind NODE in all
    that matters to packets (semantics 1.7).
    """

    kind: Kind
    name: str
    namespace: str
    address: str
    node: str = ""


@dataclass(frozen=True)
class Reach:
    """Exchange one message with the runner's own socket at `target`. `size` is a UDP payload sent with DF, 0 for any."""

    protocol: str
    target: Place
    address: str = ""  # when it is not the target's own
    name: str = ""  # looked up first, when given
    size: int = 0


class Talk(Enum):
    """How to speak to a workload: HTTP, plain echo, agnhost's UDP words, or only open a connection."""

    HTTP = "http"
    ECHO = "echo"
    AGNHOST = "agnhost"
    SILENT = "silent"


@dataclass(frozen=True)
class Visit:
    """Open connections to a Service's address; `name` is looked up first, when given.

    `stand_ins` are the endpoints on hosts outside the cluster, where nothing listens unless the runner does.
    """

    protocol: str
    address: str
    port: int
    talk: Talk = Talk.SILENT
    name: str = ""
    stand_ins: tuple[tuple[Place, int], ...] = ()


@dataclass(frozen=True)
class Ask:
    """One question to the DNS server at `server`, over UDP or TCP. `stays`: an answer from the asker's own node is due."""

    protocol: str
    server: str
    name: str
    type: str
    stays: bool = True


@dataclass(frozen=True)
class LookUp:
    """The address of a name, asked for as the pod's own resolver would (semantics 11.20, 11.23)."""

    name: str
    protocol: str = "UDP"


Action = Reach | Visit | Ask | LookUp


@dataclass(frozen=True)
class Encapsulation:
    """The VXLAN header that must be around the packet between two nodes (semantics 2.24); empty addresses: none may be."""

    source: str = ""
    destination: str = ""
    port: int = 0
    vni: int = 0


@dataclass(frozen=True)
class Expectation:
    """What must come of an action, and why.

    `outcomes`: any of these; the first is the one to expect. `sources`: for each backend (`address:port`; empty for the
    runner's own socket) the source addresses that it may see. `chances`: for each backend the probability that a connection
    gets it. `every`: all backends must be seen to answer. `sticky`:
    one and the same backend must answer all connections. `until`: connect until this backend has answered.
    `nodes`: all of these must be seen to take connections. `ends`: the place at which a packet that must not get through
    ends. `answers`: what a DNS answer must hold, e.g. `A 10.96.0.10`, all of it when `exact`. `response_codes`: e.g. NOERROR.
    """

    outcomes: tuple[Outcome, ...]
    reason: str = ""
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    chances: Mapping[str, float] = field(default_factory=dict)
    every: bool = False
    sticky: bool = False
    until: str = ""
    nodes: frozenset[str] = frozenset()
    ends: str = ""
    encapsulation: Encapsulation | None = None
    answers: frozenset[str] = frozenset()
    exact: bool = True
    response_codes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return self.outcomes[0]

    @property
    def backends(self) -> tuple[str, ...]:
        return tuple(sorted(b for b in self.sources if b))

    @property
    def wanted(self) -> frozenset[str]:
        """The backends that must be seen to answer."""
        return frozenset(self.backends) if self.every else frozenset({self.until} - {""})

    @property
    def attempts(self) -> int:
        """The most connections that the check makes to see all that it must see (`sampling`)."""
        if self.sticky:
            return STICKY_ATTEMPTS
        return draws([*(self.chances[backend] for backend in self.wanted), *(1 / len(self.nodes) for _ in self.nodes)])


@dataclass(frozen=True)
class Check:
    """One row of the matrix. `path` is the path class, `subject` the Service or name it is about, if any."""

    path: str
    source: Place
    action: Action
    expectation: Expectation
    target: str
    subject: str = ""

    @property
    def id(self) -> str:
        """`class/source->target/protocol`, unique within a plan, fit for globs."""
        size = f"/{self.action.size}B" if isinstance(self.action, Reach) and self.action.size else ""
        return f"{self.path}/{self.source.name}->{self.target}/{self.action.protocol}{size}"
