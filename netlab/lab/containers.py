"""What a lab of containers needs besides a lab of namespaces: root, an engine, its images, a free subnet; and its removal.

Everything a lab has in the engine carries its label, and is found by that alone: also when its record was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from netlab.api.lab import DOCKER, Lab
from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import UnsupportedHostError
from netlab.kernel import namespaces
from netlab.kernel.linux import LinuxKernel
from netlab.lab.container_images import require_images
from netlab.runtime.docker import LAB_LABEL, STATE_LABEL, Container, Engine, Network
from netlab.runtime.docker_network import choose_network, with_node_subnet
from netlab.runtime.statedir import MACHINE_ROOT, StateDirectory
from netlab.topology.manifest import NamedImage


@contextmanager
def engine() -> Iterator[Engine]:
    """Yield the engine of this machine for a `with` block. Raises UnsupportedHostError when it does not answer."""
    from netlab.runtime.docker_engine import DockerEngine  # noqa: PLC0415 -- the SDK takes 0.1 s that other verbs need not spend

    with closing(DockerEngine()) as connected:
        yield connected


def require_images_of(connected: Engine, pods: Iterable[NamedImage], say: Callable[[str], None]) -> dict[str, str]:
    """Return the image of each role, built if need be, when those of the pods can be had, too; `say` hears of it.

    Raises InvalidTopologyError for images that cannot be had.
    """
    from netlab.runtime.images import ensure  # noqa: PLC0415 -- as the engine

    tags = dict(ensure(connected, say))
    require_images(connected, pods, tags["workloads"], say)
    return tags


def place(connected: Engine, state: StateDirectory, lab: Lab, *, stated: bool) -> Lab:
    """Return a new lab with the node subnet it gets, and make the network that keeps it."""
    machine = LinuxKernel().observe(namespaces.OWN)
    return with_node_subnet(lab, choose_network(connected, machine, lab, str(state.root.parent), stated=stated))


def is_docker(state: StateDirectory) -> bool:
    """Tell whether a lab on record is one of containers, also when it got no further than their images.

    If the record does not say, the labels of what the engine has do.
    """
    if state.images_file.exists():
        return True
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(state.lab_file.read_bytes(), type=Lab).spec.runtime == DOCKER
    return state.lab in orphans(state.root.parent, recorded=())


def remove_containers(lab: str) -> int:
    """Remove all containers of a lab, also those that come to be meanwhile; return how many there were."""
    removed = 0
    with engine() as connected:
        while found := connected.containers({LAB_LABEL: lab}):
            connected.remove([container.id for container in found])
            removed += len(found)
    return removed


def remove_network(lab: str) -> None:
    """Remove the network of a lab; when its containers and namespaces are gone."""
    with engine() as connected:
        for network in connected.networks({LAB_LABEL: lab}):
            connected.remove_network(network.id)


def orphans(root: Path, recorded: Iterable[str]) -> tuple[str, ...]:
    """Return the labs that the engine has something of and that have no record below `root`, though they belong there.

    Of a machine without an engine, or whose engine is not ours to use: none.
    """
    try:
        with engine() as connected:
            things: list[Container | Network] = [*connected.containers({LAB_LABEL: ""}), *connected.networks({LAB_LABEL: ""})]
    except UnsupportedHostError:
        return ()
    roots: dict[str, set[str]] = {}
    for thing in things:
        roots.setdefault(thing.labels[LAB_LABEL], set()).add(thing.labels.get(STATE_LABEL, ""))
    ours = {str(root)} | ({""} if root == MACHINE_ROOT else set())
    return tuple(lab for lab in sorted(set(roots) - set(recorded)) if (roots[lab] - {""} or {""}) <= ours)


def remove_orphan(lab: str) -> None:
    """Remove what the engine has of a lab, and the names that its namespaces were given."""
    with engine() as connected:
        named = _names_of(connected.containers({LAB_LABEL: lab}))
    remove_containers(lab)
    namespaces.delete(named)
    remove_network(lab)


def _names_of(containers: Iterable[Container]) -> list[str]:
    """Return the paths below /run/netns that name these containers' namespaces."""
    folder = Path(NETNS_DIRECTORY)
    names = [str(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    own = [container.network_namespace for container in containers if container.pid]
    return [name for name in names if any(namespaces.is_same(name, namespace) for namespace in own)]
