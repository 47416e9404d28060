"""The system calls that Python 3.11 lacks: setns, unshare, mount, umount2, prctl, capget, capset, by way of libc.

Each raises OSError, with the attempted operation in its message. ctypes releases the interpreter's lock while a call runs.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000  # mounts
CLONE_NEWUTS = 0x04000000  # hostname
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV = 0x2, 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000  # mounts come in from the machine, none goes out
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace of an open descriptor, or into those kinds that a process of a pidfd has."""
    _check(_libc.setns(descriptor, kind), "setns")


def unshare(kinds: int) -> None:
    """Give the calling thread new namespaces of these kinds."""
    _check(_libc.unshare(kinds), "unshare")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`."""
    words = options.encode() or None
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), words)
    _check(result, f"mount {source} on {target}")


def detach(target: str) -> None:
    """Take the uppermost mount off `target`, which no symbolic link may be; it ends with its last user."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW), f"umount {target}")


def prctl(option: int, value: int = 0, more: int = 0) -> int:
    """Read or change an attribute of the calling thread; returns what there is to read."""
    result: int = _libc.prctl(option, *(ctypes.c_ulong(number) for number in (value, more, 0, 0)))
    _check(result < 0, f"prctl {option}")
    return result


def capget(version: int, size: int) -> bytes:
    """Return the calling thread's capability sets, as linux/capability.h lays them out."""
    sets = ctypes.create_string_buffer(size)
    _check(_libc.capget(_capability_header(version), sets), "capget")
    return sets.raw


def capset(version: int, sets: bytes) -> None:
    """Replace the calling thread's capability sets."""
    _check(_libc.capset(_capability_header(version), ctypes.create_string_buffer(sets, len(sets))), "capset")


def _capability_header(version: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=Ii", version, 0), 8)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
