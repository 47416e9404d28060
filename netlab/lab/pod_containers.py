"""Which container of the engine is a pod's, for `exec` and `logs`."""

from __future__ import annotations

from netlab.api.pods import Pod
from netlab.errors import UsageError
from netlab.lab.containers import engine
from netlab.node.docker_containers import CONTAINER, NAME_LABEL, key_of
from netlab.runtime.docker import LAB_LABEL, OWNER_LABEL, ROLE_LABEL, Container


def output(lab: str, pod: Pod, name: str) -> str:
    """Return what the newest run of a container wrote. Raises UsageError when there is none."""
    newest = _newest(lab, pod, name)
    if newest is None:
        raise UsageError(f"container {name!r} of pod {pod.key} has not been started yet", remedy="`netlab status` tells why.")
    with engine() as connected:
        return connected.logs(newest.id)


def _newest(lab: str, pod: Pod, name: str) -> Container | None:
    marks = {LAB_LABEL: lab, ROLE_LABEL: CONTAINER, OWNER_LABEL: pod.metadata.uid, NAME_LABEL: name}
    with engine() as connected:
        return max(connected.containers(marks), key=lambda container: key_of(container.labels).number, default=None)
