"""The limits of a pod's container on the machine, with runtime `docker` (pure).

Processes: PROCESSES, whatever the manifest specifies; without it one pod's fork bomb takes the machine's. A cluster's
kubelet has such a limit as `podPidsLimit`. Memory: `resources.limits.memory`, as on a cluster; without it as much as
there is.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from netlab.api.pods import Container

PROCESSES: Final = 1024
LEAST_MEMORY: Final = 6 * 2**20  # the engine starts no container with less
MOST_MEMORY: Final = 2**60
_QUANTITY: Final = re.compile(r"\+?([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:([eE][-+]?[0-9]{1,3})|([a-zA-Z]{0,2}))")
_LARGE, _SMALL = "kMGTPE", "mun"  # steps of a thousand, up and down; with an `i`, up in steps of 1024
_FACTORS: Final = {
    "": Decimal(1),
    **{letter: Decimal(1000) ** (step + 1) for step, letter in enumerate(_LARGE)},
    **{letter: Decimal(1000) ** -(step + 1) for step, letter in enumerate(_SMALL)},
    **{f"{letter.upper()}i": Decimal(1024) ** (step + 1) for step, letter in enumerate(_LARGE)},
}


def memory_limit(container: Container) -> int:
    """Return the bytes that a container may have, 0 for no limit (none stated, or an invalid quantity)."""
    resources: Any = container.resources
    limits = resources.get("limits") if isinstance(resources, dict) else getattr(resources, "limits", None)
    stated = limits.get("memory") if isinstance(limits, dict) else None
    amount = quantity(str(stated)) if isinstance(stated, int | float | str) and not isinstance(stated, bool) else None
    return 0 if not amount else max(LEAST_MEMORY, int(min(amount, Decimal(MOST_MEMORY))))


def quantity(text: str) -> Decimal | None:
    """Return what a quantity like `64Mi`, `0.5G`, `1e6` is, None for an invalid text."""
    match = _QUANTITY.fullmatch(text)
    if match is None or (match[3] or "") not in _FACTORS:
        return None
    return Decimal(match[1] + (match[2] or "")) * _FACTORS[match[3] or ""]
