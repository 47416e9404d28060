"""Keeps a node's rules for Services and for what leaves the pod network; conntrack forgets what went by others (semantics 6.18).

Rules first, flows after: the next packet of a forgotten flow must meet the new rules. Flows go astray in two ways: the Services
have changed (`proxy.conntrack` knows which flows that concerns), or somebody else has changed rules. Then a flow may have been
sent anywhere meanwhile, and would stay there when the rules are right again, as would another client that happens to take its
port. So all UDP flows to Services are forgotten at the resync that finds it out; one that was right is translated anew at its
next packet.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from netlab.api.cluster import Node
from netlab.api.lab import Networking
from netlab.dataplane.flows import FlowFilter
from netlab.kernel.door import UNTOUCHED, Kernel
from netlab.kernel.tables import TableKeeper
from netlab.proxy.conntrack import stale_flows
from netlab.proxy.frame import FAMILY, TABLE
from netlab.proxy.node_tables import NodeTables
from netlab.proxy.servicemap import ServicePortMap

log = logging.getLogger("netlab.node")


class RulesKeeper:
    """The tables of one node's namespace. All calls block."""

    def __init__(self, kernel: Kernel, path: str, networking: Networking) -> None:
        self._kernel = kernel
        self._path = path
        self._networking = networking
        self._tables = TableKeeper(kernel, path)
        self._wanted: NodeTables | None = None
        self._services: ServicePortMap | None = None  # those whose rules the kernel holds, as far as is known

    @property
    def refused(self) -> Mapping[str, Exception]:
        """What was left out of the tables: `service ns/name`, or the own node for flannel's table."""
        if self._wanted is None:
            return {}
        services = self._tables.refused(FAMILY, TABLE)
        return self._wanted.refused | {f"service {key}": error for key, error in services.items()}

    def keep(self, node: Node, services: ServicePortMap, *, resync: bool = False) -> None:
        """Write the rules of these Services. Raises KernelError or InvalidValueError; the next call then looks afresh."""
        had_rules = self._kernel.nft_generation(self._path) != UNTOUCHED  # without rules no flow is tracked
        if self._wanted is None:
            self._wanted = NodeTables(node, self._networking)
        self._tables.keep(*self._wanted.wanted(node, services), resync=resync)
        stale = self._stale(node, services) if had_rules else ()
        if stale:
            count = self._kernel.delete_flows(self._path, stale)
            log.debug("flows=forgotten node=%s count=%d", node.metadata.name, count)
        self._services = services

    def _stale(self, node: Node, services: ServicePortMap) -> tuple[FlowFilter, ...]:
        stale = stale_flows(self._services, services, [node.internal_ip])
        if self._tables.was_unknown(FAMILY, TABLE):
            stale += stale_flows(None, services, [node.internal_ip])
        return tuple(dict.fromkeys(stale))
