"""Whose a network namespace is: the lab's that has it on record.

A lab records a namespace before it creates it, so one that exists without a record was created by somebody else: by hand, by
another program, or by a lab whose name and host's name give the same text (`a` + `b-node1`, `a-b` + `node1`). netlab never
enters, programs or removes such a namespace. The same holds for anything else at the path: a symbolic link, a folder, a
file. A name on record is the lab's, also when somebody removed the namespace by hand and made another one of that name; but a
symbolic link, a folder or a file with content is never what the lab made.

Hosts and pods follow the same rules: `foreign` before creating, `record` before creating, `release` to remove. `netlab gc`
recognizes by the marks inside which namespaces a lab without a record has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import ForeignNamespaceError
from netlab.kernel.door import Kernel, Occupant
from netlab.state import OWN_NETNS_DIRECTORY, StateDirectory


def foreign(state: StateDirectory, occupants: Mapping[str, Occupant]) -> tuple[str, ...]:
    """Return the paths, of those given with what they hold, that hold something the lab did not make."""
    recorded = set(state.recorded_namespaces())
    return tuple(
        path
        for path, found in occupants.items()
        if found is Occupant.OTHER or (found is not Occupant.NOTHING and Path(path).name not in recorded)
    )


def refuse_foreign(state: StateDirectory, occupants: Mapping[str, Occupant]) -> None:
    """Raise ForeignNamespaceError when one of these paths holds something the lab did not make."""
    if found := foreign(state, occupants):
        raise ForeignNamespaceError(
            f"these names exist in {NETNS_DIRECTORY} but were not created by lab {state.lab!r}: "
            f"{', '.join(Path(where).name for where in found)}",
            remedy="Use another lab name (netlab up --name), or remove them: a lab with `netlab down` or `netlab gc`, "
            "another namespace with `ip netns delete NAME`, a file with `rm`.",
        )


def pod_refusal(state: StateDirectory, path: str) -> str:
    """Return why a pod gets no namespace at a path that holds something the lab did not make."""
    return (
        f"{path} exists but was not created by lab {state.lab!r}. "
        f"Remove it (ip netns delete {Path(path).name}, or rm for a file), or rename the pod."
    )


def record(state: StateDirectory, paths: Iterable[str]) -> None:
    """Put namespaces on the lab's record; do it before they are created."""
    wanted = list(paths)
    if wanted and not Path(NETNS_DIRECTORY).exists():
        (state.root.parent / OWN_NETNS_DIRECTORY).touch()
    for where in wanted:
        (state.namespaces / Path(where).name).touch()


def release(kernel: Kernel, state: StateDirectory, paths: Iterable[str]) -> None:
    """Remove those of these namespaces that are on the lab's record, then strike them off."""
    recorded = set(state.recorded_namespaces())
    ours = [where for where in paths if Path(where).name in recorded]
    kernel.delete_namespaces(ours)
    for where in ours:
        (state.namespaces / Path(where).name).unlink(missing_ok=True)
