"""`netlab gc`: remove what labs that no longer run have left.

Two kinds of leftovers: labs on record whose daemon is dead, and namespaces that carry netlab's ownership mark (the
alias of a link) but are on no record, say after /run was emptied by hand. Nothing without a mark is ever touched.
"""

from __future__ import annotations

from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import KernelError
from netlab.kernel import namespaces
from netlab.kernel.linux import LinuxKernel
from netlab.lab.down import down_locked
from netlab.lab.find import daemon_alive, recorded_labs
from netlab.runtime.statedir import StateDirectory


def collect(*, dry_run: bool) -> tuple[str, ...]:
    """Remove all leftovers and return what they were; with `dry_run` only look."""
    removed = []
    for name in recorded_labs():
        state = StateDirectory.of(name)
        if daemon_alive(state):
            continue
        if not dry_run:
            down_locked(state)
        removed.append(f"lab {name}")
    orphans = _orphaned_namespaces(set(recorded_labs()))
    if not dry_run:
        namespaces.delete(orphans)
    return (*removed, *(f"namespace {Path(path).name}" for path in orphans))


def _orphaned_namespaces(labs: set[str]) -> list[str]:
    """Return the paths of namespaces whose links say they belong to a lab that has no record."""
    folder = Path(NETNS_DIRECTORY)
    kernel = LinuxKernel()
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        owner = _owner(kernel, str(path))
        if owner and owner not in labs:
            found.append(str(path))
    return found


def _owner(kernel: LinuxKernel, path: str) -> str:
    """Return the lab named in the ownership marks of a namespace, empty when it is not netlab's."""
    try:
        links = kernel.observe(path).links
    except KernelError:  # not a live namespace: not ours to judge
        return ""
    marks = [link.alias for link in links if link.alias and link.alias.startswith("netlab:")]
    return marks[0].split(":")[1] if marks else ""
