"""A process gives up what it does not need, for good: capabilities, the gaining of new ones, rare system calls.

`limit` is called by a process of one thread, after it has entered its namespaces and before it runs anybody's code or reads
anybody's data: all three are attributes of a thread that its children inherit.

- no_new_privs: no exec gives a capability that the process has not (setuid, file capabilities, being root).
- capabilities: all sets but the ambient one, which empties itself. The bounding set needs SETPCAP to be lowered; without, the
  line above holds what it would hold.
- a filter of system calls (`netlab.kernel.seccomp`).

What a process has is in /proc/<pid>/status: CapEff, NoNewPrivs, Seccomp.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection
from typing import Final

from netlab.api.capabilities import NUMBERS
from netlab.kernel import libc, seccomp

_PR_SET_PDEATHSIG, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_VERSION_3: Final = 0x20080522  # linux/capability.h: sets of 64 bits
_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: low words, then high words
ENTERING: Final = ("setns",)  # what SYS_ADMIN is kept for, where a process keeps it


def limit(capabilities: Collection[str], *, filtered: bool = True) -> None:
    """Keep these capabilities at most, of those that the process has, and no way to more. Raises OSError."""
    wanted = sum(1 << NUMBERS[name] for name in capabilities)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    permitted = _permitted()
    if permitted >> NUMBERS["SETPCAP"] & 1:
        _lower_bounding_set(wanted)
    if filtered and (program := seccomp.program(os.uname().machine, ENTERING if "SYS_ADMIN" in capabilities else ())):
        _install(program)
    kept = permitted & wanted
    low, high = kept & 0xFFFFFFFF, kept >> 32
    libc.capset(_VERSION_3, _SETS.pack(low, low, 0, high, high, 0))


def end_with_parent(signal: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    libc.prctl(_PR_SET_PDEATHSIG, signal)


def _permitted() -> int:
    _, low, _, _, high, _ = _SETS.unpack(libc.capget(_VERSION_3, _SETS.size))
    return int(low | high << 32)


def _lower_bounding_set(wanted: int) -> None:
    for number in range(64):
        try:
            is_in = libc.prctl(_PR_CAPBSET_READ, number)
        except OSError:  # the kernel has no more
            return
        if is_in and not wanted >> number & 1:
            libc.prctl(_PR_CAPBSET_DROP, number)


def _install(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    held = ctypes.create_string_buffer(header, len(header))
    try:
        libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(held))
    except OSError as error:
        if error.errno != errno.EINVAL:  # the kernel was built without filters; the capabilities are limited anyway
            raise
