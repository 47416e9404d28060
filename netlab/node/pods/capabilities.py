"""The capabilities of a container: the default set, less what it drops, and what it adds (pure).

As containerd and Docker compute it: `drop` comes first, so `drop: [ALL], add: [NET_RAW]` is NET_RAW alone. What may be added at
all is checked when the object is written (`netlab.api.capabilities`).
"""

from __future__ import annotations

from netlab.api.capabilities import ALL, DEFAULT
from netlab.api.pods import Capabilities, Container


def granted(container: Container) -> tuple[str, ...]:
    """Return the capabilities of a container's command."""
    context = container.security_context
    return changed(context.capabilities, DEFAULT) if context and context.capabilities else DEFAULT


def changed(wanted: Capabilities, before: tuple[str, ...]) -> tuple[str, ...]:
    """Return a set of capabilities with a container's additions and drops applied."""
    kept = () if ALL in wanted.drop else tuple(name for name in before if name not in wanted.drop)
    return tuple(sorted({*kept, *wanted.add}))
