"""Linux capabilities, by the names that `securityContext.capabilities` uses: what a container has, and what it may ask for.

A container begins with what containerd and Docker leave one on a cluster (DEFAULT). It may ask for more only within GRANTABLE:
what acts on its own network, memory and processes. The others act on the machine, which a lab leaves alone (principle 2).
"""

from __future__ import annotations

from typing import Final

ALL: Final = "ALL"

DEFAULT: Final = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip

GRANTABLE: Final = tuple(sorted((*DEFAULT, "IPC_LOCK", "IPC_OWNER", "LEASE", "NET_ADMIN", "NET_BROADCAST", "SYS_NICE")))

# Bits of the kernel's sets (linux/capability.h).
NUMBERS: Final = {
    name: number
    for number, name in enumerate(
        (
            "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
            "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
            "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
            "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
            "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
            "CHECKPOINT_RESTORE",
        )
    )
}  # fmt: skip

REFUSED: Final = (ALL, *sorted(set(NUMBERS) - set(GRANTABLE)))  # known, and no container of a lab gets them
