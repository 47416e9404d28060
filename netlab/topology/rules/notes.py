"""Valid input that is probably a mistake: hints for the user, never a reason to refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from netlab.api import resources as r
from netlab.api.lab import Lab
from netlab.api.pods import Container, SecurityContext
from netlab.api.selection import has_labels
from netlab.api.services import ServiceSpec
from netlab.api.wellknown import SERVICE_NAME_LABEL, TOPOLOGY_ANNOTATIONS
from netlab.topology.manifest import Finding, Item, PodPlan
from netlab.topology.problem import Problem, Steps
from netlab.topology.rules.external_notes import external_notes
from netlab.topology.rules.placement import containers_of, nodes_for
from netlab.topology.rules.together import services

LONGEST_HOST_NAME = 64  # semantics 11.28


def notes(lab: Lab, lab_item: Item, items: Sequence[Item]) -> Iterator[Finding]:
    """Yield the hints of a valid topology."""
    for item in (lab_item, *items):
        yield from ((item, Problem(steps, "accepted, has no effect on the network")) for steps in item.decoded.inert)
        yield from ((item, note) for note in item.notes)
    for item in items:
        if plan := item.pods:
            found = (*_pod_notes(lab, plan), *_host_port_notes(plan), *_host_name_notes(lab, item, plan))
            yield from ((item, note) for note in found)
    yield from _service_notes(items)
    yield from external_notes(lab, items)
    yield from _endpoint_notes(items)


def _pod_notes(lab: Lab, plan: PodPlan) -> Iterator[Problem]:
    if plan.spec.node_selector and not nodes_for(lab, plan.spec):
        yield Problem((*plan.steps, "nodeSelector"), "matches no node of the lab: the pods will stay Pending")
    if lab.spec.runtime == "netns":
        secured = [steps for steps, container in containers_of(plan) if _is_secured_otherwise(container)]
        for steps in (*secured, *((plan.steps,) if plan.spec.security_context is not None else ())):
            words = "with runtime netns, only `capabilities` has an effect: commands run as processes of the machine"
            yield Problem((*steps, "securityContext"), words)
    owners: dict[tuple[str, int], str] = {}
    for steps, container in containers_of(plan):
        if steps[-2] != "containers":
            continue
        for index, port in enumerate(container.ports):
            owner = owners.setdefault((port.protocol, port.container_port), container.name)
            if owner != container.name:
                number = f"{port.container_port}/{port.protocol}"
                words = f"container {owner} of the same pod also uses port {number}; containers of a pod share one address"
                yield Problem((*steps, "ports", index, "containerPort"), words)


def _is_secured_otherwise(container: Container) -> bool:
    """Return whether a securityContext contains more than capabilities."""
    context = container.security_context
    return context is not None and msgspec.structs.replace(context, capabilities=None) != SecurityContext()


def _host_port_notes(plan: PodPlan) -> Iterator[Problem]:
    for steps, container in containers_of(plan):
        for index, port in enumerate(container.ports):
            if port.host_port and not plan.spec.host_network:
                at = (*steps, "ports", index, "hostPort")
                yield Problem(
                    at, "the scheduler places pods by it, but the node does not forward the port yet; use a NodePort Service"
                )


def _host_name_notes(lab: Lab, item: Item, plan: PodPlan) -> Iterator[Problem]:
    """A Pod with a full name that is too long is accepted, and never starts (semantics 11.28)."""
    spec = plan.spec
    name = spec.hostname or (item.name if item.resource is r.PODS else "")
    if not (spec.set_hostname_as_fqdn and name and spec.subdomain) or spec.host_network:
        return
    full = f"{name[: LONGEST_HOST_NAME - 1]}.{spec.subdomain}.{item.namespace}.svc.{lab.spec.networking.dns_domain}"
    if len(full) > LONGEST_HOST_NAME:
        words = f"the full name {full} has {len(full)} characters, more than {LONGEST_HOST_NAME}: the pod will not start"
        yield Problem((*plan.steps, "setHostnameAsFQDN"), words)


# Fields of a Service that netlab keeps and does not act upon yet.
_NOT_YET: tuple[tuple[str, Callable[[ServiceSpec], bool]], ...] = (
    ("trafficDistribution", lambda spec: bool(spec.traffic_distribution)),
)


def _service_notes(items: Sequence[Item]) -> Iterator[Finding]:
    pods = _by_label(items)
    for item, spec in services(items):
        yield from ((item, note) for note in _not_yet(item, spec))
        if not spec.selector or spec.type == "ExternalName":
            continue
        narrowest = min((pods.get((item.namespace, *pair), ()) for pair in spec.selector.items()), key=len)
        chosen = [plan for plan in narrowest if has_labels(plan.labels, spec.selector)]
        if not chosen:
            yield item, Problem(("spec", "selector"), f"selects no pod of namespace {item.namespace}: no endpoints")
            continue
        for index, port in enumerate(spec.ports):
            if isinstance(port.target_port, str) and not any(_has_port(plan, port) for plan in chosen):
                at: Steps = ("spec", "ports", index, "targetPort")
                yield item, Problem(at, f'no selected pod has a {port.protocol} port named "{port.target_port}": no endpoints')


def _not_yet(item: Item, spec: ServiceSpec) -> Iterator[Problem]:
    fields: list[Steps] = [("spec", name) for name, is_set in _NOT_YET if is_set(spec)]
    set_to = item.obj.metadata.annotations
    annotations: list[Steps] = [
        ("metadata", "annotations", name) for name in TOPOLOGY_ANNOTATIONS if set_to.get(name, "").lower() == "auto"
    ]
    yield from (Problem(steps, "accepted, has no effect yet") for steps in fields + annotations)


def _by_label(items: Sequence[Item]) -> dict[tuple[str, str, str], list[PodPlan]]:
    """Return the pods by namespace and label, alike ones once: a thousand pods and Services must not make a million pairs."""
    index: dict[tuple[str, str, str], list[PodPlan]] = {}
    seen: set[tuple[object, ...]] = set()
    for item in items:
        plan = item.pods
        if plan is None:
            continue
        ports = frozenset((port.name, port.protocol) for _, container in containers_of(plan) for port in container.ports)
        look = (item.namespace, frozenset(plan.labels.items()), ports)
        if look not in seen:
            seen.add(look)
            for key, value in plan.labels.items():
                index.setdefault((item.namespace, key, value), []).append(plan)
    return index


def _has_port(plan: PodPlan, wanted: Any) -> bool:
    return any(
        (port.name, port.protocol) == (wanted.target_port, wanted.protocol)
        for _, container in containers_of(plan)
        for port in container.ports
    )


def _endpoint_notes(items: Sequence[Item]) -> Iterator[Finding]:
    """Endpoints by hand belong to a Service without selector (semantics 4.14)."""
    specs = {(item.namespace, item.name): spec for item, spec in services(items)}
    for item in items:
        if item.resource is r.ENDPOINTS:
            at: Steps = ("metadata", "name")
            name = item.name
        elif item.resource is r.ENDPOINT_SLICES:
            at = ("metadata", "labels", SERVICE_NAME_LABEL)
            name = item.obj.metadata.labels.get(SERVICE_NAME_LABEL, "")
        else:
            continue
        spec = specs.get((item.namespace, name))
        if spec is None:
            yield (
                item,
                Problem(
                    at, f"there is no Service {item.namespace}/{name}: these endpoints have no effect" if name else "no Service"
                ),
            )
        elif spec.selector and item.resource is r.ENDPOINTS:
            yield item, Problem(at, f"Service {name} has a selector: netlab computes its Endpoints and replaces these")
