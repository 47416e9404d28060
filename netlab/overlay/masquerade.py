"""flannel's own table in its nftables mode, one per family: who leaves under the node's address.

Rules, in the order of the chain `postrtg` (semantics 2.31 to 2.34)
    a  marked by the service proxy          return: the proxy masquerades it, and must not be forestalled or doubled
    b  from this node's pods to any pod     return: pods see each other's own addresses
    c  from any pod to this node's pods     return
    d  from anybody but this node's pods to a pod   return: whoever was routed here keeps its address
    e  from a pod to outside, not multicast   masquerade: the outside has no route to pods
    f  from outside the pod network to a pod  masquerade: never reached after (d), kept as flannel writes it

Why it does not matter whether flannel's or kube-proxy's table was made first
    Both hook postrouting at the priority of source NAT, and the kernel calls equal priorities in order of registration.
    The first nat chain that translates ends the question for all others; a chain that only returns leaves it open.
    - marked packet:    flannel first: (a) returns, the proxy clears the mark and masquerades.
                        the proxy first: it clears the mark and masquerades; flannel is not asked.
    - unmarked packet:  the proxy returns in either order, and flannel decides alone.
    So no packet's fate depends on the order. (a) compares the whole mark, as flannel writes it: nobody in a lab sets other bits.
    The mark is cleared by the proxy, never here: it must be gone before VXLAN copies it to the outer packet (18.6).

The chain `forward` accepts what comes from or goes to a pod. `accept` ends only this chain: it cannot overrule a drop
in another table, and needs no policy drop here.
"""

from __future__ import annotations

from netlab.family import Family
from netlab.netfilter import blocks
from netlab.netfilter.ruleset import FILTER_PRIORITY, Base, Chain, ChainType, Fragment, Hook, Ruleset

POSTROUTING_COMMENT = "chain to manage traffic masquerading by flannel"  # flannel's own words, as `nft list` shows them on a node
FORWARD_COMMENT = "chain to accept flannel traffic"


def flannel_rules(family: Family, cluster_cidr: str, pod_cidr: str) -> Ruleset:
    """Return flannel's table for a node with `pod_cidr` in the pod network `cluster_cidr`."""
    name = f"flannel-{family.name.lower()}"
    saddr, daddr = f"{family.nft} saddr", f"{family.nft} daddr"
    postrouting = (
        f"meta mark {blocks.MASQUERADE_MARK} return",
        f"{saddr} {pod_cidr} {daddr} {cluster_cidr} return",
        f"{saddr} {cluster_cidr} {daddr} {pod_cidr} return",
        f"{saddr} != {pod_cidr} {daddr} {cluster_cidr} return",
        f"{saddr} {cluster_cidr} {daddr} != {family.multicast} {blocks.MASQUERADE}",
        f"{saddr} != {cluster_cidr} {daddr} {cluster_cidr} {blocks.MASQUERADE}",
    )
    forward = (f"{saddr} {cluster_cidr} accept", f"{daddr} {cluster_cidr} accept")
    return Ruleset.of(
        family.nft,
        name,
        Fragment.of(
            (
                Chain("postrtg", postrouting, blocks.NAT_POSTROUTING, POSTROUTING_COMMENT),
                Chain("forward", forward, Base(ChainType.FILTER, Hook.FORWARD, FILTER_PRIORITY), FORWARD_COMMENT),
            )
        ),
        comment=f"rules for {name}",
    )
