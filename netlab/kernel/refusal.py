"""The error for an operation that the kernel refuses: the equivalent command, its message, a remedy.

The real kernel and its fake raise the same. Deleting what is not there is not a refusal: the wanted state holds (`ABSENT`).
"""

from __future__ import annotations

import errno
import os

from netlab.dataplane.state import Operation
from netlab.errors import KernelError

ABSENT = frozenset({errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL})
_REMEDIES = {
    errno.EPERM: "Run netlab as root: it needs CAP_NET_ADMIN.",
    errno.EOPNOTSUPP: "This kernel lacks that kind of device (veth, bridge, vxlan); `netlab doctor` shows which.",
    errno.ENODEV: "The device does not exist: it was removed, or its other end is not created yet.",
    errno.EEXIST: "That name already exists; `netlab gc` removes leftovers of crashed labs.",
    errno.ENETUNREACH: "The gateway is not in a subnet of that device, or the device is down.",
}


def refused(path: str, operation: Operation, number: int, *, words: str = "", remedy: str = "") -> KernelError:
    """Return the error for one operation in one namespace; `words` are the kernel's own, if any."""
    reason = os.strerror(number) + (f" ({words})" if words else "")
    return KernelError(
        f"The kernel refused `{operation}` in namespace {path}: {reason}.",
        errno=number,
        remedy=remedy or _REMEDIES.get(number, ""),
    )


def no_namespace(path: str, number: int) -> KernelError:
    """Return the error for a namespace that does not exist."""
    return KernelError(
        f"There is no network namespace {path}: {os.strerror(number)}.",
        errno=number,
        remedy="The lab may be down or being removed; `netlab status` shows its state, `netlab up` creates it again.",
    )
