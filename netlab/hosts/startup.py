"""The start of an agent in a container: set up its log, and read its arguments from a file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netlab.hosts.docker_specs import ARGUMENTS
from netlab.process import logs


def begin() -> dict[str, str]:
    """Return the arguments of this container's agent."""
    logs.configure()
    return msgspec.json.decode(Path(ARGUMENTS).read_bytes(), type=dict[str, str])
