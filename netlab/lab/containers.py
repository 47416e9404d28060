"""What a lab of containers needs besides a lab of namespaces: its images and a free subnet."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netlab.api.lab import Lab
from netlab.kernel import namespaces
from netlab.kernel.linux import LinuxKernel
from netlab.lab.container_images import require_images
from netlab.runtime.docker import Engine
from netlab.runtime.docker_network import choose_network, with_node_subnet
from netlab.runtime.statedir import StateDirectory
from netlab.topology.manifest import NamedImage


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
