"""What the machine shows in addition to the API objects of a lab, for `status`.

The API shows the state that the daemon has observed: a node whose agent is stopped is Ready there
until its Lease is 40 seconds old, as on a cluster, and the daemon detects a removed namespace at
its next check, within 30 seconds. `status` checks the machine itself, so it never reports a broken
part as up. A lab of an ordinary user keeps its namespaces in its own mount namespace, which only a
command that enters it can see; of such a lab `status` checks the processes only.
"""

from __future__ import annotations

import os
import time

from netlab.api.coordination import Lease
from netlab.api.pods import Pod
from netlab.api.times import seconds_of
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.kernel import namespaces
from netlab.kernel.door import Occupant
from netlab.lab.access.interface import AgentState, HostAccess
from netlab.process.records import agent_name

NO_NAMESPACE = "its network namespace does not exist; recreate it: netlab up FILE"
AGENT_PROBLEMS = {
    AgentState.DEAD: "its agent is not running; show the cause: netlab logs {name}",
    AgentState.STOPPED: "its agent is stopped (SIGSTOP); resume it: netlab up FILE",
}
SILENT = "its agent has not reported for {seconds:.0f} s"
SANDBOX_GONE = "SandboxChanged"  # Kubernetes' reason for a pod whose network was removed and will be recreated


class MachineView:
    """The parts of the machine that belong to a lab."""

    def __init__(self, lab: str, access: HostAccess) -> None:
        self._lab = lab
        self._access = access
        self._sees_namespaces = os.geteuid() == 0

    def host_problem(self, host: str) -> str:
        """Return why a node or the edge is not up, "" if no problem is visible."""
        if self._is_gone(host_namespace(self._lab, host)):
            return NO_NAMESPACE
        problem = AGENT_PROBLEMS.get(self._access.agent_state(host), "")
        return problem.format(name=agent_name(host))

    def has_sandbox(self, pod: Pod) -> bool:
        """Return whether a pod's network namespace exists; True if this process cannot see it."""
        meta = pod.metadata
        return pod.spec.host_network or not self._is_gone(pod_namespace(self._lab, meta.namespace, meta.name))

    def _is_gone(self, name: str) -> bool:
        return self._sees_namespaces and namespaces.occupant(namespace_path(name)) is not Occupant.NAMESPACE


def lease_problem(lease: Lease | None) -> str:
    """Return why the holder of a Lease is not up, "" if it is.

    A clock that was set back has no effect.
    """
    age = time.time() - seconds_of(lease.spec.renew_time or 0) if lease else 0.0
    return SILENT.format(seconds=age) if lease and age >= lease.spec.lease_duration_seconds else ""
