"""Captures: every packet of every probe, in every namespace it passes: one AF_PACKET socket per namespace, all devices.

How it works. A filter in the kernel keeps what can be a probe's (TCP with SYN or RST, UDP, ICMP, the same inside
VXLAN) and cuts it to SNAP_LENGTH bytes, so neither the control plane's traffic nor bulk data reaches Python. What
is left is read by `wire` and filed under the probe's key. The kernel's time stamps order what several sockets saw (`stamps`).

What would surprise you: AF_PACKET sees a packet before prerouting on its way in and after postrouting on its way
out. A packet translated on arrival and delivered to the same node's own sockets is never seen translated. It also sees frames
that a bridge floods and the host does not take: such a sighting is kept as evidence, and does not count as an arrival.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from netlab.dataplane import names
from netlab.errors import KernelError
from netlab.probe.run.stamps import ask_for_stamps, stamping, time_of
from netlab.probe.run.vantage import Enter
from netlab.probe.run.wire import Packet, Sighting, read

SNAP_LENGTH = 256  # VXLAN and inner headers take 104 bytes, an ICMP error quotes another 40, then a mark of 29
RECEIVE_BUFFER = 8 << 20
ETH_P_ALL = 3
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
PACKET_OTHERHOST, PACKET_OUTGOING = 3, 4
LD_HALF, LD_BYTE, JUMP, JUMP_EQUAL, JUMP_SET, RETURN = 0x28, 0x30, 0x05, 0x15, 0x45, 0x06


def kernel_filter(vxlan_port: int) -> list[tuple[int, int, int, int]]:
    """Return the classic BPF program: (code, steps to skip if true, if false, operand)."""
    return [
        (LD_HALF, 0, 0, 12),  # 0 EtherType
        (JUMP_EQUAL, 0, 13, 0x0800),  # 1 not IPv4: drop
        (LD_BYTE, 0, 0, 23),  # 2 protocol
        (JUMP_EQUAL, 10, 0, 1),  # 3 ICMP: keep
        (JUMP_EQUAL, 7, 0, 6),  # 4 TCP: to 12
        (JUMP_EQUAL, 0, 9, 17),  # 5 not UDP: drop
        (LD_HALF, 0, 0, 36),  # 6 UDP destination port
        (JUMP_EQUAL, 0, 6, vxlan_port),  # 7 not VXLAN: keep
        (LD_BYTE, 0, 0, 73),  # 8 protocol inside VXLAN
        (JUMP_EQUAL, 0, 4, 6),  # 9 not TCP: keep
        (LD_BYTE, 0, 0, 97),  # 10 TCP flags inside VXLAN
        (JUMP, 0, 0, 1),  # 11 to 13
        (LD_BYTE, 0, 0, 47),  # 12 TCP flags
        (JUMP_SET, 0, 1, 0x06),  # 13 neither SYN nor RST: drop
        (RETURN, 0, 0, SNAP_LENGTH),  # 14 keep
        (RETURN, 0, 0, 0),  # 15 drop
    ]


class Capture:
    """Capture sockets in many namespaces, and the packets that they received, by key.

    `missing` names the places that could not be listened to, `lost` how many packets the kernel dropped for a place
    because the reader was too slow: absence of a packet proves something only where neither holds.
    """

    def __init__(self, enter: Enter, vxlan_port: int) -> None:
        self._enter = enter
        self._vxlan_port = vxlan_port
        self._sockets: dict[str, socket.socket] = {}
        self._seen: dict[str, list[Sighting]] = {}
        self._waiting: dict[str, tuple[Callable[[Packet], bool], asyncio.Future[None]]] = {}
        self._order = 0
        self.missing: dict[str, str] = {}
        self.lost: dict[str, int] = {}

    async def open(self, places: Iterable[tuple[str, str]], quiet: Iterable[str]) -> None:
        """Start listening; `places` are names to show and the names of their network namespaces.

        Returns when what is sent will be seen with its time; `quiet`: see `stamps.stamping`.
        """
        loop = asyncio.get_running_loop()
        for shown, namespace in places:
            if shown in self._sockets:
                continue
            try:
                self._sockets[shown] = sock = self._socket(names.namespace_path(namespace))
            except (OSError, KernelError) as error:
                self.missing[shown] = str(error)
                continue
            loop.add_reader(sock, self._receive, shown, sock)
        await stamping(self._enter, quiet)

    def _socket(self, path: str) -> socket.socket:
        with self._enter(path):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        try:
            _attach(sock, kernel_filter(self._vxlan_port))
            _enlarge(sock)
            ask_for_stamps(sock)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
        return sock

    def drain(self) -> None:
        """Read all that has arrived so far, in all places."""
        for shown, sock in self._sockets.items():
            self._receive(shown, sock)

    def _receive(self, shown: str, sock: socket.socket) -> None:
        while True:
            try:
                frame, ancillary, _, (device, _, kind, *_) = sock.recvmsg(SNAP_LENGTH, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # a device went away: the others continue
                    raise
                continue
            packet = read(frame, self._vxlan_port)
            if packet is None:
                continue
            self._order += 1
            direction = "out" if kind == PACKET_OUTGOING else "in"
            flooded = kind == PACKET_OTHERHOST and not is_bridge_port(shown, device)
            sighting = Sighting(shown, device, direction, time_of(ancillary), self._order, packet, frame, flooded)
            self._seen.setdefault(packet.key, []).append(sighting)
            if not flooded:
                self._wake(packet)

    def _wake(self, packet: Packet) -> None:
        accepts, future = self._waiting.get(packet.key, (None, None))
        if accepts and future and not future.done() and accepts(packet):
            future.set_result(None)

    def arrival(self, key: str, accepts: Callable[[Packet], bool]) -> asyncio.Future[None]:
        """Return a future that is done when a packet of `key` that `accepts` has been seen somewhere."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key] = (accepts, future)
        for sighting in self._seen.get(key, ()):
            if not sighting.flooded:
                self._wake(sighting.packet)
        return future

    def take(self, key: str) -> tuple[Sighting, ...]:
        """Return what was seen of a probe, in the order of time, and forget it."""
        self._waiting.pop(key, None)
        return tuple(sorted(self._seen.pop(key, ()), key=lambda s: (s.time, s.order)))

    def close(self) -> None:
        """Stop. The kernel makes each closing wait for all CPUs (synchronize_net), so they wait together."""
        loop = asyncio.get_running_loop()
        for shown, sock in self._sockets.items():
            loop.remove_reader(sock)
            if dropped := struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]:
                self.lost[shown] = dropped
        if self._sockets:
            with ThreadPoolExecutor(min(32, len(self._sockets))) as pool:
                list(pool.map(socket.socket.close, self._sockets.values()))
        self._sockets.clear()


def is_bridge_port(place: str, device: str) -> bool:
    """Return whether a device is a port of a bridge: there every frame is for another MAC, and is forwarded."""
    return place == names.FABRIC or device.startswith(names.POD_LINK_PREFIX)


def _enlarge(sock: socket.socket) -> None:
    """Enlarge the buffer for bursts: fully as the machine's root, up to net.core.rmem_max as an ordinary user."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _attach(sock: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    """Attach a classic BPF filter (struct sock_fprog)."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
