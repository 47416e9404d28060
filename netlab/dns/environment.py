"""Service environment variables: Services as a container finds them when it starts (semantics 12).

They are computed once per container start, from the Services that exist at that moment in the pod's namespace, plus
`kubernetes` from `default`; afterwards nothing updates them (12.6). A Service without a cluster IP gives none.
"""

from __future__ import annotations

from collections.abc import Iterable

from netlab.api.services import Service, ServicePort

KUBERNETES = "kubernetes"  # the API server's Service, which every pod gets in its environment


def service_environment(
    services: Iterable[Service], namespace: str, enable_service_links: bool, kubernetes_service: Service | None
) -> dict[str, str]:
    """Return the variables of a container.

    Args:
        services: all Services there are (of other namespaces too).
        namespace: the pod's.
        enable_service_links: the pod's; False leaves KUBERNETES_* only (12.5).
        kubernetes_service: default/kubernetes, None while it does not exist.
    """
    chosen: dict[str, Service] = {}
    if kubernetes_service is not None and has_cluster_ip(kubernetes_service):
        chosen[KUBERNETES] = kubernetes_service
    for service in services:
        if enable_service_links and service.metadata.namespace == namespace and has_cluster_ip(service):
            chosen[service.metadata.name] = service  # the pod's own namespace wins over default/kubernetes
    variables: dict[str, str] = {}
    for name in sorted(chosen):
        variables |= service_variables(chosen[name])
    return variables


def has_cluster_ip(service: Service) -> bool:
    """Return whether a Service has a virtual address: neither headless nor ExternalName (12.5)."""
    return service.spec.type != "ExternalName" and service.spec.cluster_ip not in {"", "None"}


def service_variables(service: Service) -> dict[str, str]:
    """Return one Service's variables: Kubernetes' own and the old Docker-link ones (12.3, 12.4)."""
    prefix = variable_name(service.metadata.name)
    address = service.spec.cluster_ip
    ports = service.spec.ports
    variables = {f"{prefix}_SERVICE_HOST": address}
    if ports:
        variables[f"{prefix}_SERVICE_PORT"] = str(ports[0].port)
        variables |= {f"{prefix}_SERVICE_PORT_{_upper(port.name)}": str(port.port) for port in ports if port.name}
        variables[f"{prefix}_PORT"] = _url(address, ports[0])
    for port in ports:
        link = f"{prefix}_PORT_{port.port}_{port.protocol.upper()}"
        variables |= {
            link: _url(address, port),
            f"{link}_PROTO": port.protocol.lower(),
            f"{link}_PORT": str(port.port),
            f"{link}_ADDR": address,
        }
    return variables


def variable_name(name: str) -> str:
    """Turn a Service's name into the start of a variable's: `3scale-api` -> `_3SCALE_API` (12.2)."""
    upper = _upper(name)
    return f"_{upper}" if upper[:1].isdigit() else upper


def _upper(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


def _url(address: str, port: ServicePort) -> str:
    return f"{port.protocol.lower()}://{address}:{port.port}"
