"""Rules between pods, nodes and what pods need: nodes that exist, images that can run, ports that are free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netlab.api import catalogue
from netlab.api import resources as r
from netlab.api.lab import DOCKER, NETNS, Lab, LabNode
from netlab.api.pods import Container, PodSpec, Probe
from netlab.api.selection import has_labels
from netlab.api.wellknown import HOST_NAME_LABEL
from netlab.topology.manifest import Finding, Item, PodPlan
from netlab.topology.problem import NOT_SUPPORTED, Problem, Steps, did_you_mean, forbidden, invalid, not_found, quoted

PODS_PER_NODE = 253  # addresses of a /24 without network, gateway and broadcast


def placement_problems(lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """Yield what keeps the pods of a topology from running as described."""
    configs = {(i.resource.kind, i.namespace, i.name): i for i in items if i.resource in (r.CONFIG_MAPS, r.SECRETS)}
    for item in items:
        if plan := item.pods:
            yield from ((item, problem) for problem in plan_problems(lab, plan))
            for steps, container in containers_of(plan):
                yield from ((item, problem) for problem in _reference_problems(item.namespace, container, steps, configs))
    yield from _capacity_problems(lab, items)
    yield from _host_port_problems(lab, items)


def plan_problems(lab: Lab, plan: PodPlan) -> Iterator[Problem]:
    """Yield what keeps the pods of one object from running in a lab, whatever else there is."""
    yield from _pod_problems(lab, plan)
    for steps, container in containers_of(plan):
        yield from _container_problems(lab, container, steps)


def containers_of(plan: PodPlan) -> Iterator[tuple[Steps, Container]]:
    """Yield all containers of a pod with their places."""
    for field, containers in (("containers", plan.spec.containers), ("initContainers", plan.spec.init_containers)):
        for index, container in enumerate(containers):
            yield (*plan.steps, field, index), container


def nodes_for(lab: Lab, spec: PodSpec) -> tuple[LabNode, ...]:
    """Return the nodes that a pod may run on."""
    return tuple(
        node
        for node in lab.spec.nodes
        if spec.node_name in {"", node.name} and has_labels({HOST_NAME_LABEL: node.name, **node.labels}, spec.node_selector)
    )


def _pod_problems(lab: Lab, plan: PodPlan) -> Iterator[Problem]:
    name = plan.spec.node_name
    nodes = [node.name for node in lab.spec.nodes]
    if name and name not in nodes:
        few = ", ".join(nodes[:5]) + (", ..." if len(nodes) > 5 else "")
        yield not_found((*plan.steps, "nodeName"), name, f"the nodes are {few}{did_you_mean(name, nodes)}")
    most = PODS_PER_NODE * len(nodes)
    if plan.count is not None and nodes and plan.count > most:
        words = f"must be at most {most}: {len(nodes)} nodes have room for {PODS_PER_NODE} pods each"
        yield invalid(("spec", "replicas"), plan.count, words)


def _container_problems(lab: Lab, container: Container, at: Steps) -> Iterator[Problem]:
    if lab.spec.runtime == NETNS and container.image and not container.command and not catalogue.find(container.image):
        patterns = [pattern for workload in catalogue.WORKLOADS for pattern in workload.patterns]
        hint = did_you_mean(catalogue.repository(container.image), patterns)
        yield Problem(
            (*at, "image"),
            f"Unsupported value: {quoted(container.image)}: runtime netns does not pull images; use runtime docker, "
            f"set a `command` for the container, or use one of {', '.join(patterns)}{hint}",
            NOT_SUPPORTED,
        )
    context = container.security_context
    if lab.spec.runtime == DOCKER and context and context.privileged:
        yield forbidden(
            (*at, "securityContext", "privileged"),
            "containers of a lab cannot be privileged; add the capabilities that the container needs",
        )
    if probe := container.readiness_probe:
        yield from _probe_problems(probe, container, (*at, "readinessProbe"))


def _probe_problems(probe: Probe, container: Container, at: Steps) -> Iterator[Problem]:
    names = [port.name for port in container.ports if port.name]
    for field, action in (("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket)):
        if action and isinstance(action.port, str) and action.port and action.port not in names:
            yield not_found(
                (*at, field, "port"), action.port, f"no port of this container has the name{did_you_mean(action.port, names)}"
            )


def _reference_problems(
    namespace: str, container: Container, at: Steps, configs: Mapping[tuple[str, str, str], Item]
) -> Iterator[Problem]:
    """A container whose ConfigMap or Secret is missing would never start."""
    for steps, kind, name, key, optional in _references(container, at):
        item = configs.get((kind, namespace, name))
        if optional or not name:
            continue
        if item is None:
            near = did_you_mean(name, [n for k, ns, n in configs if (k, ns) == (kind, namespace)])
            yield not_found((*steps, "name"), name, f"there is no {kind} of this name in namespace {namespace}{near}")
        elif key and key not in (keys := _keys(item)):
            yield not_found((*steps, "key"), key, f"{kind} {name} has no such key{did_you_mean(key, keys)}")


def _references(container: Container, at: Steps) -> Iterator[tuple[Steps, str, str, str, bool]]:
    for index, variable in enumerate(container.env):
        source = variable.value_from
        if source and (ref := source.config_map_key_ref):
            yield (*at, "env", index, "valueFrom", "configMapKeyRef"), "ConfigMap", ref.name, ref.key, ref.optional
        if source and (ref := source.secret_key_ref):
            yield (*at, "env", index, "valueFrom", "secretKeyRef"), "Secret", ref.name, ref.key, ref.optional
    for index, group in enumerate(container.env_from):
        if config := group.config_map_ref:
            yield (*at, "envFrom", index, "configMapRef"), "ConfigMap", config.name, "", config.optional
        if secret := group.secret_ref:
            yield (*at, "envFrom", index, "secretRef"), "Secret", secret.name, "", secret.optional


def _keys(item: Item) -> frozenset[str]:
    obj: Any = item.obj
    return frozenset(obj.data) | frozenset(getattr(obj, "string_data", {})) | frozenset(getattr(obj, "binary_data", {}))


def _capacity_problems(lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """More pods than the nodes' /24 subnets have addresses for."""
    room = PODS_PER_NODE * len(lab.spec.nodes)
    wanted = 0
    if not room:
        return  # a lab without nodes is a separate problem
    for item in items:
        plan = item.pods
        if plan is None or plan.spec.host_network or (plan.count or 0) > room:  # the last is reported by itself
            continue
        wanted += len(nodes_for(lab, plan.spec)) if plan.count is None else plan.count
        if wanted > room:
            at = ("spec", "replicas") if item.resource in (r.DEPLOYMENTS, r.REPLICA_SETS) else ("metadata", "name")
            nodes = len(lab.spec.nodes)
            yield (
                item,
                invalid(at, plan.count or 1, f"requires {wanted} pods in the lab; {nodes} nodes have addresses for {room}"),
            )
            return


def _host_port_problems(lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """Ports of a node that two pods with a fixed node want, or that the node's own programs have (semantics 1.8)."""
    taken: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    for node in lab.spec.nodes:
        taken[node.name, "UDP", lab.spec.networking.backend.port] = [("", "the overlay network")]
        for protocol in ("TCP", "UDP"):
            taken[node.name, protocol, 53] = [("", "the node's DNS server")]
    for item in items:
        plan = item.pods
        if plan is None or not (plan.spec.node_name or plan.count is None):
            continue
        nodes = nodes_for(lab, plan.spec)
        for steps, protocol, number, address in _host_ports(plan):
            for node in nodes:
                owners = taken.setdefault((node.name, protocol, number), [])
                owner = next((words for other, words in owners if _overlap(address, other)), "")
                if owner and owner != item.words:
                    yield item, invalid(steps, number, f"{protocol} port {number} of {node.name} is taken by {owner}")
                    break
                owners.append((address, item.words))


def _host_ports(plan: PodPlan) -> Iterator[tuple[Steps, str, int, str]]:
    for steps, container in containers_of(plan):
        for index, port in enumerate(container.ports):
            at = (*steps, "ports", index)
            if plan.spec.host_network:
                yield (*at, "containerPort"), port.protocol, port.container_port, port.host_ip
            elif port.host_port:
                yield (*at, "hostPort"), port.protocol, port.host_port, port.host_ip


def _overlap(one: str, other: str) -> bool:
    everywhere = {"", "0.0.0.0"}
    return one in everywhere or other in everywhere or one == other
