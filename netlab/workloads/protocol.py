"""The messages between the kubelet and a node's workloads process: JSON lines over a Unix socket.

The kubelet sends the whole desired set (`Desired`), again and again, never a change; the process answers with the
whole state (`Report`) after each set and whenever something changes by itself. So either side may be restarted at
any moment: the next line makes things right. A run of a container is `(key, run)`: the same pair is left alone, so a
daemon that comes back finds its pods serving; a new run number is a restart.
"""

from __future__ import annotations

import msgspec

LONGEST_LINE = 64 << 20  # a desired set of a thousand servers with their environments


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One built-in workload of one container."""

    key: str  # "<pod uid>/<container>"
    run: int = 0
    pod: str
    namespace: str = "default"
    node: str = ""
    container: str = ""
    path: str  # of the network namespace
    address: str = ""  # the pod's
    server: str  # the catalog's word: color, kuard, ...
    args: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    ports: tuple[tuple[int, str], ...] = ()  # declared: number, TCP or UDP
    log: str = ""
    draining: bool = False  # the pod is terminating: each answer is the last one of its connection
    ending: bool = False  # no rule leads to the pod any more: serve the clients that have come, then end with code 0

    @property
    def identity(self) -> tuple[str, int]:
        return self.key, self.run


class Desired(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that shall run on a node. `version` comes back in the report."""

    version: int
    servers: tuple[ServerSpec, ...] = ()


class ServerStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a server fares: `code` is None while it runs; `busy` counts requests and connections being served."""

    key: str
    run: int = 0
    code: int | None = None
    message: str = ""
    busy: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of all servers of a node, after the desired set `version` has been carried out."""

    version: int
    servers: tuple[ServerStatus, ...] = ()


class WorkloadArguments(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a container of the workloads image: which server to be, and on which socket to report that it listens."""

    spec: ServerSpec
    ready: str
