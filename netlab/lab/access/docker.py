"""Access to a lab whose hosts and pods are containers, and to labs in the engine without a record.

All containers and networks of a lab carry its label, so they are found also if its record is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from netlab.api.pods import Pod
from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.engine.protocol import (
    LAB_LABEL,
    OWNER_LABEL,
    ROLE_LABEL,
    STATE_LABEL,
    Container,
    Engine,
    Network,
)
from netlab.errors import UnsupportedHostError, UsageError
from netlab.hosts.docker_specs import WITH_AGENT, container_name
from netlab.kernel import namespaces
from netlab.lab import container_exec
from netlab.lab.access.interface import AgentState
from netlab.node.pods.docker.containers import CONTAINER, NAME_LABEL, key_of
from netlab.process.log_files import read_log
from netlab.process.records import agent_name
from netlab.state import MACHINE_ROOT, StateDirectory

Connect = Callable[[], AbstractContextManager[Engine]]
REASON = "`netlab status` shows the cause."
AGENT_ROLES = {role.value for role in WITH_AGENT}


@contextmanager
def engine() -> Iterator[Engine]:
    """Yield the engine of this machine. Raises UnsupportedHostError if it does not answer."""
    from netlab.engine.client import DockerEngine  # noqa: PLC0415 -- the SDK takes 0.1 s

    with closing(DockerEngine()) as connected:
        yield connected


class DockerAccess:
    """The containers of one lab. `client` becomes a command in a container."""

    def __init__(
        self,
        state: StateDirectory,
        connect: Connect = engine,
        client: Callable[..., int] = container_exec.execute,
    ) -> None:
        self._state = state
        self._connect = connect
        self._client = client

    def run_on_host(self, host: str, command: Sequence[str]) -> int:
        """Run a command as root of the container of a host."""
        return self._client(container_name(self._state.lab, host), command, user="0")

    def run_in_pod(self, pod: Pod, container: str, command: Sequence[str]) -> int:
        """Run a command as the user of the container."""
        with self._connect() as connected:
            newest = self._newest(connected, pod, container)
        if newest is None or not newest.runs:
            raise UsageError(f"container {container} of pod {pod.key} is not running", remedy=REASON)
        return self._client(newest.id, command)

    def process_logs(self) -> tuple[str, ...]:
        """Return the names of the logs on record and of the agents."""
        with self._connect() as connected:
            return tuple(sorted((*self._state.recorded_logs(), *self._agents(connected))))

    def process_log(self, name: str) -> str | None:
        """Return a log on record, or the output of the container of an agent."""
        if (text := read_log(self._state.log(name))) is not None:
            return text
        with self._connect() as connected:
            container = self._agents(connected).get(name)
            return connected.logs(container) if container else None

    def container_log(self, pod: Pod, container: str) -> str:
        """Return what the engine has kept of a container's output."""
        with self._connect() as connected:
            newest = self._newest(connected, pod, container)
            if newest is not None:
                return connected.logs(newest.id)
        what = f"container {container!r} of pod {pod.key} has not been started yet"
        raise UsageError(what, remedy=REASON)

    def agent_state(self, _host: str) -> AgentState:
        """Return UNKNOWN without a question to the engine."""
        return AgentState.UNKNOWN

    def remove_containers(self) -> int:
        """Remove containers until the engine has none of the lab."""
        removed = 0
        with self._connect() as connected:
            while found := connected.containers({LAB_LABEL: self._state.lab}):
                connected.remove([container.id for container in found])
                removed += len(found)
        return removed

    def remove_networks(self) -> None:
        """Remove the network that the engine keeps for the lab."""
        with self._connect() as connected:
            for network in connected.networks({LAB_LABEL: self._state.lab}):
                connected.remove_network(network.id)

    def _agents(self, connected: Engine) -> dict[str, str]:
        """Return the agents by name, each with the id of its container."""
        found = connected.containers({LAB_LABEL: self._state.lab})
        agents = [one for one in found if one.labels.get(ROLE_LABEL) in AGENT_ROLES]
        return {agent_name(agent.labels[OWNER_LABEL]): agent.id for agent in agents}

    def _newest(self, connected: Engine, pod: Pod, name: str) -> Container | None:
        """Return the newest run of a container of a pod."""
        whose = {LAB_LABEL: self._state.lab, OWNER_LABEL: pod.metadata.uid, NAME_LABEL: name}
        runs = connected.containers({**whose, ROLE_LABEL: CONTAINER})
        return max(runs, key=lambda container: key_of(container.labels).number, default=None)


# ---- labs without a record
def orphans(root: Path, recorded: Iterable[str], connect: Connect = engine) -> tuple[str, ...]:
    """Return the labs in the engine that belong to `root` and have no record there.

    Without an engine, or with one that this user may not use: none.
    """
    any_lab, things = {LAB_LABEL: ""}, list[Container | Network]()
    try:
        with connect() as connected:
            things += [*connected.containers(any_lab), *connected.networks(any_lab)]
    except UnsupportedHostError:
        return ()
    roots: dict[str, set[str]] = {}
    for thing in things:
        roots.setdefault(thing.labels[LAB_LABEL], set()).add(thing.labels.get(STATE_LABEL, ""))
    ours = {str(root)} | ({""} if root == MACHINE_ROOT else set())
    unrecorded = sorted(set(roots) - set(recorded))
    return tuple(lab for lab in unrecorded if (roots[lab] - {""} or {""}) <= ours)


def remove_orphan(lab: str, connect: Connect = engine) -> None:
    """Remove what the engine has of a lab, and the names that its namespaces were given."""
    with connect() as connected:
        named = _names_of(connected.containers({LAB_LABEL: lab}))
    access = DockerAccess(StateDirectory.of(lab), connect)
    access.remove_containers()
    namespaces.delete(named)
    access.remove_networks()


def _names_of(containers: Iterable[Container]) -> list[str]:
    """Return the paths below /run/netns that name the namespaces of these containers."""
    folder = Path(NETNS_DIRECTORY)
    names = [str(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    own = [container.network_namespace for container in containers if container.pid]
    return [name for name in names if any(namespaces.is_same(name, namespace) for namespace in own)]
