"""`netlab port-forward`: what the words mean, and which pod is taken."""

from __future__ import annotations

import pytest

from netlab.api.apps import Deployment, DeploymentSpec
from netlab.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from netlab.api.meta import Condition, LabelSelector, ObjectMeta, ObjectReference
from netlab.api.pods import Container, ContainerPort, Pod, PodSpec, PodStatus
from netlab.api.resources import DAEMON_SETS, DEPLOYMENTS, PODS, REPLICA_SETS, SERVICES
from netlab.api.services import Service, ServicePort, ServiceSpec
from netlab.errors import LabError, UsageError
from netlab.lab.forward_target import Cluster, PortPair, PortRequest, parse_addresses, parse_port, parse_target, plan

TARGETS = [
    ("svc/blue", "", (SERVICES, "", "blue")),
    ("service/blue", "", (SERVICES, "", "blue")),
    ("Services/blue", "shop", (SERVICES, "shop", "blue")),
    ("po/blue", "", (PODS, "", "blue")),
    ("pods/blue", "", (PODS, "", "blue")),
    ("deploy/blue", "", (DEPLOYMENTS, "", "blue")),
    ("deployment.apps/blue", "", (DEPLOYMENTS, "", "blue")),
    ("rs/blue", "", (REPLICA_SETS, "", "blue")),
    ("daemonset/blue", "", (DAEMON_SETS, "", "blue")),
    ("blue", "", (PODS, "", "blue")),
    ("shop/blue", "", (PODS, "shop", "blue")),
    ("shop/blue", "shop", (PODS, "shop", "blue")),
]


@pytest.mark.parametrize(("text", "namespace", "expected"), TARGETS)
def test_targets(text, namespace, expected):
    """The words of kubectl for kinds, or a pod with or without its namespace."""
    target = parse_target(text, namespace)

    assert expected == (target.resource, target.namespace, target.name)


@pytest.mark.parametrize(
    ("text", "namespace"), [("", ""), ("svc/", ""), ("/blue", ""), ("a/svc/blue", ""), ("shop/blue", "toys")]
)
def test_no_targets(text, namespace):
    """What names nothing is refused in words."""
    with pytest.raises(UsageError, match=r"invalid target|neither a type"):
        parse_target(text, namespace)


PORTS = [
    ("80", PortRequest(None, 80)),
    ("8080:80", PortRequest(8080, 80)),
    (":80", PortRequest(0, 80)),
    ("0:80", PortRequest(0, 80)),
    ("http", PortRequest(None, "http")),
    ("8080:http-2", PortRequest(8080, "http-2")),
    ("65535:65535", PortRequest(65535, 65535)),
]


@pytest.mark.parametrize(("text", "expected"), PORTS)
def test_ports(text, expected):
    """The local port may be left out, or be any that is free; the remote one may be a name."""
    assert expected == parse_port(text)


@pytest.mark.parametrize(
    "text", ["", ":", "80:", "0", "65536", "8080:0", "70000:80", "a:80", "1:2:3", "-1:80", "80:Http", "8 0", "²:80"]
)
def test_no_ports(text):
    """Numbers out of range and what is no name are refused."""
    with pytest.raises(UsageError, match="invalid port mapping"):
        parse_port(text)


ADDRESSES = [
    ((), ("127.0.0.1",)),
    (("localhost",), ("127.0.0.1",)),
    (("127.0.0.1,127.0.0.2",), ("127.0.0.1", "127.0.0.2")),
    (("::1", "localhost", "127.0.0.1"), ("::1", "127.0.0.1")),
]


@pytest.mark.parametrize(("words", "expected"), ADDRESSES)
def test_addresses(words, expected):
    """Loopback addresses, each once."""
    assert expected == parse_addresses(words)


@pytest.mark.parametrize("word", ["0.0.0.0", "::", "192.0.2.1", "example", "127.0.0.1,10.0.0.1", ""])
def test_nothing_but_loopback(word):
    """No other address is listened on."""
    with pytest.raises(UsageError, match=r"not a loopback|not an IP address"):
        parse_addresses([word])


# ---- choice
DECLARED = (
    ContainerPort(name="http", container_port=8080),
    ContainerPort(name="dns", container_port=53, protocol="UDP"),
    ContainerPort(container_port=7, protocol="UDP"),
    ContainerPort(container_port=7),
)


def pod(name, *, ready=True, phase="Running", namespace="default", address="10.244.1.2"):
    conditions = (Condition(type="Ready", status="True" if ready else "False"),)
    return Pod(
        metadata=ObjectMeta(name=name, namespace=namespace, labels={"app": "web"}, uid=name),
        spec=PodSpec(containers=(Container(name="c", ports=DECLARED),)),
        status=PodStatus(phase=phase, pod_ip=address, conditions=conditions),
    )


def service(*ports, **spec):
    return Service(
        metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(ports=ports, cluster_ip="10.96.0.7", **spec)
    )


def piece(pods, **numbers):
    endpoints = tuple(
        Endpoint(
            conditions=EndpointConditions(ready=p.ready),
            target_ref=ObjectReference(kind="Pod", namespace="default", name=p.metadata.name),
        )
        for p in pods
    )
    meta = ObjectMeta(name="web-1", namespace="default", labels={"kubernetes.io/service-name": "web"})
    return EndpointSlice(
        metadata=meta, endpoints=endpoints, ports=tuple(EndpointPort(name=n, port=p) for n, p in numbers.items())
    )


WEB = service(
    ServicePort(name="http", port=80, target_port="http"),
    ServicePort(name="admin", port=81, target_port=9000),
    ServicePort(name="dns", port=53, protocol="UDP"),
)
A, B, LATE = pod("a"), pod("b"), pod("0", ready=False)
SLICES = (piece([LATE, B, A], http=8080, admin=9000),)
DEPLOYMENT = Deployment(
    metadata=ObjectMeta(name="web", namespace="default"),
    spec=DeploymentSpec(selector=LabelSelector(match_labels={"app": "web"})),
)


def chosen(target, *ports, pods=(LATE, B, A), services=(WEB,), slices=SLICES):
    cluster = Cluster(pods, services=services, workloads=(DEPLOYMENT,), slices=slices)
    return plan(parse_target(target), tuple(map(parse_port, ports)), cluster)


CHOICES = [
    pytest.param("svc/web", ["80"], "a", [(80, 8080)], id="a Service's port is translated, its own number is the local one"),
    pytest.param("svc/web", ["8000:http", "0:admin"], "a", [(8000, 8080), (0, 9000)], id="names of a Service's ports"),
    pytest.param("svc/web", ["http"], "a", [(80, 8080)], id="a name alone: the Service's number"),
    pytest.param("pod/b", ["80"], "b", [(80, 80)], id="a pod's port need not be declared"),
    pytest.param("b", ["http"], "b", [(8080, 8080)], id="a name alone: the container's number"),
    pytest.param("default/b", ["1234:7"], "b", [(1234, 7)], id="a number both of UDP and of TCP"),
    pytest.param("pod/0", ["80"], "0", [(80, 80)], id="a pod need not be ready"),
    pytest.param("deploy/web", ["8080"], "a", [(8080, 8080)], id="a ready pod of a workload, the first by name"),
]


@pytest.mark.parametrize(("target", "ports", "name", "pairs"), CHOICES)
def test_choice(target, ports, name, pairs):
    """One pod, always the same one, and its own port numbers."""
    found = chosen(target, *ports)

    assert name == found.pod.metadata.name
    assert tuple(PortPair(*pair) for pair in pairs) == found.ports


def test_headless():
    """A headless Service's port is not translated, as with kubectl: its clients talk to the pod's own ports."""
    services = [service(ServicePort(name="http", port=80, target_port=8080))]
    services = [Service(metadata=s.metadata, spec=ServiceSpec(ports=s.spec.ports, cluster_ip="None")) for s in services]

    assert (PortPair(80, 80),) == chosen("svc/web", "80", services=services, slices=(piece([A], http=8080),)).ports


def test_one_pod_for_all_ports():
    """A pod that lacks one of the ports asked for is passed over."""
    slices = (piece([A], http=8080), piece([B], http=8080, admin=9000))

    assert "b" == chosen("svc/web", "80", "81", slices=slices).pod.metadata.name


REFUSALS = [
    pytest.param("svc/web", "82", {}, UsageError, r"Service default/web has no port 82\nPorts: 80 \(http\)", id="no such port"),
    pytest.param("svc/web", "dns", {}, UsageError, "is UDP: only TCP", id="UDP of a Service"),
    pytest.param("pod/a", "dns", {}, UsageError, "is UDP: only TCP", id="UDP of a pod"),
    pytest.param("pod/a", "nope", {}, UsageError, r"no port named 'nope'\nPorts: 8080 \(http\)", id="no such name"),
    pytest.param("svc/other", "80", {}, UsageError, r"no Service default/other\nServices: default/web", id="no such Service"),
    pytest.param("pod/x", "80", {}, UsageError, "no pod named 'x' in this lab", id="no such pod"),
    pytest.param("statefulset/x", "80", {}, UsageError, "Other targets: svc/NAME", id="a kind that is none"),
    pytest.param(
        "pod/p", "80", {"pods": (pod("p", phase="Failed"),)}, LabError, "netlab logs default/p", id="a pod that has ended"
    ),
    pytest.param("svc/web", "80", {"slices": (piece([LATE], http=1),)}, LabError, "no pod behind Service", id="nothing ready"),
    pytest.param(
        "svc/web", "80", {"slices": (piece([A], admin=1),)}, LabError, "target port of its port", id="nobody has the port"
    ),
    pytest.param("svc/web", "80", {"services": (service(type="ExternalName"),)}, UsageError, "ExternalName", id="ExternalName"),
    pytest.param("deploy/web", "80", {"pods": ()}, LabError, "no pod of Deployment default/web is running", id="no pod"),
    pytest.param(
        "pod/p",
        "80",
        {"pods": (pod("p", phase="Pending", address=""),)},
        LabError,
        r"not running \(phase Pending\)",
        id="pending",
    ),
]


@pytest.mark.parametrize(("target", "port", "world", "kind", "words"), REFUSALS)
def test_refusals(target, port, world, kind, words):
    """What cannot be forwarded is said in a sentence, with what there is."""
    with pytest.raises(kind, match=words):
        chosen(target, port, **world)
