"""The owner of a network namespace: the lab that has recorded it.

A lab records a namespace before it creates it, so one that exists without a record has another
origin: it was created by hand, by another program, or by a lab whose name and host's name give the
same text (`a` + `b-node1`, `a-b` + `node1`). netlab never enters, programs or removes such a
namespace. The same holds for anything else at the path: a symbolic link, a folder, a file. A
recorded name belongs to the lab, even if a user has removed the namespace by hand and created
another one of that name; but a symbolic link, a folder or a file with content never belongs to the
lab.

Hosts and pods follow the same rules: `foreign` before creating, `record` before creating, `release`
to remove. `netlab gc` recognizes the namespaces of a lab without a record by the marks inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import ForeignNamespaceError
from netlab.kernel.door import Kernel, Occupant
from netlab.state import OWN_NETNS_DIRECTORY, StateDirectory


def foreign(state: StateDirectory, occupants: Mapping[str, Occupant]) -> tuple[str, ...]:
    """Return the given paths whose occupant was not created by the lab."""
    recorded = set(state.recorded_namespaces())
    return tuple(
        path
        for path, found in occupants.items()
        if found is Occupant.OTHER or (found is not Occupant.NOTHING and Path(path).name not in recorded)
    )


def refuse_foreign(state: StateDirectory, occupants: Mapping[str, Occupant]) -> None:
    """Raise ForeignNamespaceError if the lab did not create what exists at one of these paths."""
    if found := foreign(state, occupants):
        raise ForeignNamespaceError(
            f"these names exist in {NETNS_DIRECTORY} but were not created by lab {state.lab!r}: "
            f"{', '.join(Path(where).name for where in found)}",
            remedy="Use another lab name (netlab up --name), or remove them: a lab with `netlab down` or `netlab gc`, "
            "another namespace with `ip netns delete NAME`, a file with `rm`.",
        )


def pod_refusal(state: StateDirectory, path: str) -> str:
    """Return why a pod gets no namespace at a path with a foreign occupant."""
    return (
        f"{path} exists but was not created by lab {state.lab!r}. "
        f"Remove it (ip netns delete {Path(path).name}, or rm for a file), or rename the pod."
    )


def record(state: StateDirectory, paths: Iterable[str]) -> None:
    """Record namespaces; call this before creating them."""
    wanted = list(paths)
    if wanted and not Path(NETNS_DIRECTORY).exists():
        (state.root.parent / OWN_NETNS_DIRECTORY).touch()
    for where in wanted:
        (state.namespaces / Path(where).name).touch()


def release(kernel: Kernel, state: StateDirectory, paths: Iterable[str]) -> None:
    """Remove those of these namespaces that the lab has recorded, then their records."""
    recorded = set(state.recorded_namespaces())
    ours = [where for where in paths if Path(where).name in recorded]
    kernel.delete_namespaces(ours)
    for where in ours:
        (state.namespaces / Path(where).name).unlink(missing_ok=True)
