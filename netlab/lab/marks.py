"""Find what belongs to a lab without its record: by the marks of its processes and namespaces.

A namespace of a lab holds links with the ownership mark as their alias (`netlab.dataplane.names`). The mark names the
lab but not the root of its records, so only the machine's own root may rely on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import KernelError
from netlab.kernel.linux import LinuxKernel
from netlab.process.marks import Inhabitant
from netlab.process.records import stop
from netlab.state import MACHINE_ROOT, state_root


def stop_inhabitants(found: list[Inhabitant]) -> None:
    """End processes, the daemons first: they would restart the others."""
    stop([inhabitant.record for inhabitant in found if inhabitant.is_daemon])
    stop([inhabitant.record for inhabitant in found if not inhabitant.is_daemon])


def marked_namespaces(prefix: str = "", known: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield (path, lab) of the namespaces with this prefix whose links have a mark.

    Those named in `known` are left out.
    """
    folder = Path(NETNS_DIRECTORY)
    if state_root() != MACHINE_ROOT or not folder.is_dir():
        return
    for path in sorted(folder.glob(f"{prefix}*")):
        if path.name not in known and (lab := _owner(str(path))):
            yield str(path), lab


def _owner(path: str) -> str:
    """Return the lab named in the ownership marks of a namespace, "" without a mark."""
    try:
        links = LinuxKernel().observe(path).links
    except KernelError:  # not a live namespace
        return ""
    marks = [link.alias for link in links if link.alias and link.alias.startswith("netlab:")]
    return marks[0].split(":")[1] if marks else ""
