"""The lab's one long-lived process: API server, controllers, kubelet, the lab's own controller.

The order of a start, and why:

    1. import what the runtime needs       `up` prepares the lab at that time; then wait for its order
    2. record this process                 a command that reads the record can end it; then release the
                                           lab's lock, and change to the record's folder, by which
                                           `gc` finds this process without a record; drop the
                                           capabilities that no part of a lab needs
    3. the runtime's machinery             with netns it forks the spawner: before there are threads or an
                                           event loop, and with everything imported and read that
                                           its children need, so that they share that memory
    4. open the store, tokens, certificate the lab's objects survive the daemon
    5. serve on the host's loopback        now `up` may write objects: send `ready`
    6. controllers, kubelet, hosts         each a loop that compares wanted with observed; order does not matter
    7. serve on the underlay               as soon as the fabric exists; agents keep trying until then

If a daemon is killed, everything else keeps running. The next one finds the store, the namespaces
and the processes by their records, and adopts them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from asyncio import sslproto
from collections.abc import Sequence
from pathlib import Path

import msgspec
import setproctitle

from netlab.api.capabilities import GRANTABLE
from netlab.api.lab import DOCKER, NETNS, HostStatus, Lab
from netlab.api.resources import ENDPOINT_SLICES, LABS, PODS
from netlab.api.wellknown import LOOK
from netlab.containment import Contained
from netlab.controlplane.api import Api
from netlab.controlplane.auth import ADMIN, EDGE, TokenTable, node_user
from netlab.controlplane.connections import TLS_BUFFER, api_roster
from netlab.controlplane.controllers.table import SLICES_OF_PODS
from netlab.controlplane.http import trust
from netlab.controlplane.kubeconfig import kubeconfig, write_kubeconfig
from netlab.controlplane.local import LocalClient
from netlab.controlplane.manager import Manager
from netlab.controlplane.options import ApiSettings
from netlab.controlplane.pki import Pki
from netlab.controlplane.server import ServerHandle, serve
from netlab.controlplane.store import FIRST_VERSION, Store
from netlab.controlplane.validation import LabRules
from netlab.daemon.convergence import Convergence
from netlab.daemon.hostfiles import write_host_files
from netlab.daemon.hosts import LabController
from netlab.daemon.machinery import Machinery, Maker
from netlab.daemon.routes import converged_route
from netlab.errors import ApiError, NetlabError, is_not_found
from netlab.files import socket_address, write_whole
from netlab.hosts.hosts import fabric_path
from netlab.ipam import API_SERVER_PORT, AddressPlan
from netlab.kernel import privileges
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.overflow import Overflows
from netlab.node.kubelet.kubelet import Kubelet
from netlab.process import logs
from netlab.process.identity import start_time
from netlab.process.launch import receive_order, say_ready
from netlab.process.lifetime import run_until_terminated
from netlab.process.records import DAEMON, ProcessRecord, strike_off, write_record
from netlab.serving.descriptors import raise_limit
from netlab.state import API_SOCKET, ApiEndpoint, StateDirectory

# What the daemon and its spawner keep (docs/security.md): what containers may be given, and
CAPABILITIES = (
    *GRANTABLE,
    "SYS_ADMIN",  # make and enter namespaces, mount in them
    "SYS_PTRACE",  # runtime docker: open the namespaces of containers, whose capabilities are others
    "SYS_RESOURCE",  # as many descriptors as connections
)
log = logging.getLogger("netlab.daemon")


def _netns() -> Maker:
    from netlab.daemon.machinery_netns import make  # noqa: PLC0415 -- for this runtime alone

    return make


def _docker() -> Maker:
    from netlab.daemon.machinery_docker import make  # noqa: PLC0415 -- for this runtime alone

    return make


MAKERS = {NETNS: _netns, DOCKER: _docker}


def main(runtime: str) -> None:
    """Run the daemon of the lab that `up` names, until SIGTERM."""
    make = MAKERS[runtime]()
    order = receive_order()
    if order is None:
        return
    state = StateDirectory(order.root.name, order.root)
    logs.configure()
    setproctitle.setproctitle(f"netlab: {state.lab} daemon")
    pid = os.getpid()
    write_record(state, ProcessRecord(DAEMON, pid, start_time(pid) or 0))
    os.close(order.lock)
    os.chdir(state.root)
    privileges.limit(CAPABILITIES, filtered=False)  # its children would inherit a filter, but they mount and enter namespaces
    trust(str(state.certificate_authority))
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    lab = state.read(state.lab_file, Lab)
    try:
        machinery = make(LinuxKernel(), state, lab)
        raise_limit()  # after the spawner's fork: a pod's command starts with the limit of `up`
        gc.freeze()  # imports are never garbage; not visiting them keeps their memory shared with forked processes
        daemon = Daemon(state, lab, machinery, socket.socket(fileno=order.loopback))
        run_until_terminated(daemon.run(), log, f"daemon=ended lab={state.lab}")
    except Exception as error:
        log.critical("daemon=died lab=%s error=%r", state.lab, _first_cause(error))
        if isinstance(error, NetlabError):  # the message is enough; a traceback adds nothing
            raise SystemExit(1) from None
        raise
    strike_off(state, DAEMON)


def _first_cause(error: BaseException) -> str:
    """Return the first error in one line, without the groups that tasks wrap their errors in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _first_version(state: StateDirectory) -> int:
    """Return the first resourceVersion of a new store, above all of a lost store.

    Agents watch from the last version that they have seen. They would take a repeated number for
    one that they have programmed.
    """
    return time.time_ns() // 1_000_000 if state.recorded_namespaces() else FIRST_VERSION


class Daemon:
    """The daemon, composed of its parts."""

    def __init__(self, state: StateDirectory, lab: Lab, machinery: Machinery, loopback: socket.socket) -> None:
        self._state = state
        self._lab = lab
        self._machinery = machinery
        self._loopback = loopback
        self._plan = AddressPlan.of(lab)
        self._tokens = TokenTable.open(state.tokens, [ADMIN, EDGE])
        self._store = Store.open(state.store, first=_first_version(state))
        networking = lab.spec.networking
        settings = ApiSettings(service_subnet=networking.service_subnet, node_port_range=networking.node_port_range)
        self._api = Api(self._store, settings=settings, tokens=self._tokens, validate=LabRules(lab, self._store))
        self._client = LocalClient(self._api)
        self._tls = Pki(state.pki).server_context()
        self._roster = api_roster()  # for all listeners: their connections share the process's descriptors
        self._servers: list[ServerHandle] = []
        self._fabric_door: tuple[int, asyncio.Task[ServerHandle]] | None = None  # the namespace it is in, by inode

    async def run(self) -> None:
        """Run until SIGTERM."""
        machinery = self._machinery
        manager = Manager.over(self._client, self._store.last_change)
        kubelet = Kubelet(
            client=self._client,
            kernel=machinery.kernel,
            runtime=machinery.pods,
            state=self._state,
            networking=self._lab.spec.networking,
            lab=self._lab.metadata.name,
            node_stands=machinery.hosts.stands,
            slices_after=lambda pods: self._slices_after(manager, pods),
        )
        manager.listeners.add(kubelet.changed)

        def after(lab: Lab, changes: int) -> None:
            self._open_fabric_door(lab)
            if changes:
                kubelet.look_again()

        hosts = LabController(
            client=self._client,
            machinery=machinery,
            lab=self._lab.metadata.name,
            before=self._prepare_hosts,
            after=after,
        )
        convergence = Convergence(
            store=self._store,
            lab=self._lab.metadata.name,
            controllers=manager,
            hosts=hosts,
            kubelet=kubelet,
            agent_starts=machinery.agent_starts,
            ask_agents=self._ask_agents,
            machine=Overflows(machinery.kernel, "since the daemon of this lab started").words,
        )
        await self._serve_loopback(convergence)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.run(), name="controllers")
            tasks.create_task(kubelet.run(), name="kubelet")
            tasks.create_task(hosts.run(), name="hosts")
            tasks.create_task(machinery.run(), name="machinery")
            tasks.create_task(self._api.expiry.run(), name="expiry of events")

    async def _ask_agents(self) -> int:
        """Ask agents and edge to check their kernel.

        Return the Lab's version, 0 while there is no Lab.
        """
        asking = {"metadata": {"annotations": {LOOK: str(self._store.version)}}}  # it grows with every write
        try:
            body = await self._client.patch(LABS, self._lab.metadata.name, asking)
        except ApiError as error:
            if is_not_found(error):
                return 0
            raise
        return int(body["metadata"]["resourceVersion"])

    def _slices_after(self, manager: Manager, pods: int) -> int | None:
        """Return the newest version of slices if they reflect this version of Pods, else None."""
        followed = manager.has_reconciled(SLICES_OF_PODS, PODS.plural, pods)
        return self._store.last_change(ENDPOINT_SLICES) if followed else None

    # ---- where the API server listens
    async def _serve_loopback(self, convergence: Convergence) -> None:
        with socket_address(self._fresh_door()) as door:
            listeners = [self._loopback, _listening(socket.AF_UNIX, door)]
        port = listeners[0].getsockname()[1]
        self._servers.append(
            await serve(
                self._api,
                listeners,
                self._tls,
                extra_routes=[converged_route(convergence, self._tokens)],
                roster=self._roster,
            )
        )
        endpoint = ApiEndpoint(port, f"{self._plan.api_server}:{API_SERVER_PORT}", os.getpid())
        write_whole(self._state.api, msgspec.json.encode(endpoint))
        authority = self._state.certificate_authority.read_bytes()
        token = self._tokens.ensure(ADMIN)
        write_kubeconfig(
            self._state.kubeconfig, kubeconfig(self._lab.metadata.name, f"https://127.0.0.1:{port}", authority, token)
        )
        say_ready()

    def _fresh_door(self) -> Path:
        """Return the path of the API server's Unix socket; remove an earlier daemon's socket."""
        door = self._state.socket(API_SOCKET)
        door.unlink(missing_ok=True)
        return door

    def _prepare_hosts(self, lab: Lab, hosts: Sequence[HostStatus]) -> None:
        """Give every node its token, and hosts their files."""
        write_host_files(self._state, lab, hosts)
        self._tokens.ensure(EDGE)
        for host in hosts:
            if host.is_node:
                self._tokens.ensure(node_user(host.name))

    def _open_fabric_door(self, lab: Lab) -> None:
        """Serve on the underlay, and again whenever the fabric is a new namespace."""
        path = fabric_path(lab.metadata.name)
        namespace = Path(path).stat().st_ino
        before = self._fabric_door
        if before and before[0] == namespace:
            return
        with self._machinery.kernel.inside(path):
            listener = _listening(socket.AF_INET, (self._plan.api_server, API_SERVER_PORT))
        task = asyncio.get_running_loop().create_task(self._serve_fabric(listener, before and before[1]), name="fabric door")
        task.add_done_callback(self._fabric_door_opened)
        self._fabric_door = (namespace, task)

    async def _serve_fabric(self, listener: socket.socket, before: asyncio.Task[ServerHandle] | None) -> ServerHandle:
        handle = await serve(self._api, [listener], self._tls, roster=self._roster)
        if before:
            with Contained() as attempt:
                await (await before).close()
            if attempt.error is not None:
                log.warning("door=not-closed error=%r", attempt.error)
        return handle

    def _fabric_door_opened(self, task: asyncio.Task[ServerHandle]) -> None:
        """Log a failure; the next check of the hosts tries again."""
        if not task.cancelled() and (error := task.exception()):
            log.error("door=not-opened", exc_info=error)
            self._fabric_door = None


def _listening(family: socket.AddressFamily, address: tuple[str, int] | str) -> socket.socket:
    """Return a listening socket."""
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(128)
    listener.setblocking(False)
    return listener
