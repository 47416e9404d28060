"""The modes of the service proxy: what a node holds so that Services are reached.

A mode is made for one node and asked again after each change of Services or endpoints; it may keep
what it computed before. Health checks, DNS and the choice of endpoints are the same in all modes.

A new mode is a module with a class of this form and a row of `MODES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from netlab.api.values import Ip
from netlab.dataplane.flows import AnyAddress, FlowFilter
from netlab.netfilter.ruleset import Ruleset
from netlab.proxy.conntrack import stale_flows
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.nftables import NftablesCompiler
from netlab.proxy.serviceport import ServicePortMap


class Mode(Protocol):
    """How a node's kernel carries packets to the endpoints of Services."""

    def tables(self, services: ServicePortMap) -> tuple[Ruleset, ...]:
        """Return the nft tables that serve these Services."""

    def stale_flows(
        self,
        before: ServicePortMap | None,
        now: ServicePortMap,
        node_addresses: Sequence[Ip | AnyAddress],
    ) -> tuple[FlowFilter, ...]:
        """Return the flows to forget after the rules of `now` replaced those of `before`.

        None as `before`: the former rules are not known.
        """


class NftablesMode:
    """kube-proxy's mode nftables: one table."""

    def __init__(self, config: ProxyConfig) -> None:
        self._compiler = NftablesCompiler(config)

    def tables(self, services: ServicePortMap) -> tuple[Ruleset, ...]:
        """Return the table `ip kube-proxy`."""
        return (self._compiler.compile(services),)

    def stale_flows(
        self,
        before: ServicePortMap | None,
        now: ServicePortMap,
        node_addresses: Sequence[Ip | AnyAddress],
    ) -> tuple[FlowFilter, ...]:
        """Return the UDP flows that the former rules translated otherwise."""
        return stale_flows(before, now, node_addresses)


MODES: Final[Mapping[str, Callable[[ProxyConfig], Mode]]] = {
    "nftables": NftablesMode,
}
