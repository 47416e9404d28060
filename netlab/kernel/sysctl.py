"""Settings of a network namespace: files below /proc/sys/net, which show the namespace of the thread that opens them.

A kernel without IPv6 or br_netfilter has no such files; where their absence means the same as a value, that value is
reported (`ABSENT`), so that nothing is demanded that is already so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from netlab.errors import KernelError

ROOT = Path("/proc/sys")
ABSENT = {  # (folder that is missing, last word of the path): what that amounts to
    ("net/ipv6", "disable_ipv6"): "1",
    ("net/ipv6", "accept_ra"): "0",
    ("net/bridge", "bridge-nf-call-iptables"): "0",
    ("net/bridge", "bridge-nf-call-ip6tables"): "0",
    ("net/bridge", "bridge-nf-call-arptables"): "0",
}
_REMEDIES = {
    "net/bridge": "Load the module br_netfilter on this machine: `modprobe br_netfilter`.",
    "net/ipv6": "This kernel runs without IPv6.",
    "net/netfilter": "Load the module nf_conntrack on this machine: `modprobe nf_conntrack`.",
}


def read(paths: Sequence[str]) -> dict[str, str]:
    """Return the settings of the current thread's namespace; those that do not exist are left out."""
    found = {}
    for path in paths:
        value = _read_one(path)
        if value is not None:
            found[path] = value
    return found


def _read_one(path: str) -> str | None:
    try:
        return " ".join((ROOT / path).read_text().split())
    except FileNotFoundError:
        folder = "/".join(path.split("/")[:2])
        return None if (ROOT / folder).exists() else ABSENT.get((folder, path.rsplit("/", 1)[-1]))
    except OSError as error:
        number = error.errno or 0
        raise KernelError(f"Cannot read the setting {path}: {os.strerror(number)}.", errno=number) from error


def write(path: str, value: str) -> None:
    """Change one setting of the current thread's namespace."""
    try:
        descriptor = os.open(ROOT / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelError(os.strerror(error.errno or 0), errno=error.errno or 0, remedy=_remedy(path)) from error


def _remedy(path: str) -> str:
    missing = not (ROOT / path).exists()
    return next((words for folder, words in _REMEDIES.items() if missing and path.startswith(folder)), "")
