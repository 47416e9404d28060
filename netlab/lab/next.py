"""Five commands to try next in a running lab, made from what is in it, so that each works as printed."""

from __future__ import annotations

from netlab.api.resources import Json


def suggestions(status: Json) -> tuple[tuple[str, str], ...]:
    """Return up to five (command, what it shows) for a lab's status document."""
    found = [*_from_outside(status), *_from_a_pod(status), *_on_a_node(status)]
    name = status["name"]
    found.append(
        (f"KUBECONFIG={status['kubeconfig']} kubectl get --raw /api/v1/namespaces/default/services", "the API is Kubernetes'")
    )
    found.append((f"netlab down {name}", "remove all of it; the host is as before"))
    return (*found[:4], found[-1])


def _from_outside(status: Json) -> list[tuple[str, str]]:
    if not status["hosts"]:
        return []
    client = status["hosts"][0]["name"]
    for service in status["services"]:
        address = service["externalIP"].split(",")[0]
        if service["type"] == "LoadBalancer" and address[0].isdigit() and service["endpoints"]:
            port = service["ports"].split(":")[0]
            return [(f"netlab exec {client} -- curl -s http://{address}:{port}/", "through the load balancer; repeat it")]
    for service in status["services"]:
        if service["type"] == "NodePort" and service["endpoints"] and "/TCP" in service["ports"]:
            port = service["ports"].split(":")[1].split("/")[0]
            return [(f"netlab exec {client} -- curl -s http://{status['nodes'][0]['address']}:{port}/", "through a NodePort")]
    return []


def _from_a_pod(status: Json) -> list[tuple[str, str]]:
    pods = [pod for pod in status["pods"] if pod["status"] == "Running"]
    services = [
        service
        for service in status["services"]
        if service["namespace"] == "default"
        and service["name"] != "kubernetes"
        and service["endpoints"]
        and "/TCP" in service["ports"]
    ]
    if not pods:
        return []
    pod = next((p for p in pods if p["namespace"] == "default"), pods[0])
    target = pod["name"] if pod["namespace"] == "default" else f"{pod['namespace']}/{pod['name']}"
    if not services:
        return [(f"netlab exec {target} -- cat /etc/resolv.conf", "how a pod finds the cluster's DNS")]
    port = services[0]["ports"].split("/")[0].split(":")[0]
    return [(f"netlab exec {target} -- curl -s http://{services[0]['name']}:{port}/", "a Service by its name, from a pod")]


def _on_a_node(status: Json) -> list[tuple[str, str]]:
    node = status["nodes"][0]["name"]
    return [
        (f"netlab exec {node} -- nft list table ip kube-proxy", "the service proxy's rules on a node"),
        (f"netlab exec {node} -- ip route", "flannel's routes to the other nodes' pods"),
    ]
