from __future__ import annotations

import pytest

from netlab.api.meta import ObjectMeta
from netlab.api.services import Service, ServicePort, ServiceSpec
from netlab.dns.environment import service_environment, variable_name


def service(name: str, namespace: str = "ns1", ip: str = "10.96.0.20", kind: str = "ClusterIP", ports=None) -> Service:
    ports = (ServicePort(port=80, name="http"), ServicePort(port=53, name="dns-tcp", protocol="UDP")) if ports is None else ports
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(type=kind, cluster_ip=ip, ports=ports))


KUBERNETES = service("kubernetes", "default", "10.96.0.1", ports=(ServicePort(port=443, name="https"),))
KUBERNETES_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    "KUBERNETES_PORT": "tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
    "KUBERNETES_PORT_443_TCP_PORT": "443",
    "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
}
SERVICES = [
    KUBERNETES,
    service("my-web"),
    service("other", "ns2"),
    service("headless", ip="None"),
    service("external", ip="", kind="ExternalName"),
    service("external-with-ip", kind="ExternalName"),
]


def test_dns_environment_of_a_service():
    """A Service gives its Kubernetes and its Docker-link variables (semantics 12.2 - 12.4)."""
    expected = {
        "MY_WEB_SERVICE_HOST": "10.96.0.20",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_SERVICE_PORT_DNS_TCP": "53",
        "MY_WEB_PORT": "tcp://10.96.0.20:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.96.0.20:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.20",
        "MY_WEB_PORT_53_UDP": "udp://10.96.0.20:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.20",
    }

    assert {**KUBERNETES_VARIABLES, **expected} == service_environment(SERVICES, "ns1", True, KUBERNETES)


ROWS = [
    ("12.1 other namespace", "ns3", True, KUBERNETES, set()),
    ("12.5 no links", "ns1", False, KUBERNETES, set()),
    ("12.1 before the API server's Service", "ns3", True, None, set()),
    ("12.1", "ns2", True, KUBERNETES, {"OTHER"}),
]


@pytest.mark.parametrize(("why", "namespace", "links", "kubernetes", "prefixes"), ROWS, ids=[row[0] for row in ROWS])
def test_dns_environment_choice(why, namespace, links, kubernetes, prefixes):
    """Services of the pod's namespace with a cluster IP, and `kubernetes`."""
    names = service_environment(SERVICES, namespace, links, kubernetes)
    found = {name.removesuffix("_SERVICE_HOST") for name in names if name.endswith("_SERVICE_HOST")}

    assert prefixes | ({"KUBERNETES"} if kubernetes else set()) == found, why


def test_dns_environment_own_kubernetes_service_wins():
    """A Service named kubernetes in the pod's own namespace is the one its variables name."""
    own = service("kubernetes", "ns1", "10.96.0.77")

    assert "10.96.0.77" == service_environment([own], "ns1", True, KUBERNETES)["KUBERNETES_SERVICE_HOST"]


def test_dns_environment_headless_kubernetes_hides_nothing():
    """A headless Service of that name gives no variables, so the API server's stay."""
    assert service_environment([service("kubernetes", ip="None")], "ns1", True, KUBERNETES) == KUBERNETES_VARIABLES


@pytest.mark.parametrize(("name", "expected"), [("my-svc", "MY_SVC"), ("a.b", "A_B"), ("3scale", "_3SCALE")])
def test_dns_variable_names(name, expected):
    """Names become upper case, dashes and dots underscores, a leading digit gets one (semantics 12.2)."""
    assert expected == variable_name(name)
