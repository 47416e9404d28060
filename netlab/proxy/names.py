"""Names of a service port's chains and sets, the same as kube-proxy's, so that what one learns here holds there.

    service-ULMVA6XW-ns1/svc1/tcp/p80                     Cluster traffic policy: any usable endpoint
    local-ULMVA6XW-ns1/svc1/tcp/p80                       Local traffic policy: endpoints of this node
    external-ULMVA6XW-ns1/svc1/tcp/p80                    entry for node port, external and load balancer addresses
    firewall-ULMVA6XW-ns1/svc1/tcp/p80                    loadBalancerSourceRanges
    endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80     masquerade a hairpin, remember the client, DNAT
    affinity-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80     a set: the clients that stick to this endpoint

The eight characters are the beginning of a SHA-256 over the rest of the name, in base32: they keep cut names apart
and make similar ones easy to tell (semantics 8.6).
"""

from __future__ import annotations

import base64
import hashlib
import re

from netlab.netfilter.blocks import shortened
from netlab.proxy.endpoints import EndpointInfo
from netlab.proxy.serviceport import ServicePortInfo

LONGEST_COMMENT = 128
LONGEST_PREFIX = 16
LONGEST_BASE = 256 - LONGEST_PREFIX
FORBIDDEN = re.compile(r"[^A-Za-z0-9_./-]")  # in nft's names; Kubernetes' names have none of them
FORBIDDEN_IN_COMMENTS = re.compile(r"[^A-Za-z0-9_./:-]")


def port_base(port: ServicePortInfo) -> str:
    """Return what the names of a service port's chains share: `ULMVA6XW-ns1/svc1/tcp/p80`."""
    return _hashed(f"{port.namespace}/{port.service}/{port.protocol}/{port.port_name}")


def port_label(port: ServicePortInfo) -> str:
    """Return the comment of an element that names its Service: `ns1/svc1:p80`."""
    return FORBIDDEN_IN_COMMENTS.sub("_", port.name)[:LONGEST_COMMENT]


def endpoint_base(port: ServicePortInfo, endpoint: EndpointInfo) -> str:
    """Return what the names of one endpoint's chain and set share."""
    name = f"{port.namespace}/{port.service}/{port.protocol}/{port.port_name}"
    return _hashed(f"{name}__{endpoint.address}/{endpoint.port}")


def _hashed(name: str) -> str:
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest())[:8].decode()
    full = f"{digest}-{FORBIDDEN.sub('_', name)}"
    return shortened(full, LONGEST_BASE)
