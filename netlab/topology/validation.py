"""All rules for one object, used by `load` for a file and by the API server for a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from netlab.api import resources as r
from netlab.api.lab import Networking
from netlab.api.resources import Json, Resource
from netlab.topology.decoding import Decoded, decode, typed
from netlab.topology.problem import Problem
from netlab.topology.rules.config import config_map_problems, secret_problems
from netlab.topology.rules.endpoints import endpoint_slice_problems, endpoints_problems
from netlab.topology.rules.labs import lab_problems
from netlab.topology.rules.metadata import metadata_problems
from netlab.topology.rules.nodes import node_problems
from netlab.topology.rules.pods import pod_problems
from netlab.topology.rules.services import service_problems
from netlab.topology.rules.workloads import workload_problems

Rules = Callable[[Any, Networking | None], Iterator[Problem]]
RULES: dict[str, Rules] = {
    r.LABS.kind: lab_problems,
    r.NODES.kind: node_problems,
    r.PODS.kind: pod_problems,
    r.SERVICES.kind: service_problems,
    r.ENDPOINTS.kind: endpoints_problems,
    r.ENDPOINT_SLICES.kind: endpoint_slice_problems,
    r.DEPLOYMENTS.kind: workload_problems,
    r.REPLICA_SETS.kind: workload_problems,
    r.DAEMON_SETS.kind: workload_problems,
    r.CONFIG_MAPS.kind: config_map_problems,
    r.SECRETS.kind: secret_problems,
}


def problems_of(resource: Resource[Any], body: Json, networking: Networking | None = None) -> tuple[Problem, ...]:
    """Return everything wrong with the values of an object, as causes of a `Status` 422 Invalid; unknown fields excepted.

    With the lab's `networking`, addresses and node ports must also lie in its ranges.

        problems = problems_of(SERVICES, body, lab.spec.networking)
        causes = tuple({"reason": p.reason, "message": p.message, "field": p.path} for p in problems)
    """
    decoded = decode(body, resource.type)
    return (*decoded.types, *value_problems(resource, decoded, networking))


def value_problems(resource: Resource[Any], decoded: Decoded, networking: Networking | None) -> tuple[Problem, ...]:
    """Return the wrong values of a decoded object, without those that only follow from unknown fields or wrong types."""
    obj = typed(decoded, resource.type)
    found = [*decoded.values, *metadata_problems(resource, obj)]
    if rules := RULES.get(resource.kind):
        found += rules(obj, networking)
    return decoded.excused(_once(found))


def _once(problems: list[Problem]) -> Iterator[Problem]:
    """Leave out a second problem of the same sort at the same field."""
    seen: set[tuple[Any, ...]] = set()
    for problem in problems:
        key = (problem.steps, problem.reason)
        if key not in seen:
            seen.add(key)
            yield problem
