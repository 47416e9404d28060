"""The lab's naming scheme: namespaces, interfaces, MAC addresses. The same inputs always give the same names.

- A host's namespace is `<lab>-<host>`, a pod's `<lab>-<namespace>-<pod>`, below /run/netns, so `ip netns exec` works.
- A pod's interface on its node is `veth` + 8 hex digits of the pod's identity, as on a real node.
- A MAC address is locally administered and comes from the names (02:xx:xx:xx:xx:xx).
- The ownership mark, in the alias of every link netlab makes: `netlab:<lab>:<what>`.
"""

from __future__ import annotations

import hashlib

NETNS_DIRECTORY = "/run/netns"
MARK = "netlab:"  # how the alias of every link that netlab makes begins
LONGEST_NAME = 200  # a file name has at most 255 bytes; room is left for suffixes
LONGEST_ALIAS = 254  # bytes of a link's alias that netlink takes: IFALIASZ (linux/if.h) without its own NUL and the attribute's
POD_LINK_PREFIX = "veth"  # a node's end of a pod's cable, before 8 hex digits
FABRIC = "fabric"  # the namespace that holds the underlay and outside bridges
EDGE = "edge"  # the router and load balancer between them


def digest(*parts: str, length: int = 8) -> str:
    """Return `length` hex digits that depend on all parts and on nothing else."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def host_namespace(lab: str, host: str) -> str:
    """Return the namespace name of a node, a client, the edge or the fabric."""
    return f"{lab}-{host}"


def pod_namespace(lab: str, namespace: str, pod: str) -> str:
    """Return the namespace name of a pod; with a digest where it would be too long or could mean two pods.

    `team/a-web` and `team-a/web` would both be `<lab>-team-a-web`, so a namespace with a dash gets the digest.
    """
    name = f"{lab}-{namespace}-{pod}"
    if len(name) <= LONGEST_NAME and "-" not in namespace:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{digest(lab, namespace, pod)}"


def namespace_path(name: str) -> str:
    """Return the path of a named network namespace."""
    return f"{NETNS_DIRECTORY}/{name}"


def pod_link(lab: str, namespace: str, pod: str, uid: str) -> str:
    """Return the name of the pod's interface on its node: `veth1a2b3c4d`."""
    return f"veth{digest(lab, namespace, pod, uid)}"


def mac_address(*parts: str) -> str:
    """Return a locally administered unicast MAC address made from names."""
    tail = digest(*parts, length=10)
    return ":".join(["02", *(tail[i : i + 2] for i in range(0, 10, 2))])


def ownership_mark(lab: str, what: str) -> str:
    """Return the alias that says which lab a link belongs to; with a digest where the kernel would not take it whole."""
    mark = f"{MARK}{lab}:{what}"
    if len(mark.encode()) <= LONGEST_ALIAS:
        return mark
    kept = mark.encode()[: LONGEST_ALIAS - 9].decode(errors="ignore")
    return f"{kept}-{digest(mark)}"
