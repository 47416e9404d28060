"""The first thing an agent does in a container: set up its log, and read the arguments that it is given there."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netlab.runtime import logs
from netlab.runtime.docker_host_specs import ARGUMENTS


def begin() -> dict[str, str]:
    """Return the arguments of this container's agent."""
    logs.configure()
    return msgspec.json.decode(Path(ARGUMENTS).read_bytes(), type=dict[str, str])
