"""What a lab keeps on disk, all below /run/k8s-netlab/<lab>/: the record `down`, `status` and `gc` work from.

Everything is recorded before it is created, and its record is removed after it is removed, so a
crash at any moment leaves a record of everything that may exist. The data plane reads nothing of
it. It is on tmpfs: cheap, and cleared by a reboot.

    store.db            the API server's objects (SQLite)
    pki/                the lab's certificate authority and server certificate
    tokens/<user>       bearer tokens, mode 0600: admin, edge, node-<name>
    kubeconfig          for kubectl, mode 0600
    api.json            where the API server listens: {"loopback": port, "fabric": address, "pid": of the daemon}
    netns/<name>        one empty file per network namespace made
    processes/<name>    one JSON file per process started: {"pid": 1, "start": clock ticks since boot}
    pods/<uid>/         etc/: resolv.conf, hosts, hostname; container logs, environments, pipes
    hosts/<name>/       resolv.conf, hosts, hostname of a node, client or the edge, for `netlab exec`
    ipam/<node>         the pod address last handed out
    logs/<name>.log     the output of each process
    sockets/<name>      Unix sockets between processes of the lab; api: the API server's
    lab.json            the lab as it was created: its networks cannot change
    images.json         with runtime docker: the image of each role, {"node": "netlab/node:0123456789ab"}

Beside the labs: `.<lab>.lock`, held by the command that changes a lab.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from netlab.errors import DamagedRecordError

T = TypeVar("T")

STATE_ROOT_VARIABLE = "K8SNETLAB_STATE"
MACHINE_ROOT = Path("/run/k8s-netlab")
API_SOCKET = "api"  # the API server's socket for the command line, reachable from every namespace
OWN_NETNS_DIRECTORY = ".made-netns-directory"  # beside the labs: netlab created /run/netns, so netlab removes it


def state_root() -> Path:
    """Return /run/k8s-netlab, or the folder named by K8SNETLAB_STATE (tests), or the user's own when not root."""
    if override := os.environ.get(STATE_ROOT_VARIABLE):
        return Path(override).absolute()
    if os.geteuid() == 0:
        return MACHINE_ROOT
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}").absolute() / "k8s-netlab"


class ApiEndpoint(msgspec.Struct, frozen=True):
    """The content of `api.json`."""

    loopback: int
    fabric: str = ""
    pid: int = 0


@dataclass(frozen=True)
class StateDirectory:
    """The paths of one lab's record."""

    lab: str
    root: Path

    @classmethod
    def of(cls, lab: str) -> StateDirectory:
        """Return the record of a lab; nothing is created."""
        return cls(lab, state_root() / lab)

    @property
    def store(self) -> Path:
        return self.root / "store.db"

    @property
    def lab_file(self) -> Path:
        return self.root / "lab.json"

    @property
    def images_file(self) -> Path:
        return self.root / "images.json"

    def read(self, path: Path, kind: type[T]) -> T:
        """Decode a file of the record.

        Raises FileNotFoundError, or DamagedRecordError if it is malformed.
        """
        content = path.read_bytes()
        try:
            return msgspec.json.decode(content, type=kind)
        except (ValueError, RecursionError) as error:  # malformed, of another kind, not UTF-8, too deep
            raise self.damaged(path, str(error)) from error

    def damaged(self, path: Path, why: str) -> DamagedRecordError:
        """Return the error for a file of the record that is unusable and cannot be rebuilt."""
        return DamagedRecordError(
            f"the record of lab {self.lab!r} is damaged: {path}: {why}",
            remedy=f"Remove the lab, which does not need the file: netlab down {self.lab}",
        )

    def read_images(self) -> dict[str, str]:
        """Return the image of each role, which `up` has recorded."""
        return self.read(self.images_file, dict[str, str])

    def read_endpoint(self) -> ApiEndpoint | None:
        """Return where the API server listens, None if there is no record of it."""
        try:
            return self.read(self.api, ApiEndpoint)
        except (FileNotFoundError, DamagedRecordError):
            return None

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def certificate_authority(self) -> Path:
        return self.pki / "ca.crt"

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    @property
    def admin_token(self) -> Path:
        return self.tokens / "admin"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def api(self) -> Path:
        return self.root / "api.json"

    @property
    def namespaces(self) -> Path:
        return self.root / "netns"

    @property
    def processes(self) -> Path:
        return self.root / "processes"

    @property
    def ipam(self) -> Path:
        return self.root / "ipam"

    def recorded_namespaces(self) -> tuple[str, ...]:
        """Return the recorded network namespaces, in order.

        Return no names if the record was removed by hand.
        """
        return tuple(sorted(entry.name for entry in self.namespaces.iterdir())) if self.namespaces.is_dir() else ()

    def recorded_logs(self) -> tuple[str, ...]:
        """Return the names of the processes whose log is on record, in order."""
        return tuple(sorted(path.stem for path in (self.root / "logs").glob("*.log")))

    def pod(self, uid: str) -> Path:
        """Return the folder of a pod's injected files and container logs."""
        return self.root / "pods" / uid

    def host(self, name: str) -> Path:
        """Return the folder of a host's injected files."""
        return self.root / "hosts" / name

    def log(self, process: str) -> Path:
        """Return the log of one of the lab's processes."""
        return self.root / "logs" / f"{process}.log"

    def socket(self, name: str) -> Path:
        """Return the path of a Unix socket between processes of the lab."""
        return self.root / "sockets" / name

    def create(self) -> None:
        """Create the folders, readable by their owner only."""
        names = ("", "pki", "tokens", "netns", "processes", "ipam", "pods", "hosts", "logs", "sockets")
        for folder in (self.root / name for name in names):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
