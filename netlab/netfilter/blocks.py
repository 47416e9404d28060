"""The parts that every load-balancing table has: the node's (`proxy`) and the edge's. Pure.

A connection to the address of a Service takes the same way in both tables. Each step is one block:

    dispatch     a map: address . protocol . port -> chain   `Dispatch`, `by_address`, `BY_PORT`
    restrict     drop clients outside the source ranges      `only_from`
    refuse       answer that nothing serves the port         `REJECT`, `reject_chain`
    balance      to the target that remembers the client,    `Target`, `affinity_sets`, `balance`
                 else to any target at random
    translate    remember the client, DNAT                   `Target.remember`, `dnat`
    masquerade   mark the packet on the way, translate its   `MARK_FOR_MASQUERADE`, `MARKING`,
                 source when it leaves                       `MASQUERADE_MARKED`

The words are those of kube-proxy in nftables mode (semantics 8.3, 8.4, 8.6, 8.7, 8.9, 8.10). A compiler
decides which blocks a Service needs and in what order; the blocks do not know Services. A block
with an address takes the family of its table.

What would surprise you
    - `numgen random mod n` with n branches gives every target the same chance (semantics 18.9). The
      iptables mode needs a falling series of probabilities for that.
    - Session affinity costs one set per target, because a set answers only "is this client in it?".
      All sets are asked before the draw; each new connection renews the entry, and an entry leaves
      its set after `affinity_timeout` seconds without one.
    - The mark is cleared before the packet leaves: VXLAN would copy it to the outer packet, which
      would then be masqueraded, too (semantics 18.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.family import Family
from netlab.netfilter.ruleset import (
    DNAT_PRIORITY,
    SNAT_PRIORITY,
    Base,
    Chain,
    ChainType,
    Hook,
    Set,
)

# Where addresses are translated: of packets from elsewhere, of the host's own, of all that leave.
NAT_PREROUTING = Base(ChainType.NAT, Hook.PREROUTING, DNAT_PRIORITY)
NAT_OUTPUT = Base(ChainType.NAT, Hook.OUTPUT, DNAT_PRIORITY)
NAT_POSTROUTING = Base(ChainType.NAT, Hook.POSTROUTING, SNAT_PRIORITY)

MASQUERADE = "masquerade fully-random"
MASQUERADE_MARK = "0x4000"  # bit 14: this packet's source must be replaced by the host's
MARKING = Chain("mark-for-masquerade", (f"meta mark set meta mark | {MASQUERADE_MARK}",))
MARK_FOR_MASQUERADE = f"jump {MARKING.name}"
MASQUERADE_MARKED = (  # the rules of a chain at NAT_POSTROUTING
    f"meta mark & {MASQUERADE_MARK} == 0 return",
    f"meta mark set meta mark ^ {MASQUERADE_MARK}",
    MASQUERADE,
)
REJECTING = "reject-chain"
REJECT = f"goto {REJECTING}"


@dataclass(frozen=True)
class Dispatch:
    """A kind of map from where a packet goes to the verdict about it.

    The type of the map, the expression of the rule that asks it, and the keys of its elements
    (`concatenation`) list the same fields in the same order.
    """

    type: str
    expression: str

    def map(self, name: str, comment: str = "") -> Set:
        """Return a map of this kind."""
        return Set(name, f"{self.type} : verdict", comment=comment)

    def look_up(self, name: str) -> str:
        """Return the rule that applies the verdict of a map, if the map has one for the packet."""
        return f"{self.expression} vmap @{name}"


BY_PORT = Dispatch("inet_proto . inet_service", "meta l4proto . th dport")


def by_address(family: Family) -> Dispatch:
    """Return the kind of map that has the address in its key before the fields of `BY_PORT`."""
    expression = f"{family.nft} daddr . {BY_PORT.expression}"
    return Dispatch(f"{family.set_type} . {BY_PORT.type}", expression)


def concatenation(*fields: str | int) -> str:
    """Return a key of several fields: `10.96.0.1 . tcp . 80`."""
    return " . ".join(map(str, fields))


def only_from(family: Family, sources: Iterable[str]) -> str:
    """Return the rule that drops clients outside some prefixes, which must not overlap."""
    return f"{family.nft} saddr != {{ {', '.join(sources)} }} drop"


def reject_chain(comment: str = "") -> Chain:
    """Return the chain that answers with a TCP reset or an ICMP message."""
    return Chain(REJECTING, ("reject",), comment=comment)


@dataclass(frozen=True)
class Target:
    """One of the chains that `balance` chooses from: an endpoint of a Service, a node.

    `base` is what the names of its chain and set have in common. `affinity_timeout` is in seconds;
    0: no session affinity.
    """

    family: Family
    kind: str
    base: str
    affinity_timeout: int = 0

    @property
    def chain(self) -> str:
        """The name of the chain that translates the packets for this target."""
        return f"{self.kind}-{self.base}"

    @property
    def clients(self) -> str:
        """The name of the set of the clients that stay with this target."""
        return f"affinity-{self.base}"

    def remember(self) -> tuple[str, ...]:
        """Return the rule that adds the client or renews its entry; none without affinity."""
        rule = f"update @{self.clients} {{ {self.family.nft} saddr }}"
        return (rule,) if self.affinity_timeout else ()


def affinity_sets(targets: Iterable[Target]) -> list[Set]:
    """Return the set of clients of each target that has session affinity."""
    sticky, flags = (t for t in targets if t.affinity_timeout), ("dynamic", "timeout")
    return [Set(t.clients, t.family.set_type, flags, t.affinity_timeout) for t in sticky]


def balance(targets: Sequence[Target]) -> tuple[str, ...]:
    """Return the rules that choose a target: the client's own by affinity, else any at random."""
    sticky = (target for target in targets if target.affinity_timeout)
    affinity = [f"{t.family.nft} saddr @{t.clients} goto {t.chain}" for t in sticky]
    branches = ", ".join(f"{number} : goto {t.chain}" for number, t in enumerate(targets))
    return (*affinity, f"numgen random mod {len(targets)} vmap {{ {branches} }}")


def dnat(family: Family, protocol: str, address: str, port: int) -> str:
    """Return the rule that sends a connection to an address and port."""
    return f"meta l4proto {protocol} dnat to {family.with_port(address, port)}"


def shortened(name: str, longest: int) -> str:
    """Return a name cut to a number of characters; a hash at its beginning keeps names apart."""
    return name if len(name) <= longest else f"{name[: longest - 3]}..."
