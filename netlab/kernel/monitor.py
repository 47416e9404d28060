"""What changes in a namespace, as it happens: the names of the devices that a change concerns.

How it works. A netlink socket joins rtnetlink's groups for links, IPv4 addresses and IPv4 routes; its descriptor is readable
when something has changed (semantics 2.22). `read` takes all messages and returns which devices they concern. It does not
return what changed: a reader looks at the whole, as after a resync. ARP and FDB entries are not listened for: the kernel
makes and ages its own all the time, and flannel does not either.

What would surprise you:
- One's own changes are received, too.
- Routes that go with their device or address are not announced by the kernel, only the device or address is.
- When more happens than the socket can hold, the kernel drops messages and reports it: then it may have been any device (`ANY`).
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final

from netlab.kernel import listing, namespaces
from netlab.kernel.codecs import NETLINK_ROUTE, ifaddrmsg, ifinfmsg, rtmsg, rtnl
from netlab.kernel.listing import Form

ANY: Final = "*"  # in place of a device's name
RECEIVE = 1 << 16
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE = (1 << number - 1 for number in (1, 5, 7))  # RTNLGRP_*
_HEADER = struct.Struct("=IHHI")
_LINKS = Form(ifinfmsg, {"IFLA_IFNAME": listing.text})
_ADDRESSES = Form(ifaddrmsg, {})
_ROUTES = Form(rtmsg, {"RTA_OIF": listing.number})
_KINDS = {
    rtnl.RTM_NEWLINK: (_LINKS, "index"),
    rtnl.RTM_DELLINK: (_LINKS, "index"),
    rtnl.RTM_NEWADDR: (_ADDRESSES, "index"),
    rtnl.RTM_DELADDR: (_ADDRESSES, "index"),
    rtnl.RTM_NEWROUTE: (_ROUTES, "RTA_OIF"),
    rtnl.RTM_DELROUTE: (_ROUTES, "RTA_OIF"),
}


class LinuxMonitor:
    """Receives changes in one namespace from now on. It stays in that namespace, whichever thread reads it."""

    def __init__(self, path: str) -> None:
        with namespaces.inside(path):
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
            )
            self._socket.bind((0, _LINK | _IPV4_ADDRESS | _IPV4_ROUTE))
            self._names = dict(socket.if_nameindex())

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def read(self) -> frozenset[str]:
        """Return the devices that something has happened to since the last call; never blocks."""
        devices: set[str] = set()
        while True:
            try:
                datagram = self._socket.recv(RECEIVE)
            except BlockingIOError:
                return frozenset(devices)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                devices.add(ANY)
                continue
            devices.update(self._devices(datagram))

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _devices(self, datagram: bytes) -> set[str]:
        found: set[str] = set()
        offset = 0
        while offset < len(datagram):
            length, kind, _flags, _number = _HEADER.unpack_from(datagram, offset)
            if kind in _KINDS:
                found.add(self._device(datagram, offset, length, kind))
            offset += length + (-length % 4)
        return found - {""}

    def _device(self, datagram: bytes, offset: int, length: int, kind: int) -> str:
        form, field = _KINDS[kind]
        message = form.read(datagram, offset, length)
        index = message.get(field, 0)
        if kind in {rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK}:
            self._names[index] = message.get("IFLA_IFNAME", "")
        return self._names.get(index, "")
