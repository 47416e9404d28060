"""Drives whole labs through the command line, as a user does, and looks at the host as `down` must leave it."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import ipaddress
import json
import re
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
TOPOLOGIES = ROOT / "topologies"
# Whoever starts the tests in the background has them ignore ^C; what a terminal starts does not.
COMMAND = ["env", "--default-signal=INT,TERM,HUP", sys.executable, "-m", "netlab"]
TIME_LIMIT = 90  # seconds for one command; a lab takes two


def run(*arguments, check=0, timeout=TIME_LIMIT, inside=()):
    """Run netlab, check its exit code (None: any), return the completed process; `inside`: a command that runs it elsewhere."""
    result = subprocess.run(
        [*inside, *COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT
    )
    if check is not None:
        assert check == result.returncode, f"netlab {' '.join(map(str, arguments))}\n{result.stdout}\n{result.stderr}"
    assert "Traceback" not in result.stderr, result.stderr
    return result


@contextlib.contextmanager
def talking(command, **options):
    """Run a command whose words a test reads as they come; it ends with the test, or when it has said nothing for too long."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT, **options}
    with subprocess.Popen(command, **pipes) as process:
        late = threading.Timer(TIME_LIMIT, process.kill)
        late.start()
        try:
            yield process
        finally:
            late.cancel()
            process.kill()


@dataclass
class LabDriver:
    """One lab under test."""

    name: str
    kept: list[Path] = field(default_factory=list)
    inside: tuple[str, ...] = ()

    def run(self, *arguments, check=0):
        return run(*arguments, check=check, inside=self.inside)

    def up(self, topology, *options, check=0):
        return self.run("up", "--name", self.name, topology, *options, check=check)

    def down(self):
        return self.run("down", self.name)

    def status(self):
        return json.loads(self.run("status", self.name, "-f", "json").stdout)

    def exec(self, target, *command, check=0):
        return self.run("exec", "--lab", self.name, target, "--", *command, check=check)

    def test(self, *options, check=0):
        """Return the connectivity record."""
        return json.loads(self.run("test", "connectivity", self.name, "-f", "json", *options, check=check).stdout)

    def service(self, name, namespace="default"):
        return next(s for s in self.status()["services"] if (s["namespace"], s["name"]) == (namespace, name))

    def pods(self, prefix):
        return [pod for pod in self.status()["pods"] if pod["name"].startswith(prefix)]

    def pid(self, process):
        return json.loads((self.state / "processes" / process).read_text())["pid"]

    @property
    def state(self):
        return Path("/run/k8s-netlab") / self.name


@dataclass(frozen=True)
class HostPicture:
    """What a lab can own on a host, and `down` must leave as it was.

    Of mounts, folders and engine objects that is what has netlab's marks or lies below its folders: other programs of the machine
    mount, log in and start containers while the tests run.
    """

    links: str
    routes: str
    rules: str
    namespaces: str
    mounts: frozenset
    run: frozenset
    processes: frozenset
    engine: tuple

    @classmethod
    def take(cls):
        def output(*command):
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        commands = {entry.name: _read(entry / "cmdline") for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        return cls(
            # Whether the engine's own bridge has a carrier depends on whether a container has just left it.
            links=re.sub(r"(qlen|state) \S+|NO-CARRIER,|,LOWER_UP", "", output("ip", "-o", "link")),
            routes=re.sub(r" linkdown| expires \d+sec", "", output("ip", "route", "show", "table", "all")),
            rules=re.sub(r"packets \d+ bytes \d+", "", output("nft", "list", "ruleset")),
            namespaces=output("ip", "netns"),
            mounts=frozenset(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if _is_ours(line.split()[4])),
            run=frozenset(str(path) for root in OWN_ROOTS for path in (root, *_entries(root)) if path.exists()),
            engine=tuple(map(_engine_says, ENGINE_LISTS)),
            processes=frozenset(f"{pid} {command!r}" for pid, command in commands.items() if b"netlab: " in command),
        )


ENGINE_SOCKET = Path("/var/run/docker.sock")
# Containers of a lab may make volumes without a label.
LABELED = "filters=" + quote(json.dumps({"label": ["netlab/lab"]}))
ENGINE_LISTS = (f"/containers/json?all=true&{LABELED}", f"/networks?{LABELED}", "/volumes")
OWN_ROOTS = (Path("/run/netns"), Path("/run/k8s-netlab"))


class _EngineConnection(http.client.HTTPConnection):
    """HTTP over the engine's Unix socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(ENGINE_SOCKET))


def _engine_says(path):
    """Return the names of what a container engine has; of one that does not run, nothing."""
    if not ENGINE_SOCKET.exists():
        return ()
    with contextlib.closing(_EngineConnection("localhost", timeout=TIME_LIMIT)) as connection:
        try:
            connection.request("GET", path)
        except ConnectionRefusedError:
            return ()
        found = json.loads(connection.getresponse().read())
    things = found.get("Volumes") or () if isinstance(found, dict) else found
    return frozenset(str(thing.get("Names") or thing["Name"]) for thing in things)


def _is_ours(mount_point):
    return any(Path(mount_point).is_relative_to(root) for root in OWN_ROOTS)


def _entries(folder):
    return folder.iterdir() if folder.is_dir() else ()


def _read(path):
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


LAB_RANGES = [
    ipaddress.ip_network(r) for r in ("10.244.0.0/16", "10.96.0.0/16", "172.30.0.0/16", "203.0.113.0/24", "198.51.100.0/24")
]
ETHERTYPE_IPV4, ETHERTYPE_ARP, ALL_PROTOCOLS = 0x0800, 0x0806, 3
SO_ATTACH_FILTER = 26


# Where a frame has IPv4 addresses: source and destination, or ARP's sender and target.
ADDRESSES = {ETHERTYPE_IPV4: (26, 30), ETHERTYPE_ARP: (28, 38)}


class Watcher:
    """Listens on every interface of the machine but `lo` for packets with an address of a lab.

    The kernel hands out only those: whatever else the machine sends and receives meanwhile does not fill the socket.
    """

    def __init__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in only_of_labs())
        filter_ = ctypes.create_string_buffer(program, len(program))
        self.socket.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(filter_))
        )
        self.socket.setblocking(False)

    def strays(self):
        """Return the lab's packets seen so far; fails when the kernel dropped any before they were read."""
        found = []
        while True:
            try:
                frame, (interface, *_) = self.socket.recvfrom(65535)
            except BlockingIOError:
                break
            if interface != "lo" and any(address in network for address in addresses(frame) for network in LAB_RANGES):
                found.append((interface, frame[:64].hex()))
        _, dropped = struct.unpack("II", self.socket.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
        assert 0 == dropped
        return found

    def close(self):
        self.socket.close()


def only_of_labs():
    """Return the BPF program that passes frames with an address of LAB_RANGES: (code, jump if true, if false, operand)."""
    half_word, word, mask, equal, verdict, everything = 0x28, 0x20, 0x54, 0x15, 0x06, 0xFFFFFFFF
    program = []
    for kind, offsets in ADDRESSES.items():
        compared = [
            instruction
            for offset in offsets
            for network in LAB_RANGES
            for instruction in (
                (word, 0, 0, offset),
                (mask, 0, 0, int(network.netmask)),
                (equal, 0, 1, int(network.network_address)),
                (verdict, 0, 0, everything),
            )
        ]
        program += [(half_word, 0, 0, 12), (equal, 0, len(compared), kind), *compared]
    return [*program, (verdict, 0, 0, 0)]


def addresses(frame):
    """Return the IPv4 addresses of a frame."""
    where = ADDRESSES.get(int.from_bytes(frame[12:14], "big"), ())
    return [ipaddress.ip_address(frame[i : i + 4]) for i in where if len(frame) >= i + 4]
