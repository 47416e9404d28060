"""Named network namespaces without a process each: make, remove, enter.

Rules:
1. A namespace is kept alive by a bind mount of its nsfs file on a name below /run/netns, as `ip netns` does, so every
   tool for `ip netns` works with ours. Nothing is forked: the calling thread unshares, mounts, and returns by `setns`.
   1000 take 0.7 s; pyroute2 and `ip netns add` fork for each one.
2. A thread that is inside a namespace must come back. If the kernel refuses the way back, that thread is unusable
   and the error states it; it is never swallowed.
3. A thread is in its own namespace already: `inside(OWN)` changes nothing, and so needs no privilege. The agents' processes
   are born in their host's namespace and name it so; the agent in a node's container could not enter any.
4. A name is a plain, empty file. A symbolic link, a folder or a file with content was made by another program: it is never
   followed, mounted on or removed (`occupant` distinguishes them).
5. Removing is detaching the mount and unlinking the name; the kernel frees the namespace when the last process and
   socket have left it. Doing it twice is not an error.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from netlab.errors import KernelError
from netlab.kernel import libc
from netlab.kernel.door import Occupant
from netlab.kernel.refusal import no_namespace

OWN = "/proc/thread-self/ns/net"  # the namespace that the calling thread is in
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41

_REMEDIES = {
    errno.EPERM: "Run netlab as root: it needs CAP_SYS_ADMIN and CAP_NET_ADMIN.",
    errno.ENOSPC: "Too many namespaces: raise the sysctl user.max_net_namespaces.",
    errno.EINVAL: "This kernel may lack network namespaces (CONFIG_NET_NS); run `netlab doctor`.",
}


def create(paths: Sequence[str]) -> None:
    """Make namespaces with `lo` up. One that is alive is left alone; a dead name left over is used again."""
    missing = [path for path in paths if not exists(path)]
    if not missing:
        return
    with _returning():
        for path in missing:
            _create_one(path)


def bind(source: str, path: str) -> None:
    """Name a namespace that another process made; the name must be free. It lives as long as the name, also without its maker."""
    _make_file(path)
    try:
        _keep(source, path)
    except KernelError:
        Path(path).unlink(missing_ok=True)
        raise


def is_same(one: str, other: str) -> bool:
    """Return whether two paths name the same live namespace."""
    return exists(one) and exists(other) and Path(one).stat().st_ino == Path(other).stat().st_ino


def delete(paths: Sequence[str]) -> None:
    """Remove namespaces; one that does not exist is not an error, and what is not a namespace's name stays."""
    for path in paths:
        if occupant(path) is Occupant.OTHER:
            continue
        _detach_all(path)
        try:
            _unlink(path)
        except OSError as error:
            raise KernelError(
                f"The kernel refused to remove {path}: {error.strerror}.",
                errno=error.errno or 0,
                remedy="Another mount hides its folder: remove that mount with `umount`, then try again.",
            ) from error


def _unlink(path: str) -> None:
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _unlink_hidden(path)


def _unlink_hidden(path: str) -> None:
    """Unlink a name on which a mount lies that another mount hides.

    The first `ip netns add` of a machine mounts the folder on itself. Names that were mounted before are then mounted twice,
    and the lower mount cannot be reached by its path any more. In its own mount namespace a thread can take off the
    folder's mount without an effect on other processes, and every mount on the name. When a name is unlinked that is
    not a mount point there, the kernel removes the mounts on it in all mount namespaces.
    """
    failures: list[OSError] = []

    def work() -> None:
        try:
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount("none", "/", "none", libc.MS_REC | libc.MS_PRIVATE)
            libc.detach(str(Path(path).parent))
            with suppress(OSError):
                while True:
                    libc.detach(path)
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="unlink namespace")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _detach_all(path: str) -> None:
    """Take every mount off a name: there are two when two made it at once."""
    try:
        while True:
            libc.detach(path)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOENT}:  # nothing is mounted there, or nothing is there
            raise _refused(f"remove the network namespace {path}", error) from error


def exists(path: str) -> bool:
    """Return whether `path` is a live network namespace: not a mere file, not one whose mount is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(descriptor, _NS_GET_NSTYPE) == libc.CLONE_NEWNET
    except OSError:
        return False
    finally:
        os.close(descriptor)


def occupant(path: str) -> Occupant:
    """Return what a name holds. A symbolic link is not followed."""
    try:
        found = os.lstat(path)
    except OSError:
        return Occupant.NOTHING
    if not stat.S_ISREG(found.st_mode):
        return Occupant.OTHER
    if exists(path):
        return Occupant.NAMESPACE
    return Occupant.OTHER if found.st_size else Occupant.NAME


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Enter a namespace in this thread for a `with` block. Threads and processes started in it begin there: start none."""
    if path == OWN:
        yield
        return
    target = open_namespace(path)
    try:
        with _returning():
            _enter(target, path)
            yield
    finally:
        os.close(target)


@contextmanager
def scratch() -> Iterator[str]:
    """Put this thread into a new, nameless namespace for a `with` block, and yield its path. It goes with the block."""
    with _returning():
        _unshare("a network namespace without a name")
        yield OWN


def open_namespace(path: str) -> int:
    """Return a descriptor of a namespace, to enter it by."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise no_namespace(path, error.errno or 0) from error


def _enter(target: int, path: str) -> None:
    try:
        libc.setns(target, libc.CLONE_NEWNET)
    except OSError as error:
        raise (no_namespace(path, errno.EINVAL) if error.errno == errno.EINVAL else _refused(f"enter {path}", error)) from error


@contextmanager
def _returning() -> Iterator[None]:
    """Bring the thread back to the namespace it was in, whatever happens."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            libc.setns(own, libc.CLONE_NEWNET)
        except OSError as error:
            raise _refused("return to the namespace this thread came from; end this process", error) from error
        finally:
            os.close(own)


def _create_one(path: str) -> None:
    _make_file(path)
    try:
        _unshare(path)
        _keep(OWN, path)
        _loopback_up()
    except KernelError:
        with suppress(KernelError):  # the first refusal is the one to report
            delete([path])
        raise


def _make_file(path: str) -> None:
    folder = Path(path).parent
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444))
    except OSError as error:
        raise KernelError(
            f"Cannot create the file {path} for a network namespace: {error.strerror}.",
            errno=error.errno or 0,
            remedy="Run netlab as root, with /run writable.",
        ) from error


def _unshare(what: str) -> None:
    try:
        libc.unshare(libc.CLONE_NEWNET)
    except OSError as error:
        raise _refused(f"create {what}", error) from error


def _keep(source: str, path: str) -> None:
    """Mount a namespace on a name, so that it stays."""
    try:
        libc.mount(source, path, "none", libc.MS_BIND)
    except OSError as error:
        raise _refused(f"mount the network namespace on {path}", error) from error


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))


def _refused(what: str, error: OSError) -> KernelError:
    number = error.errno or 0
    return KernelError(f"The kernel refused to {what}: {os.strerror(number)}.", errno=number, remedy=_REMEDIES.get(number, ""))
