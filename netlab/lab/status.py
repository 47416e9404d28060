"""What a lab is made of right now, as one JSON document: the API server's objects, condensed to what a user asks for.

    {"name", "running", "hosts": [...], "nodes": [...], "pods": [...], "services": [...]}

When the daemon does not run only `name`, `running: false` and the namespaces on record are known.
"""

from __future__ import annotations

from netlab.api.coordination import Health
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.pods import Pod
from netlab.api.resources import ENDPOINT_SLICES, LABS, LEASES, NODES, PODS, SERVICES, Json
from netlab.api.services import Service
from netlab.api.wellknown import EDGE_LEASE, split_key
from netlab.controlplane.sync import SyncClient
from netlab.errors import ApiError, LabError, is_not_found
from netlab.lab.find import connect, daemon_alive
from netlab.runtime.statedir import StateDirectory


def status(state: StateDirectory) -> Json:
    """Return the status document of a lab."""
    if not daemon_alive(state):
        return {"name": state.lab, "running": False, "namespaces": list(state.recorded_namespaces())}
    client = connect(state)
    lab = _lab(client, state.lab)
    pods = [PODS.decode(item) for item in client.list(PODS).items]
    slices = [ENDPOINT_SLICES.decode(item) for item in client.list(ENDPOINT_SLICES).items]
    nodes = [NODES.decode(item) for item in client.list(NODES).items]
    services = [SERVICES.decode(item) for item in client.list(SERVICES).items]
    healthy = _load_balancer_health(client)
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
                "status": "Ready" if node.is_ready else "NotReady",
                "address": node.internal_ip,
                "podCIDR": node.spec.pod_cidr,
                "pods": sum(pod.spec.node_name == node.metadata.name for pod in pods),
            }
            for node in nodes
        ],
        "pods": [_pod(pod) for pod in pods],
        "services": [_service(service, slices, healthy) for service in services],
    }


def _lab(client: SyncClient, name: str) -> Lab:
    """Return the Lab object. Raises LabError when an `up` ended before it had written one."""
    try:
        return LABS.decode(client.get(LABS, name))
    except ApiError as error:
        if not is_not_found(error):
            raise
        remedy = f"Bring it up: netlab up FILE. Remove it: netlab down {name}."
        raise LabError(f"lab {name!r} is half-made: its `up` ended before it had begun", remedy=remedy) from error


def _load_balancer_health(client: SyncClient) -> Health:
    """Return what the edge last reported."""
    leases = (LEASES.decode(item) for item in client.list(LEASES, namespace=split_key(EDGE_LEASE)[0]).items)
    return next((lease.healthy_nodes for lease in leases if lease.key == EDGE_LEASE), {})


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


def _pod(pod: Pod) -> Json:
    statuses = pod.status.container_statuses
    return {
        "namespace": pod.metadata.namespace,
        "name": pod.metadata.name,
        "ready": f"{sum(s.ready for s in statuses)}/{len(pod.spec.containers)}",
        "status": pod_phase(pod),
        "restarts": sum(s.restart_count for s in statuses),
        "ip": pod.status.pod_ip,
        "node": pod.spec.node_name,
    }


def _endpoints(service: Service, slices: list[EndpointSlice]) -> dict[tuple[str, ...], bool]:
    """Return the endpoints of a Service and whether each is ready, in the better state if several slices list it.

    An endpoint is known by its first address, which is the one used, and the ports it serves: two pods of one node's network
    share the address.
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
    """Tell whether a slice has any port: pods that lack a named targetPort stand in one without, and serve nothing (4.8)."""
    return bool(piece.ports) or not service.spec.ports


def external_address(service: Service) -> str:
    """Return what kubectl prints in its EXTERNAL-IP column."""
    if service.spec.type == "ExternalName":
        return service.spec.external_name
    addresses = [*(entry.ip or entry.hostname for entry in service.status.load_balancer.ingress), *service.spec.external_ips]
    if service.spec.type == "LoadBalancer" and not service.status.load_balancer.ingress:
        addresses.insert(0, "<pending>")
    return ",".join(addresses) or "<none>"
