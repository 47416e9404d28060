"""The system calls that a lab's processes never need, as a filter for the kernel (seccomp(2)). Pure.

A deny-list: mounts, namespaces, other processes' memory, kernel modules, keys, BPF and the like fail with EPERM, as under
Docker's own profile, which also gives the kernel less to be attacked by. Everything else is allowed, so that any command runs.

What would surprise you:
- `clone3` fails with ENOSYS, not EPERM: its flags are behind a pointer, which a filter cannot follow. The C library then uses
  `clone`, whose flags are looked at.
- System calls of another architecture (32-bit programs, x32) are refused whole: the same number is another call there.
- Machines other than x86_64 and aarch64 get no filter; the capabilities are dropped there anyway.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

ALLOW: Final = 0x7FFF0000
FAIL: Final = 0x00050000  # with the error number in the low half
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|J..|K, BPF_RET|K
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # struct seccomp_data, little-endian
_X32: Final = 0x40000000
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET

# Name -> its number on x86_64 and on aarch64; None where there is no such call.
DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # mounts
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "quotactl": (179, 60),
    # namespaces (and flags of clone, below)
    "unshare": (272, 97), "setns": (308, 268),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    # the kernel's code
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # keys
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # the machine
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip


@dataclass(frozen=True)
class _Machine:
    architecture: int  # AUDIT_ARCH_*
    column: int  # in DENIED
    clone: int
    clone3: int = 435
    has_x32: bool = False


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 0, 56, has_x32=True),
    "aarch64": _Machine(0xC00000B7, 1, 220),
}


def program(machine: str, allowed: Collection[str] = ()) -> bytes:
    """Return the filter as the kernel takes it, for a machine as `uname -m` names it; empty for one that is not known.

    `allowed`: calls of DENIED that the process needs.
    """
    known = _MACHINES.get(machine)
    if known is None:
        return b""
    refuse, missing = FAIL | errno.EPERM, FAIL | errno.ENOSYS
    numbers = [number for name, row in DENIED.items() if name not in allowed and (number := row[known.column]) is not None]
    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        *_unless(_EQUAL, known.architecture, refuse),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if known.has_x32:
        lines += _when(_AT_LEAST, _X32, refuse)
    for number in numbers:
        lines += _when(_EQUAL, number, refuse)
    lines += _when(_EQUAL, known.clone3, missing)
    lines += [(_EQUAL, 1, 0, known.clone), (_RETURN, 0, 0, ALLOW)]
    lines += [(_LOAD, 0, 0, _FIRST_ARGUMENT_AT), *_when(_ANY_BIT, _NEW_NAMESPACES, refuse), (_RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _when(test: int, value: int, result: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return with `result` when the test holds."""
    return (test, 0, 1, value), (_RETURN, 0, 0, result)


def _unless(test: int, value: int, result: int) -> tuple[tuple[int, int, int, int], ...]:
    return (test, 1, 0, value), (_RETURN, 0, 0, result)
