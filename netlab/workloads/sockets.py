"""The sockets of built-in workloads, made by a child of their process that keeps the one privilege this takes.

Entering a pod's namespace needs SYS_ADMIN, and what serves whoever connects must not have it. So the workloads process forks a
child before it serves anything, then gives up every capability. The child is asked for one socket at a time: namespace,
protocol and port in, a bound socket (or the kernel's error number) out, over a socket pair. It can do nothing else, and ends
with its parent: when the pair closes, and by the kernel when the parent is killed.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import traceback
from typing import Final, NoReturn

import setproctitle

from netlab.errors import KernelError
from netlab.kernel import namespaces, privileges
from netlab.workloads.serving import bound

KEPT: Final = ("NET_BIND_SERVICE", "SYS_ADMIN")
PRIVILEGES: Final = (*KEPT, "SETPCAP")  # what the parent needs when it starts: it takes them from itself and its children
LONGEST_REQUEST: Final = 8192  # bytes; a path has 4096


class SocketMaker:
    """The parent's side: call it like `bound`."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._pid = pid

    @classmethod
    def start(cls, title: str) -> SocketMaker:
        """Fork the child. Call it before there are threads or an event loop."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            _serve(theirs, title)
        theirs.close()
        return cls(ours, pid)

    def fileno(self) -> int:
        """Return what becomes readable when the child has ended."""
        return self._channel.fileno()

    def __call__(self, path: str, protocol: str, port: int) -> socket.socket:
        """Return a bound socket; waits for the child, which takes a fraction of a millisecond."""
        self._channel.send(json.dumps([path, protocol, port]).encode())
        answer, descriptors, _, _ = socket.recv_fds(self._channel, LONGEST_REQUEST, 1, socket.MSG_CMSG_CLOEXEC)
        if descriptors:
            return socket.socket(fileno=descriptors[0])
        number, words = json.loads(answer) if answer else (errno.EPIPE, "the process that creates sockets has ended")
        raise OSError(number, words)

    def close(self) -> None:
        """End the child, and wait for it."""
        self._channel.close()
        os.waitpid(self._pid, 0)


def _serve(channel: socket.socket, title: str) -> NoReturn:
    """Make sockets until the parent's end is closed: the forked child's whole life."""
    status = 1
    try:
        privileges.end_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends when its parent does
        setproctitle.setproctitle(title)
        privileges.limit(KEPT)
        while request := channel.recv(LONGEST_REQUEST):
            _answer(channel, *json.loads(request))
        status = 0
    except BaseException:  # noqa: BLE001 -- the last frame of a process: nothing may unwind into the parent's stack
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def _answer(channel: socket.socket, path: str, protocol: str, port: int) -> None:
    try:
        with namespaces.inside(path):
            endpoint = bound(path, protocol, port)
    except (OSError, KernelError) as error:
        words = getattr(error, "strerror", None) or str(error)
        channel.send(json.dumps([error.errno or errno.EIO, words]).encode())
    else:
        with endpoint:
            socket.send_fds(channel, [b"1"], [endpoint.fileno()])
