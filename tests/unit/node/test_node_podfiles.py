from __future__ import annotations

import base64

import msgspec
import pytest

from netlab.api.config import ConfigMap, Secret
from netlab.api.pods import Container, Pod
from netlab.process import podfiles
from netlab.process.podfiles import ConfigError, Sources

SOURCES = Sources(
    pod_ip="10.244.1.2",
    host_ip="172.30.1.1",
    services={"KUBERNETES_SERVICE_HOST": "10.96.0.1"},
    config_maps={
        "default/settings": ConfigMap(data={"COLOUR": "red", "not a name": "x", "with-dash": "y"}),
        "default/paths": ConfigMap(data={"PATH": "/y"}),
    },
    secrets={"default/keys": Secret(data={"TOKEN": base64.b64encode(b"s3cret").decode()})},
)


def pod(**spec) -> Pod:
    metadata = {"name": "blue-1", "namespace": "default", "uid": "u1", "labels": {"app": "blue"}, "annotations": {"a/b": "c"}}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": "node1", **spec}}, Pod)


def container(**fields) -> Container:
    return msgspec.convert({"name": "main", **fields}, Container)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)/$(B)", "1/2"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A}", "$A ${A}"),
        ("$(A", "$(A"),
        ("", ""),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text, expected):
    """`$(NAME)` is replaced when it is known, `$$` escapes, a shell's own forms are left alone."""
    result = podfiles.expand(text, {"A": "1", "B": "2"})

    assert result == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"env": [{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)y"}]}, {"A": "x", "B": "xy"}),
        ({"env": [{"name": "B", "value": "$(A)"}, {"name": "A", "value": "x"}]}, {"B": "$(A)"}),
        ({"env": [{"name": "H", "value": "$(KUBERNETES_SERVICE_HOST)"}]}, {"H": "10.96.0.1"}),
        ({"envFrom": [{"configMapRef": {"name": "settings"}}]}, {"COLOUR": "red", "with-dash": "y"}),
        ({"envFrom": [{"prefix": "X_", "configMapRef": {"name": "settings"}}]}, {"X_COLOUR": "red"}),
        ({"envFrom": [{"secretRef": {"name": "keys"}}]}, {"TOKEN": "s3cret"}),
        ({"envFrom": [{"configMapRef": {"name": "none", "optional": True}}]}, {}),
        (
            {"envFrom": [{"configMapRef": {"name": "settings"}}], "env": [{"name": "COLOUR", "value": "blue"}]},
            {"COLOUR": "blue"},
        ),
        (
            {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}}]},
            {"K": "s3cret"},
        ),
    ],
)
def test_environment(fields, expected):
    """Services come first, then envFrom, then env in order; keys that are no names are skipped."""
    result = podfiles.environment(pod(), container(**fields), SOURCES, name="blue-1", base={"PATH": "/bin"}).whole

    assert {key: result.get(key) for key in expected} == expected
    assert "not a name" not in result
    assert (result["HOSTNAME"], result["KUBERNETES_SERVICE_HOST"]) == ("blue-1", "10.96.0.1")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ("$(HOSTNAME)", "$(PATH)", "10.96.0.1")),
        ({"env": [{"name": "PATH", "value": "/x"}]}, ("$(HOSTNAME)", "/x", "10.96.0.1")),
        ({"env": [{"name": "HOSTNAME", "value": "$(HOSTNAME)"}]}, ("$(HOSTNAME)", "$(PATH)", "10.96.0.1")),
        ({"env": [{"name": "HOSTNAME", "value": "$(PATH)"}]}, ("$(PATH)", "$(PATH)", "10.96.0.1")),
        ({"envFrom": [{"configMapRef": {"name": "paths"}}]}, ("$(HOSTNAME)", "/y", "10.96.0.1")),
    ],
)
def test_references_are_to_declared_variables(fields, words):
    """Kubelet knows neither PATH of the image nor HOSTNAME of the runtime: such references stay (finding 14)."""
    args = ["$(HOSTNAME)", "$(PATH)", "$(KUBERNETES_SERVICE_HOST)"]
    subject = container(command=["echo"], args=args, **fields)
    environment = podfiles.environment(pod(), subject, SOURCES, name="blue-1", base={"PATH": "/bin"})

    assert podfiles.command_line(subject, environment.declared) == ("echo", *words)
    assert environment.whole["PATH"] in {"/bin", "/x", "/y"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "blue-1"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "blue"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['a/b']", "c"),
        ("metadata.labels", 'app="blue"'),
        ("status.podIP", "10.244.1.2"),
        ("status.podIPs", "10.244.1.2"),
        ("status.hostIP", "172.30.1.1"),
        ("spec.nodeName", "node1"),
        ("spec.serviceAccountName", "default"),
    ],
)
def test_downward_api(path, expected):
    """A fieldRef gives the pod's own field."""
    result = podfiles.downward(pod(), path, SOURCES)

    assert result == expected


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "settings", "key": "a"}}, "couldn't find key a in ConfigMap default/settings"),
        ({"secretKeyRef": {"name": "none", "key": "a"}}, 'secret "none" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "a"}}, "couldn't find key a in Secret default/keys"),
        ({"fieldRef": {"fieldPath": "spec.nothing"}}, "unsupported fieldPath: spec.nothing"),
    ],
)
def test_missing_references_are_named(variable, words):
    """A reference that is not optional and fails stops the container with kubelet's words."""
    with pytest.raises(ConfigError) as failure:
        podfiles.environment(pod(), container(env=[{"name": "A", "valueFrom": variable}]), SOURCES, name="x", base={})

    assert str(failure.value) == words


@pytest.mark.parametrize(
    ("spec", "hostname", "own_line"),
    [
        ({}, "blue-1", "10.244.1.2\tblue-1"),
        ({"hostname": "db"}, "db", "10.244.1.2\tdb"),
        ({"hostname": "db", "subdomain": "tier"}, "db", "10.244.1.2\tdb.tier.default.svc.cluster.local\tdb"),
        (
            {"subdomain": "tier", "setHostnameAsFQDN": True},
            "blue-1.tier.default.svc.cluster.local",
            "10.244.1.2\tblue-1.tier.default.svc.cluster.local\tblue-1",
        ),
        ({"setHostnameAsFQDN": True}, "blue-1", "10.244.1.2\tblue-1"),
        ({"hostNetwork": True}, "node1", "10.244.1.2\tnode1"),
        ({"hostname": "x" * 70}, "x" * 63, "10.244.1.2\t" + "x" * 63),
    ],
)
def test_names_of_a_pod(spec, hostname, own_line):
    """Hostname and /etc/hosts name the pod by hostname and subdomain (semantics 1.10, 11.19)."""
    hosts = podfiles.hosts(pod(**spec), "10.244.1.2", "cluster.local").splitlines()

    assert podfiles.hostname(pod(**spec), "cluster.local") == hostname
    assert hosts[0] == f"# Kubernetes-managed hosts file{' (host network)' if 'hostNetwork' in spec else ''}."
    assert hosts[1] == "127.0.0.1\tlocalhost"
    assert hosts[-1] == own_line


def test_too_long_fqdn_keeps_the_pod_from_starting():
    """A hostname over 64 characters under setHostnameAsFQDN is an error (semantics 11.28)."""
    with pytest.raises(ConfigError, match="64 characters is the max"):
        podfiles.hostname(pod(hostname="h" * 40, subdomain="tier", setHostnameAsFQDN=True), "cluster.local")


def test_host_aliases_follow():
    """HostAliases are added after the pod's own line."""
    text = podfiles.hosts(pod(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["a", "b"]}]), "10.244.1.2", "cluster.local")

    assert text.endswith("\n\n# Entries added by HostAliases.\n10.0.0.1\ta\tb\n")


def referring(resource: object) -> dict:
    return {"name": "A", "valueFrom": {"resourceFieldRef": resource}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"resources": {"limits": {"cpu": "5"}}, "env": [referring({"resource": "limits.cpu"})]}, "5"),
        ({"env": [referring({"resource": "limits.cpu"})]}, "0"),
        ({"env": [referring({})]}, "0"),
    ],
)
def test_resources_are_read(fields, expected):
    """A limit that is not set is 0: no capacity is known."""
    assert podfiles.environment(pod(), container(**fields), SOURCES, name="web", base={}).whole["A"] == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"resources": {"limits": 5}, "env": [referring({"resource": "limits.cpu"})]},
        {"resources": 5, "env": [referring({"resource": "limits.cpu"})]},
        {"env": [referring("cpu")]},
        {"env": [referring(["cpu"])]},
        {"env": [referring({"resource": {"a": 1}})]},
    ],
)
def test_resources_of_another_shape_do_not_decode(fields):
    """Fields that the environment reads are typed: such an object is unreadable, and no code meets it (findings B2)."""
    with pytest.raises(msgspec.ValidationError):
        container(**fields)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/w==", "environment variable KEY: the value is not valid UTF-8"),
        ("YQBi", "environment variable KEY: the value contains a NUL"),
    ],
)
@pytest.mark.parametrize(
    "fields",
    [
        {"envFrom": [{"secretRef": {"name": "bytes"}}]},
        {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "bytes", "key": "KEY"}}}]},
    ],
)
def test_bytes_that_no_environment_holds_are_refused(fields, value, words):
    """A Secret's bytes that are no UTF-8, or hold a NUL, refuse that container with kubelet's word (findings B3)."""
    secrets = {"default/bytes": msgspec.convert({"metadata": {"name": "bytes"}, "data": {"KEY": value}}, Secret)}
    with pytest.raises(ConfigError) as failure:
        podfiles.environment(pod(), container(**fields), Sources(secrets=secrets), name="web", base={})

    assert failure.value.reason == "CreateContainerError"
    assert failure.value.message.startswith(words)
