"""Which HostAccess a lab has: the one place that chooses, from the record of the lab.

The record of a lab of containers begins with `images.json`; `lab.json` follows and names the
runtime. If the record has neither, the labels in the engine decide. An implementation is imported
on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec

from netlab.api.lab import DOCKER, NETNS, Lab
from netlab.lab.access.interface import HostAccess
from netlab.state import StateDirectory


def access_of(state: StateDirectory) -> HostAccess:
    """Return the access to a lab on record."""
    return access_for(state, recorded_runtime(state))


def access_for(state: StateDirectory, runtime: str) -> HostAccess:
    """Return the access to a lab whose runtime the caller has read from its Lab object."""
    return IMPLEMENTATIONS[runtime](state)


def recorded_runtime(state: StateDirectory) -> str:
    """Return the runtime of a lab, also of one whose `netlab up` was interrupted."""
    if state.images_file.exists():
        return DOCKER
    with suppress(FileNotFoundError, msgspec.DecodeError):
        lab = msgspec.json.decode(state.lab_file.read_bytes(), type=Lab)
        return DOCKER if lab.spec.runtime == DOCKER else NETNS
    from netlab.lab.access.docker import orphans  # noqa: PLC0415 -- see above

    return DOCKER if state.lab in orphans(state.root.parent, recorded=()) else NETNS


def _netns(state: StateDirectory) -> HostAccess:
    from netlab.lab.access.netns import NetnsAccess  # noqa: PLC0415 -- see above

    return NetnsAccess(state)


def _docker(state: StateDirectory) -> HostAccess:
    from netlab.lab.access.docker import DockerAccess  # noqa: PLC0415 -- see above

    return DockerAccess(state)


Maker = Callable[[StateDirectory], HostAccess]
IMPLEMENTATIONS: Final[Mapping[str, Maker]] = {NETNS: _netns, DOCKER: _docker}
