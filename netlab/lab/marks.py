"""What is a lab's, found without its record: by the marks that its processes and namespaces carry.

A process of a lab has two marks together: its title `netlab: <lab> ...`, and the folder it stands in. The daemon stands
in the lab's record and what it starts inherits that; when the folder is gone the kernel remembers the place, with the
words ` (deleted)`. The title alone could be anybody's, the folder alone is that of a shell somebody left there.

A namespace of a lab holds links with the ownership mark as their alias (`netlab.dataplane.names`). The mark names the
lab but not the root of records it belongs to, so only the machine's own root may judge by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import KernelError
from netlab.kernel.linux import LinuxKernel
from netlab.node.processes import ProcessRecord, stop
from netlab.runtime.identity import start_time
from netlab.runtime.statedir import MACHINE_ROOT, state_root

TITLE = b"netlab: "
DAEMON_TITLE = b" daemon"
DELETED = " (deleted)"
PROC = Path("/proc")


@dataclass(frozen=True)
class Inhabitant:
    """A process of a lab. `lost`: its lab's record was removed under it."""

    record: ProcessRecord
    folder: Path
    is_daemon: bool
    lost: bool


def inhabitants(proc: Path = PROC) -> Iterator[Inhabitant]:
    """Yield the processes of all labs on this machine, whatever root of records they belong to."""
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended while we looked
                if found := _look(entry):
                    yield found


def _look(entry: Path) -> Inhabitant | None:
    title = (entry / "cmdline").read_bytes().rstrip(b"\0")
    if not title.startswith(TITLE):
        return None
    folder = str((entry / "cwd").readlink())
    pid = int(entry.name)
    record = ProcessRecord(title.decode(errors="replace").removeprefix(TITLE.decode()), pid, start_time(pid) or 0)
    return Inhabitant(record, Path(folder.removesuffix(DELETED)), title.endswith(DAEMON_TITLE), folder.endswith(DELETED))


def stop_inhabitants(found: list[Inhabitant], patience: float) -> None:
    """End processes, the daemons first: they would start the others again."""
    stop([inhabitant.record for inhabitant in found if inhabitant.is_daemon], patience)
    stop([inhabitant.record for inhabitant in found if not inhabitant.is_daemon], patience)


def marked_namespaces(prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, lab) of the namespaces whose name begins with `prefix` and whose links say that they are a lab's."""
    folder = Path(NETNS_DIRECTORY)
    if state_root() != MACHINE_ROOT or not folder.is_dir():
        return
    for path in sorted(folder.glob(f"{prefix}*")):
        if lab := _owner(str(path)):
            yield str(path), lab


def _owner(path: str) -> str:
    """Return the lab named in the ownership marks of a namespace, empty when it is not netlab's."""
    try:
        links = LinuxKernel().observe(path).links
    except KernelError:  # not a live namespace: not ours to judge
        return ""
    marks = [link.alias for link in links if link.alias and link.alias.startswith("netlab:")]
    return marks[0].split(":")[1] if marks else ""
