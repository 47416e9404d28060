"""Record a lab before any host is created: images, network, the lab, certificates.

The order matters for a crash in between. The record of a lab of containers begins with its images,
so `down` asks the engine. The file `lab.json` is written last and in one step: at that time the
lab's networks are chosen and exist. Until then the next `up` chooses again, and reuses the network
that an interrupted `up` has left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from netlab.api.lab import DOCKER, NETNS, Lab
from netlab.controlplane.pki import server_names
from netlab.errors import UsageError
from netlab.files import write_whole
from netlab.ipam import AddressPlan
from netlab.lab.repair import recorded_lab
from netlab.state import StateDirectory
from netlab.topology import Topology


class Preparation(Protocol):
    """What a runtime provides before the daemon creates the hosts of a lab."""

    def keep_networks(self, topology: Topology, running: Lab) -> Topology:
        """Return the topology with the running lab's networks for those that the file omits."""

    def provide(self, topology: Topology, say: Callable[[str], None], *, new: bool) -> Topology:
        """Create the record and what the lab needs; return the topology with the lab's networks."""

    def write_lab(self, lab: Lab) -> None:
        """Record the lab itself; this completes the record."""


class NetnsPreparation:
    """Namespaces need the record alone; the file states their networks."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state

    def keep_networks(self, topology: Topology, _running: Lab) -> Topology:
        """Return the topology as it is."""
        return topology

    def provide(
        self,
        topology: Topology,
        _say: Callable[[str], None],
        *,
        new: bool,  # noqa: ARG002 -- there is nothing to decide
    ) -> Topology:
        """Create the record, which may exist."""
        self._state.create()
        return topology

    def write_lab(self, lab: Lab) -> None:
        """Replace the file whole."""
        write_whole(self._state.lab_file, msgspec.json.encode(lab))


def _docker(state: StateDirectory) -> Preparation:
    from netlab.lab.containers import DockerPreparation

    return DockerPreparation(state)


Maker = Callable[[StateDirectory], Preparation]
PREPARATIONS: Final[Mapping[str, Maker]] = {NETNS: NetnsPreparation, DOCKER: _docker}


def record(
    state: StateDirectory,
    topology: Topology,
    say: Callable[[str], None],
    preparation: Preparation | None = None,
) -> Topology:
    """Record the lab; the returned topology has the networks that the lab keeps."""
    preparation = preparation or PREPARATIONS[topology.lab.spec.runtime](state)
    running = recorded_lab(state)
    if running:
        topology = preparation.keep_networks(topology, running)
        _refuse_new_networks(running, topology.lab)
    topology = preparation.provide(topology, say, new=running is None)
    preparation.write_lab(topology.lab)
    return topology


def make_certificates(state: StateDirectory, lab: Lab) -> None:
    """Create missing certificates here, so that the daemon does not load the library for it."""
    from netlab.controlplane.certificates import ensure_pki

    addresses = AddressPlan.of(lab)
    ensure_pki(state.pki, server_names([addresses.api_server, addresses.kubernetes_service], lab.spec.networking.dns_domain))


def _refuse_new_networks(running: Lab, wanted: Lab) -> None:
    """A lab's networks are decided when it is created, as a cluster's are."""
    for field in ("runtime", "networking", "load_balancer", "dns"):  # another runtime may have other networks
        before, now = getattr(running.spec, field), getattr(wanted.spec, field)
        if before != now:
            raise UsageError(
                f"spec.{field} of the running lab {running.metadata.name!r} cannot change",
                remedy=f"Remove the lab first: netlab down {running.metadata.name}",
            )
