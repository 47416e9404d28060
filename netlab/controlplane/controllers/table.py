"""The controllers: what each is called, which kinds it looks at, and its pure function.

A controller runs when one of its kinds has changed. The order decides nothing: whatever one of them writes, the others
see in the next round. The last row controls nothing: it names the objects that the shared indexes leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netlab.controlplane.controllers import (
    cluster_services,
    daemon_sets,
    deployments,
    endpoint_slices,
    endpoints,
    endpoints_mirroring,
    load_balancer,
    node_ipam,
    pod_garbage,
    replica_sets,
    scheduler,
)
from netlab.controlplane.controllers.per_object import Step
from netlab.controlplane.controllers.world import World


@dataclass(frozen=True)
class Controller:
    """One controller; `kinds` are names of fields of World, `reason` Kubernetes' word where it has one."""

    name: str
    kinds: frozenset[str]
    reconcile: Callable[[World, str], list[Step]]
    reason: str = "FailedReconcile"  # of the Event about an object that it cannot plan for

    @classmethod
    def of(
        cls, name: str, kinds: str, reconcile: Callable[[World, str], list[Step]], reason: str = "FailedReconcile"
    ) -> Controller:
        """Return a row of the table; `kinds` is separated by spaces."""
        return cls(name, frozenset(kinds.split()), reconcile, reason)


SLICES = "FailedToUpdateEndpointSlices"
SLICES_OF_PODS = "endpoint-slices"  # the controller whose slices contain which pods are endpoints

CONTROLLERS: tuple[Controller, ...] = (
    Controller.of(
        "cluster-services",
        "labs namespaces nodes services endpoints endpoint_slices config_maps",
        cluster_services.reconcile,
    ),
    Controller.of("node-ipam", "labs nodes", node_ipam.reconcile),
    Controller.of("deployment", "deployments replica_sets pods", deployments.reconcile),
    Controller.of("replica-set", "replica_sets pods", replica_sets.reconcile),
    Controller.of("daemon-set", "daemon_sets nodes pods", daemon_sets.reconcile),
    Controller.of("scheduler", "labs nodes pods deployments replica_sets daemon_sets", scheduler.reconcile, "FailedScheduling"),
    Controller.of("endpoints", "services pods nodes endpoints", endpoints.reconcile, "FailedToUpdateEndpoint"),
    Controller.of(SLICES_OF_PODS, "services pods nodes endpoint_slices", endpoint_slices.reconcile, SLICES),
    Controller.of("endpoints-mirroring", "services endpoints endpoint_slices", endpoints_mirroring.reconcile, SLICES),
    Controller.of("load-balancer", "labs services", load_balancer.reconcile, "SyncLoadBalancerFailed"),
    Controller.of("pod-garbage", "labs nodes pods", pod_garbage.reconcile),
    Controller.of("indexes", "pods replica_sets endpoint_slices", lambda world, _now: [*world.unindexed()]),
)
