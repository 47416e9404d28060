"""The present state of a lab as one JSON document, condensed from the API server's objects.

    {"name", "running", "hosts": [...], "nodes": [...], "edge": {...}, "pods": [...], "services": [...], "problems": [...]}

`problems` are the notes of `up`: objects that failed or cannot be read, by name, and requests of
Services that cannot be met (`netlab.proxy.remarks`). An object that cannot be read is listed only
there.

A node or the edge that is not up has the reason as its `message`; `status` checks the machine for
that, too (`machine_view`). If the daemon does not run, the document has only `name`, `running:
false` and the namespaces on record.
"""

from __future__ import annotations

import msgspec

from netlab.api.cluster import Node
from netlab.api.coordination import Health, Lease
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.pods import Pod
from netlab.api.resources import ENDPOINT_SLICES, LABS, LEASES, NODES, PODS, SERVICES, Json
from netlab.api.services import Service
from netlab.api.wellknown import EDGE_LEASE, split_key
from netlab.controlplane.sync import SyncClient
from netlab.dataplane.names import EDGE
from netlab.errors import ApiError, LabError, is_not_found
from netlab.lab.access.choice import access_for
from netlab.lab.find import connect, daemon_alive
from netlab.lab.machine_view import SANDBOX_GONE, MachineView, lease_problem
from netlab.proxy.remarks import remarks
from netlab.state import StateDirectory


def status(state: StateDirectory) -> Json:
    """Return the status document of a lab."""
    if not daemon_alive(state):
        return {"name": state.lab, "running": False, "namespaces": list(state.recorded_namespaces())}
    client = connect(state)
    lab = _lab(client, state.lab)
    pods, slices = PODS.readable(client.list(PODS).items), ENDPOINT_SLICES.readable(client.list(ENDPOINT_SLICES).items)
    nodes, services = NODES.readable(client.list(NODES).items), SERVICES.readable(client.list(SERVICES).items)
    edge = _edge_lease(client)
    healthy: Health = edge.healthy_nodes if edge else {}
    machine = MachineView(state.lab, access_for(state, lab.spec.runtime))
    return {
        "name": state.lab,
        "running": True,
        "runtime": lab.spec.runtime,
        "kubeProxyMode": lab.spec.networking.kube_proxy_mode,
        "kubeconfig": str(state.kubeconfig),
        "hosts": [{"name": host.name, "address": host.address} for host in lab.status.hosts if host.is_client],
        "nodes": [
            {
                "name": node.metadata.name,
                **_readiness(machine.host_problem(node.metadata.name) or _condition_message(node)),
                "address": node.internal_ip,
                "podCIDR": node.spec.pod_cidr,
                "pods": sum(pod.spec.node_name == node.metadata.name for pod in pods),
            }
            for node in nodes
        ],
        "edge": _readiness(machine.host_problem(EDGE) or lease_problem(edge)),
        "pods": [_pod(pod, machine) for pod in pods],
        "services": [_service(service, slices, healthy) for service in services],
        "problems": [*_problems(client), *remarks(lab, services, slices)],
    }


def _problems(client: SyncClient) -> list[str]:
    """Return the daemon's present notes about failed and unreadable objects."""
    report: Json = {}
    for line in client.stream("GET", "/netlab/converged?timeout=0"):
        report = msgspec.json.decode(line)
    return list(report.get("notes", ()))


def _lab(client: SyncClient, name: str) -> Lab:
    """Return the Lab object. Raises LabError if an `up` was interrupted before it wrote one."""
    try:
        return LABS.decode(client.get(LABS, name))
    except ApiError as error:
        if not is_not_found(error):
            raise
        remedy = f"Bring it up: netlab up FILE. Remove it: netlab down {name}."
        raise LabError(
            f"lab {name!r} is incomplete: `netlab up` was interrupted before it created the lab", remedy=remedy
        ) from error


def _edge_lease(client: SyncClient) -> Lease | None:
    """Return what the edge last reported."""
    leases = LEASES.readable(client.list(LEASES, namespace=split_key(EDGE_LEASE)[0]).items)
    return next((lease for lease in leases if lease.key == EDGE_LEASE), None)


def _condition_message(node: Node) -> str:
    """Return the reason why a node's Ready condition is not True."""
    if node.is_ready:
        return ""
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
    return (ready and ready.message) or "it has not reported yet"


def _readiness(problem: str) -> Json:
    return {"status": "NotReady" if problem else "Ready", "message": problem}


def pod_phase(pod: Pod) -> str:
    """Return the word kubectl prints in its STATUS column."""
    if pod.terminating:
        return "Terminating"
    if initializing := _initializing(pod):
        return initializing
    waiting = [s.state["waiting"].get("reason", "") for s in pod.status.container_statuses if "waiting" in s.state]
    return str(next((reason for reason in waiting if reason), pod.status.phase or "Pending"))


def _initializing(pod: Pod) -> str:
    """Return the word for a pod whose init containers have not all completed: `Init:0/1`, `Init:CrashLoopBackOff`."""
    for done, status in enumerate(pod.status.init_container_statuses):
        ended, waiting = status.state.get("terminated"), status.state.get("waiting", {})
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or 'ExitCode:' + str(ended.get('exitCode'))}"
        reason = waiting.get("reason", "")
        named = reason and reason not in {"PodInitializing", "ContainerCreating"}
        return f"Init:{reason}" if named else f"Init:{done}/{len(pod.spec.init_containers)}"
    return ""


def _pod(pod: Pod, machine: MachineView) -> Json:
    statuses = pod.status.container_statuses
    phase = pod_phase(pod)
    lost = phase == "Running" and not machine.has_sandbox(pod)
    return {
        "namespace": pod.metadata.namespace,
        "name": pod.metadata.name,
        "ready": f"{0 if lost else sum(s.ready for s in statuses)}/{len(pod.spec.containers)}",
        "status": SANDBOX_GONE if lost else phase,
        "restarts": sum(s.restart_count for s in statuses),
        "ip": pod.status.pod_ip,
        "node": pod.spec.node_name,
    }


def _endpoints(service: Service, slices: list[EndpointSlice]) -> dict[tuple[str, ...], bool]:
    """Return the endpoints of a Service, and whether each is ready in any of its slices.

    The key of an endpoint is its first address, which is the one in use, and its ports: two pods in
    one node's network share the address.
    """
    found: dict[tuple[str, ...], bool] = {}
    for piece in slices:
        if piece.service_key == service.key and _serves(service, piece):
            ports = tuple(sorted(f"{port.port}/{port.protocol}" for port in piece.ports))
            for endpoint in piece.endpoints:
                key = (*endpoint.addresses[:1], *ports)
                found[key] = found.get(key, False) or endpoint.conditions.is_ready
    return found


def _service(service: Service, slices: list[EndpointSlice], healthy: Health) -> Json:
    ready = list(_endpoints(service, slices).values())
    return {
        "namespace": service.metadata.namespace,
        "name": service.metadata.name,
        "type": service.spec.type,
        "clusterIP": service.spec.cluster_ip or "<none>",
        "externalIP": external_address(service),
        "ports": ",".join(
            f"{port.port}{f':{port.node_port}' if port.node_port else ''}/{port.protocol}" for port in service.spec.ports
        ),
        "endpoints": ready.count(True),
        "notReady": ready.count(False),
        "healthyNodes": healthy.get(service.key),
    }


def _serves(service: Service, piece: EndpointSlice) -> bool:
    """Return whether a slice has a port: one without lists pods without the targetPort (4.8)."""
    return bool(piece.ports) or not service.spec.ports


def external_address(service: Service) -> str:
    """Return what kubectl prints in its EXTERNAL-IP column."""
    if service.spec.type == "ExternalName":
        return service.spec.external_name
    addresses = [*(entry.ip or entry.hostname for entry in service.status.load_balancer.ingress), *service.spec.external_ips]
    if service.spec.type == "LoadBalancer" and not service.status.load_balancer.ingress:
        addresses.insert(0, "<pending>")
    return ",".join(addresses) or "<none>"
