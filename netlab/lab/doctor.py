"""`netlab doctor`: what a lab needs, what this machine lacks, and the command that installs it.

It tests the kernel by attempts, in a temporary network namespace: a module that can be loaded, a
built-in feature and a forbidden one look alike in /proc, and only the attempt distinguishes them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from netlab.api.resources import Json
from netlab.dataplane.names import namespace_path
from netlab.dataplane.state import Bridge, Link, Operation, Sysctl, Verb, Veth, Vxlan
from netlab.engine.client import DockerEngine
from netlab.errors import KernelError, UnsupportedHostError
from netlab.kernel import user_namespace
from netlab.kernel.door import NeighbourTable
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.overflow import sentence
from netlab.lab.preflight import NEEDED_TOOLS, PACKAGES, find_tool
from netlab.lab.privilege import require_state_root
from netlab.state import state_root

PRIVILEGE = "privilege"
ENGINE = "container engine"
NEIGHBOURS = "neighbor table"
ENGINE_SOCKET = "/var/run/docker.sock"
INSTALL_ENGINE = "apt-get install -y docker.io mmdebstrap"  # mmdebstrap builds the base image if the registry does not respond
USE_SUDO = "sudo netlab up --runtime docker FILE (the group docker is not enough)"
USEFUL_TOOLS = ("ip", "curl", "ping")  # the examples use them inside a lab
RULES = "add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c masquerade fully-random"


@dataclass(frozen=True)
class Finding:
    """One check. `needed`: a lab requires it; `package`: installs it; `remedy`: what else to do."""

    name: str
    good: bool
    found: str
    needed: bool = True
    package: str = ""
    remedy: str = ""

    @property
    def blocks(self) -> bool:
        return self.needed and not self.good

    @property
    def mark(self) -> str:
        return "ok" if self.good else "MISSING" if self.needed else "note"

    def as_json(self) -> Json:
        return asdict(self)


def diagnose() -> tuple[Finding, ...]:
    """Return all findings, those that the others depend on first."""
    as_root = os.geteuid() == 0  # and not of a user namespace
    found = [
        Finding("Linux", sys.platform == "linux", f"{platform.system()} {platform.release()}"),
        _privilege(),
        *(_tool(name, needed=True) for name in NEEDED_TOOLS),
        *(_tool(name, needed=False) for name in USEFUL_TOOLS),
        _container_engine(as_root=as_root),
        _other_netlab(),
        _neighbours(),
    ]
    return (*found, *(() if any(finding.name == PRIVILEGE and finding.blocks for finding in found) else _kernel_features()))


def _privilege() -> Finding:
    """Check the privilege; as an ordinary user, become root of a user namespace for good."""
    if os.geteuid() == 0:
        return Finding(PRIVILEGE, good=True, found="running as root")
    try:
        require_state_root(state_root())
        user_namespace.make()
    except UnsupportedHostError as error:
        return Finding(PRIVILEGE, good=False, found=error.message, remedy=error.remedy)
    return Finding(PRIVILEGE, good=True, found="running as an ordinary user, in a user namespace")


def remedy(findings: tuple[Finding, ...]) -> str:
    """Return the closing sentences: verdict or command to install packages, optional advice."""
    needed = [finding.remedy for finding in findings if finding.blocks and finding.remedy]
    optional = [f"Runtime docker: {finding.remedy}" for finding in findings if finding.remedy and not finding.needed]
    return "\n".join([_verdict(findings), *needed, *optional])


def _verdict(findings: tuple[Finding, ...]) -> str:
    packages = [finding.package for finding in findings if not finding.good and finding.package]
    if packages:
        return f"Install the missing packages: apt-get install -y {' '.join(packages)}"
    blocking = [finding for finding in findings if finding.blocks]
    return f"A lab cannot run here: {'; '.join(f.found for f in blocking)}." if blocking else "A lab can run here."


def _tool(name: str, *, needed: bool) -> Finding:
    path = find_tool(name)
    return Finding(name, path is not None, path or "not installed", needed, "" if path else PACKAGES[name])


def _container_engine(*, as_root: bool) -> Finding:
    """Ask the engine of runtime docker."""
    try:
        DockerEngine().close()
    except UnsupportedHostError as error:
        return engine_finding(error, installed=find_tool("dockerd") is not None or Path(ENGINE_SOCKET).exists())
    return engine_finding(None, as_root=as_root)


def engine_finding(refusal: UnsupportedHostError | None, *, installed: bool = True, as_root: bool = True) -> Finding:
    """Return the finding about the engine: runtime netns needs none, runtime docker needs root."""
    if refusal is None and as_root:
        return Finding(ENGINE, good=True, found="running", needed=False)
    if refusal is None:
        return Finding(ENGINE, good=False, found="running; runtime docker needs root", needed=False, remedy=USE_SUDO)
    found, remedy = (refusal.message, refusal.remedy) if installed else ("not installed", INSTALL_ENGINE)
    return Finding(ENGINE, good=False, found=f"{found}; only runtime docker needs it", needed=False, remedy=remedy)


def _other_netlab() -> Finding:
    """Another project (ipspace netlab, PyPI `networklab`) installs a command of the same name."""
    path = shutil.which("netlab")
    foreign = path is not None and b"networklab" in Path(path).read_bytes()[:4096]
    return Finding(
        "command",
        not foreign,
        f"{path} belongs to ipspace netlab; use k8s-netlab" if foreign else path or "k8s-netlab",
        needed=False,
    )


def _neighbours() -> Finding:
    """Check the neighbor table, which all labs share; a lab does not depend on the result."""
    try:
        return neighbour_finding(LinuxKernel().neighbour_table())
    except KernelError as error:
        return Finding(NEIGHBOURS, good=False, found=error.message, needed=False)


def neighbour_finding(table: NeighbourTable) -> Finding:
    """Return the finding about the neighbor table: overflows since boot by any program."""
    words = sentence(table, table.overflows, "since the machine booted")
    found = words or f"{table.limit} learned entries, for all network namespaces together; no overflow since the machine booted"
    return Finding(NEIGHBOURS, not words, found, needed=False)


def _kernel_features() -> list[Finding]:
    """Try every kernel feature in a temporary namespace."""
    kernel = LinuxKernel()
    scratch = [namespace_path(f"netlab-doctor-{os.getpid()}-{side}") for side in ("a", "b")]
    existed = Path(scratch[0]).parent.exists()
    try:
        kernel.create_namespaces(scratch)
    except KernelError as error:
        return [Finding("network namespaces", good=False, found=str(error))]
    try:
        features = (
            ("veth pairs", lambda: _add(kernel, scratch[0], Link("a", Veth("b", scratch[1])))),
            ("bridges", lambda: _add(kernel, scratch[0], Link("br", Bridge()))),
            ("VXLAN", lambda: _add(kernel, scratch[0], Link("vx", Vxlan(1, 8472, "192.0.2.1", "br")))),
            ("bridge-nf-call-iptables", lambda: _set(kernel, scratch[0], "net/bridge/bridge-nf-call-iptables")),
            ("nftables NAT", lambda: kernel.nft(scratch[0], RULES) if find_tool("nft") else None),
        )
        return [_tried(name, attempt) for name, attempt in features]
    finally:
        kernel.delete_namespaces(scratch)
        if not existed:
            Path(scratch[0]).parent.rmdir()


def _add(kernel: LinuxKernel, path: str, link: Link) -> None:
    kernel.perform(path, [Operation(Verb.ADD, link)])


def _set(kernel: LinuxKernel, path: str, name: str) -> None:
    kernel.perform(path, [Operation(Verb.SET, Sysctl(name, "1"))])


def _tried(name: str, attempt: Callable[[], None]) -> Finding:
    try:
        attempt()
    except KernelError as error:
        return Finding(name, good=False, found=error.message)
    return Finding(name, good=True, found="works")
