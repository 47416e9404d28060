"""Five commands to try next, computed from a running lab, so that each works as printed."""

from __future__ import annotations

from dataclasses import dataclass

from netlab.api.resources import Json


@dataclass(frozen=True)
class Words:
    """How to write a command for the user: the program as it was called, and the lab's name."""

    program: str = "netlab"
    lab: str = ""  # empty if only one runs

    def __call__(self, text: str) -> str:
        """Return a command line from the one of a user with netlab on the path and one lab."""
        verb, _, rest = text.removeprefix("netlab ").partition(" ")
        named = {"exec": f"exec --lab {self.lab} {rest}", "test": f"test {rest} {self.lab}"}.get(verb) if self.lab else None
        return f"{self.program} {named or f'{verb} {rest}'.rstrip()}"


def suggestions(status: Json, words: Words) -> tuple[tuple[str, str], ...]:
    """Return five (command, what it shows) for the status document of a running lab."""
    node = status["nodes"][0]["name"]
    found = [
        *_from_outside(status),
        *_from_a_pod(status),
        (f"netlab exec {node} -- nft list table ip kube-proxy", "the service proxy's rules on a node"),
        (f"netlab exec {node} -- ip route", "flannel's routes to the other nodes' pods"),
        (
            f"netlab exec {node} -- bridge fdb show dev flannel.1",
            "the overlay's forwarding table: MAC and underlay address of each other node",
        ),
        (f"netlab logs agent-{node}", "the log of the node's agent"),
    ]
    last = (f"netlab down {status['name']}", "remove the lab and restore the host")
    return tuple((words(command), why) for command, why in (*found[:4], last))


def _from_outside(status: Json) -> list[tuple[str, str]]:
    if not status["hosts"]:
        return []
    client = status["hosts"][0]["name"]
    for service in status["services"]:
        address = service["externalIP"].split(",")[0]
        if service["type"] == "LoadBalancer" and address[0].isdigit() and service["endpoints"]:
            port = service["ports"].split(":")[0]
            return [
                (
                    f"netlab exec {client} -- curl -s http://{address}:{port}/",
                    "a request through the load balancer; repeat it to reach other pods",
                )
            ]
    for service in status["services"]:
        if service["type"] == "NodePort" and service["endpoints"] and "/TCP" in service["ports"]:
            port = service["ports"].split(":")[1].split("/")[0]
            return [
                (
                    f"netlab exec {client} -- curl -s http://{status['nodes'][0]['address']}:{port}/",
                    "a request through a NodePort",
                )
            ]
    return []


def _from_a_pod(status: Json) -> list[tuple[str, str]]:
    on_node = {node["address"] for node in status["nodes"]}  # hostNetwork: a node's resolver does not resolve Services
    pods = [pod for pod in status["pods"] if pod["status"] == "Running" and pod["ip"] not in on_node]
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
    return [
        (
            f"netlab exec {target} -- curl -s http://{services[0]['name']}:{port}/",
            "a request to a Service by its name, from a pod",
        )
    ]
