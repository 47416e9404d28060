"""Containers of runs that an earlier daemon left, until the kubelet asks for them again.

A container is found by its labels when the daemon begins. Then either its run is taken over (the API's status knows it), or a
run with its key is started (the daemon died before that was written down); in both cases it goes on if it is in the network
that is the pod's now. Until one of the two, the engine's news of it only change what is known of it.

Whether a server listens only it can say, and it says so once, to the daemon that is there. One whose beginning nobody wrote
down may have told the daemon that died, or be about to tell it: it begins anew. No traffic knows it yet.
"""

from __future__ import annotations

from dataclasses import replace

from netlab.node import processes
from netlab.node.docker_containers import SERVER_LABEL, key_of
from netlab.node.pod_runtime import Place, Run
from netlab.runtime.docker import Container, Event


class Found:
    """The containers, at most one for each place."""

    def __init__(self) -> None:
        self._containers: dict[Place, Container] = {}

    def keep(self, container: Container) -> list[str]:
        """Keep the newest run of a place; returns the id of another one."""
        place, number = key_of(container.labels).place, key_of(container.labels).number
        other = self._containers.get(place)
        if other and key_of(other.labels).number > number:
            return [container.id]
        self._containers[place] = container
        return [other.id] if other and other.id != container.id else []

    def get(self, place: Place) -> Container | None:
        """Return what was left at a place."""
        return self._containers.get(place)

    def take(self, place: Place) -> Container | None:
        """Return what was left at a place, and forget it."""
        return self._containers.pop(place, None)

    def happened(self, event: Event) -> bool:
        """Take in news of a container; tell whether it is one of these."""
        place = key_of(event.labels).place
        found = self._containers.get(place)
        if found is None or found.id != event.id:
            return False
        if event.action == "die":
            self._containers[place] = replace(found, state="exited", exit_code=event.exit_code)
        elif event.action == "destroy":
            del self._containers[place]
        return True

    def forget(self, uid: str) -> None:
        """Forget a pod whose containers have been removed."""
        self._containers = {place: found for place, found in self._containers.items() if place[0] != uid}


def is_unheard(found: Container) -> bool:
    """Tell whether a container runs a server that has to say that it listens."""
    return found.runs and bool(found.labels.get(SERVER_LABEL))


def goes_on(found: Container, run: Run) -> bool:
    """Tell whether a container is a run, in the network that is the pod's now, or was one."""
    if key_of(found.labels) != run.key or found.state == "created":
        return False
    return not found.runs or processes.network_namespace(found.pid) == processes.inode(run.namespace)
