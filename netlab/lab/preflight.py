"""What must hold before a verb changes anything: the capabilities, the tools, and free names.

A verb that needs the kernel checks this first, so that a root user without capabilities gets one
sentence, nothing needs to be rolled back, and the lab never takes a foreign namespace for its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from netlab.api.lab import DOCKER, Lab
from netlab.dataplane.names import EDGE, FABRIC
from netlab.errors import UnsupportedHostError
from netlab.hosts.claims import refuse_foreign
from netlab.hosts.hosts import path
from netlab.kernel import namespaces
from netlab.state import StateDirectory

NEEDED_TOOLS = ("nft",)
PACKAGES = {"nft": "nftables", "ip": "iproute2", "curl": "curl", "ping": "iputils-ping"}  # Debian's and Ubuntu's names
SBIN = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))
NEEDS_ROOT = {DOCKER: "netlab wires the containers' networks from the host"}  # runtime -> why
# linux/capability.h: what a container's root may lack
CAPABILITIES = {
    12: "CAP_NET_ADMIN",  # links, routes, rules
    13: "CAP_NET_RAW",  # the connectivity test's probes
    21: "CAP_SYS_ADMIN",  # namespaces and their mounts
}


def require_capabilities(doing: str) -> None:
    """Raise UnsupportedHostError unless this root may change the kernel's network."""
    if lacking := lacking_capabilities(Path("/proc/self/status").read_text()):
        raise UnsupportedHostError(
            f"`netlab {doing}` needs {', '.join(lacking)}, which this root user lacks",
            remedy="In a container: docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN ...",
        )


def require_user(runtime: str) -> None:
    """Raise UnsupportedHostError if an ordinary user may not create labs with this runtime."""
    if (why := NEEDS_ROOT.get(runtime)) and os.geteuid() != 0:
        remedy = "Use sudo, or --runtime netns, which needs no root."
        raise UnsupportedHostError(f"runtime {runtime} needs root: {why}", remedy=remedy)


def lacking_capabilities(status: str) -> tuple[str, ...]:
    """Return the needed capabilities that are not effective, from the text of /proc/<pid>/status."""
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    effective = int(line.split()[1], 16)
    return tuple(name for bit, name in CAPABILITIES.items() if not effective >> bit & 1)


def require_tools(names: Iterable[str] = NEEDED_TOOLS) -> None:
    """Raise UnsupportedHostError if a program that every lab needs is not installed."""
    if missing := [name for name in names if find_tool(name) is None]:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise UnsupportedHostError(f"not installed: {', '.join(missing)}", remedy=f"Install it: apt-get install -y {packages}")


def require_free_names(state: StateDirectory, lab: Lab) -> None:
    """Raise LabError if a host of the lab would get the name of a foreign namespace."""
    hosts = (FABRIC, EDGE, *(node.name for node in lab.spec.nodes), *(client.name for client in lab.spec.clients))
    refuse_foreign(state, {where: namespaces.occupant(where) for where in (path(state.lab, host) for host in hosts)})


def find_tool(name: str) -> str | None:
    """Return the path of a tool; searches the sbin folders, too, which a user's PATH may lack."""
    return shutil.which(name) or shutil.which(name, path=SBIN)
