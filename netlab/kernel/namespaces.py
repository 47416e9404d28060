"""Named network namespaces without a process each: make, remove, enter.

Rules:
1. A namespace is kept alive by a bind mount of its nsfs file on a name below /run/netns, as `ip netns` does, so every
   tool that knows `ip netns` knows ours. Nothing is forked: the calling thread unshares, mounts, and returns by `setns`.
   1000 take 0.7 s; pyroute2 and `ip netns add` fork for each one.
2. A thread that is inside a namespace must come back. If the kernel refuses the way back, that thread is of no use any
   more and the error says so; it is never swallowed.
3. Removing is detaching the mount and unlinking the name; the kernel frees the namespace when the last process and
   socket have left it. Doing it twice is no error.
4. Python 3.11 has no os.setns and os.unshare: ctypes calls libc's, which releases the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from netlab.errors import KernelError
from netlab.kernel.refusal import no_namespace

OWN = "/proc/thread-self/ns/net"
CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41

_libc = ctypes.CDLL(None, use_errno=True)
_REMEDIES = {
    errno.EPERM: "Run netlab as root: it needs CAP_SYS_ADMIN and CAP_NET_ADMIN.",
    errno.ENOSPC: "Too many namespaces: raise the sysctl user.max_net_namespaces.",
    errno.EINVAL: "This kernel may lack network namespaces (CONFIG_NET_NS); `netlab doctor` tells.",
}


def create(paths: Sequence[str]) -> None:
    """Make namespaces with `lo` up. One that is alive is left alone; a dead name left over is used again."""
    missing = [path for path in paths if not exists(path)]
    if not missing:
        return
    with _returning():
        for path in missing:
            _create_one(path)


def delete(paths: Sequence[str]) -> None:
    """Remove namespaces; one that does not exist is no error."""
    for path in paths:
        while _libc.umount2(path.encode(), _MNT_DETACH) == 0:
            pass  # mounted twice when two made it at once
        if ctypes.get_errno() not in {errno.EINVAL, errno.ENOENT}:
            raise _refused(f"remove the network namespace {path}")
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            raise KernelError(
                f"The kernel refused to remove {path}: {error.strerror}.",
                errno=error.errno or 0,
                remedy="Another mount over its folder hides it: `umount` that one, then try again.",
            ) from error


def exists(path: str) -> bool:
    """Tell whether `path` is a live network namespace: not a mere file, not one whose mount is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(descriptor, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Enter a namespace in this thread for a `with` block. Threads and processes started in it begin there: start none."""
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise no_namespace(path, error.errno or 0) from error
    try:
        with _returning():
            if _libc.setns(target, CLONE_NEWNET):
                raise no_namespace(path, errno.EINVAL) if ctypes.get_errno() == errno.EINVAL else _refused(f"enter {path}")
            yield
    finally:
        os.close(target)


@contextmanager
def scratch() -> Iterator[None]:
    """Enter a new namespace without a name; it is gone after the `with` block."""
    with _returning():
        _unshare("a scratch network namespace")
        yield


@contextmanager
def _returning() -> Iterator[None]:
    """Bring the thread back to the namespace it was in, whatever happens."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        failed = _libc.setns(own, CLONE_NEWNET)
        os.close(own)
        if failed:
            raise _refused("return to the namespace this thread came from; end this process")


def _create_one(path: str) -> None:
    folder = Path(path).parent
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    except OSError as error:
        raise KernelError(
            f"Cannot make the file {path} for a network namespace: {error.strerror}.",
            errno=error.errno or 0,
            remedy="Run netlab as root, with /run writable.",
        ) from error
    try:
        _unshare(path)
        if _libc.mount(OWN.encode(), path.encode(), None, _MS_BIND, None):
            raise _refused(f"mount the network namespace on {path}")
        _loopback_up()
    except KernelError:
        with suppress(KernelError):  # the first refusal is the one to tell
            delete([path])
        raise


def _unshare(what: str) -> None:
    if _libc.unshare(CLONE_NEWNET):
        raise _refused(f"make {what}")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))


def _refused(what: str) -> KernelError:
    number = ctypes.get_errno()
    return KernelError(f"The kernel refused to {what}: {os.strerror(number)}.", errno=number, remedy=_REMEDIES.get(number, ""))
