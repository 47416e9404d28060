"""Whether the machine's neighbor table has overflowed, in words (theory: `netlab.kernel.neighbours`).

The kernel counts overflows since the machine booted, and logs only some of them. So each process that reports them reads the
count when it begins, and reports by how much it has grown. After a user raises the limit, the count starts from zero.
"""

from __future__ import annotations

from netlab.kernel.door import Kernel, NeighbourTable

ENOUGH = 16384  # entries, of about 400 bytes each: for some 5,000 pods that talk to their neighbors


class Overflows:
    """Those since a moment, which `since` names: `during the test`."""

    def __init__(self, kernel: Kernel, since: str) -> None:
        self._kernel = kernel
        self._since = since
        self._before = kernel.neighbour_table()

    def words(self) -> tuple[str, ...]:
        """Return the message and remedy about them; nothing when there were none."""
        table = self._kernel.neighbour_table()
        if table.limit > self._before.limit:
            self._before = table
        return tuple(filter(None, [sentence(table, table.overflows - self._before.overflows, self._since)]))


def sentence(table: NeighbourTable, count: int, since: str) -> str:
    """Return what an overflow of the table means and what to do; "" when there was none."""
    if count <= 0:
        return ""
    return (
        f"the kernel's neighbor table overflowed {count} times {since}, and packets were lost: it holds {table.limit} learned"
        f" entries, for all network namespaces of the machine together. {remedy(table)}"
    )


def remedy(table: NeighbourTable) -> str:
    """Return the command that makes room. The setting exists in the machine's own network namespace only."""
    return f"Raise the limit on the machine: sysctl -w net.ipv4.neigh.default.gc_thresh3={max(ENOUGH, 4 * table.limit)}"
