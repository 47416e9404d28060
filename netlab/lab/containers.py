"""What a lab of containers needs in addition to a lab of namespaces: images and a free subnet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from netlab.api.lab import Lab
from netlab.engine.protocol import Engine
from netlab.files import write_whole
from netlab.hosts.docker_network import choose_network, with_node_subnet
from netlab.kernel import namespaces
from netlab.kernel.door import Kernel
from netlab.kernel.linux import LinuxKernel
from netlab.lab.access.docker import Connect, engine
from netlab.lab.container_images import require_images
from netlab.state import StateDirectory
from netlab.topology import Topology


class DockerPreparation:
    """The `Preparation` of containers: images, then the network of a new lab, then the lab.

    The engine reserves a subnet for a lab as soon as the network exists.
    """

    def __init__(
        self,
        state: StateDirectory,
        connect: Connect = engine,
        kernel: Kernel | None = None,
    ) -> None:
        self._state = state
        self._connect = connect
        self._kernel = kernel or LinuxKernel()

    def keep_networks(self, topology: Topology, running: Lab) -> Topology:
        """Keep the node subnet, which is optional in the file."""
        if topology.states_node_subnet:
            return topology
        return _with_node_subnet(topology, running.spec.networking.node_subnet)

    def provide(self, topology: Topology, say: Callable[[str], None], *, new: bool) -> Topology:
        """Build or pull images, record them, and create the network of a new lab."""
        with self._connect() as connected:
            images = _require_images(connected, topology, say)
            self._state.create()
            write_whole(self._state.images_file, msgspec.json.encode(images))
            if not new:
                return topology
            machine, root = self._kernel.observe(namespaces.OWN), str(self._state.root.parent)
            stated = topology.states_node_subnet
            subnet = choose_network(connected, machine, topology.lab, root, stated=stated)
            return _with_node_subnet(topology, subnet)

    def write_lab(self, lab: Lab) -> None:
        """Keep the file if it exists: the containers of the lab mount it."""
        content = msgspec.json.encode(lab)
        if self._state.lab_file.exists():
            self._state.lab_file.write_bytes(content)
        else:
            write_whole(self._state.lab_file, content)


def _require_images(
    connected: Engine,
    topology: Topology,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Return the image of each role, after those of roles and pods exist.

    Raises InvalidTopologyError for images that cannot be pulled.
    """
    from netlab.images.images import ensure  # noqa: PLC0415 -- slow to import, as the engine

    tags = dict(ensure(connected, say))
    require_images(connected, topology.images, tags["workloads"], say)
    return tags


def _with_node_subnet(topology: Topology, subnet: str) -> Topology:
    return replace(topology, lab=with_node_subnet(topology.lab, subnet))
