"""The client side: the content of /etc/resolv.conf, and which names a resolver tries because of it (semantics 11.20 - 11.24).

`resolv_conf` is kubelet's part: dnsPolicy gives a base, dnsConfig is merged into it, limits cut it. `search_list` is
glibc's part, and the reason why an external name costs four questions in a pod: with `ndots:5` nearly every name has "too
few" dots, so all search domains are tried before the name itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netlab.api.numbers import is_digits
from netlab.api.pods import PodDNSConfig

MOST_NAMESERVERS = 3  # glibc reads no more
MOST_SEARCHES = 32
LONGEST_SEARCHES = 2048  # characters of the search list, spaces included
CLUSTER_OPTIONS = ("ndots:5",)
DEFAULT_NDOTS = 1
LARGEST_NDOTS = 15  # glibc's cap
LOOPBACK = "127.0.0.1"  # asked when there is no nameserver at all


@dataclass(frozen=True)
class ResolverConfig:
    """The content of a resolv.conf. Options are as written: `ndots:5`, `rotate`."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def ndots(self) -> int:
        """From how many dots on a name is tried as it is before the search list."""
        values = [option.partition(":")[2] for option in self.options if option.startswith("ndots:")]
        return min(int(values[-1]), LARGEST_NDOTS) if values and is_digits(values[-1]) else DEFAULT_NDOTS

    def __str__(self) -> str:
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {address}" for address in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def outside_resolv_conf(server: str) -> str:
    """Return the resolv.conf of a host of a lab: the DNS server outside the cluster (the edge's address), no search list."""
    return str(ResolverConfig(nameservers=(server,)))


def resolv_conf(
    policy: str,
    config: PodDNSConfig | None,
    *,
    namespace: str,
    domain: str,
    dns_ip: str,
    node_resolv: str,
    host_network: bool = False,
) -> str:
    """Return a pod's /etc/resolv.conf.

    Args:
        policy: spec.dnsPolicy; empty means ClusterFirst.
        config: spec.dnsConfig.
        namespace: the pod's.
        domain: the cluster's domain.
        dns_ip: the cluster IP of kube-dns.
        node_resolv: the text of the node's resolv.conf.
        host_network: spec.hostNetwork, under which ClusterFirst behaves as Default (11.21).
    """
    effective = "Default" if host_network and policy in {"", "ClusterFirst"} else policy
    node = parse(node_resolv)
    if effective == "None":
        base = ResolverConfig()
    elif effective == "Default":
        base = node
    else:
        cluster = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
        base = ResolverConfig((dns_ip,), (*cluster, *node.searches), CLUSTER_OPTIONS)
    return str(_limited(_merged(base, config or PodDNSConfig())))


def _merged(base: ResolverConfig, config: PodDNSConfig) -> ResolverConfig:
    """Append servers and searches, and let options of the same name win over the base's (11.22)."""
    wanted = [f"{o.name}:{o.value}" if o.value else o.name for o in config.options]
    options = {option.partition(":")[0]: option for option in (*base.options, *wanted)}
    return ResolverConfig(
        _unique((*base.nameservers, *config.nameservers)),
        _unique((*base.searches, *config.searches)),
        tuple(options.values()),
    )


def _limited(config: ResolverConfig) -> ResolverConfig:
    """Cut what a resolver would not read; from the first search domain that is too much on, all go."""
    searches: list[str] = []
    for search in config.searches[:MOST_SEARCHES]:
        if len(" ".join((*searches, search))) > LONGEST_SEARCHES:
            break
        searches.append(search)
    return ResolverConfig(config.nameservers[:MOST_NAMESERVERS], tuple(searches), config.options)


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def parse(text: str) -> ResolverConfig:
    """Read a resolv.conf: the last of `search` and `domain` wins, options add up, unknown keywords are skipped."""
    nameservers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        match keyword:
            case "nameserver" if values:
                nameservers.append(values[0])
            case "search":
                searches = tuple(value.removesuffix(".") or "." for value in values)
            case "domain":
                searches = tuple(value.removesuffix(".") for value in values[:1])
            case "options":
                options += values
    return ResolverConfig(tuple(nameservers), searches, tuple(options))


def search_list(name: str, conf: ResolverConfig) -> tuple[str, ...]:
    """Return the absolute names, with a trailing dot, that glibc asks for in turn until one has an answer (11.23, 11.24)."""
    if name.endswith("."):
        return (name,)
    searched = tuple(f"{name}." if search == "." else f"{name}.{search}." for search in conf.searches)
    as_it_is = (f"{name}.",)
    enough_dots = name.count(".") >= conf.ndots
    return _unique((*as_it_is, *searched) if enough_dots else (*searched, *as_it_is))
