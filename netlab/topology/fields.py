"""What one field may hold, whatever the others hold: a table with a row per field.

The decoder applies the rows while it walks an object, the schema prints them. Rules that need two fields or two objects
are in `netlab.topology.rules`. Rules of Kubernetes: empty text and 0 mean "not set" unless the row says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netlab.api import apps, core, discovery, lab, meta
from netlab.topology import syntax
from netlab.topology.problem import Problem, Steps, invalid, required, unsupported
from netlab.topology.syntax import Syntax


@dataclass(frozen=True)
class Rule:
    """`later`: values that Kubernetes has and netlab does not yet. `zero`: 0 is "not set". `keys`: of a map."""

    must: bool = False
    values: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    why: str = "not yet"
    low: int | None = None
    high: int | None = None
    zero: bool = False
    syntax: Syntax | None = None
    keys: Syntax | None = None


def _one_of(*values: str, later: tuple[str, ...] = (), why: str = "not yet") -> Rule:
    return Rule(values=values, later=later, why=why)


def _text(kind: Syntax) -> Rule:
    return Rule(syntax=kind)


def _must(rule: Rule) -> Rule:
    return replace(rule, must=True)


PORT = Rule(low=1, high=65535)
PORT_OR_UNSET = Rule(low=1, high=65535, zero=True)
PORT_OR_NAME = Rule(low=1, high=65535, syntax=syntax.PORT_NAME)
IDENTITY = Rule(low=0, high=2**31 - 1)  # of a user or group, as Kubernetes allows
NOT_NEGATIVE = Rule(low=0)
NOT_NEGATIVE_OR_UNSET = Rule(low=0, zero=True)
LABELS = Rule(keys=syntax.QUALIFIED_NAME, syntax=syntax.LABEL_VALUE)
ANNOTATIONS = Rule(keys=syntax.QUALIFIED_NAME)
CONFIG_KEYS = Rule(keys=syntax.CONFIG_KEY)
NO_SCTP = "netlab carries no SCTP: a kernel built without it could not, and labs are the same on every machine"
PROTOCOL = _one_of("TCP", "UDP", later=("SCTP",), why=NO_SCTP)
POLICY = _one_of("Cluster", "Local")
ANY = Rule()

RULES: Mapping[tuple[type, str], Rule] = {
    (meta.ObjectMeta, "labels"): LABELS,
    (meta.ObjectMeta, "annotations"): ANNOTATIONS,
    (meta.ObjectMeta, "namespace"): _text(syntax.DNS_LABEL),
    (meta.LabelSelector, "matchLabels"): LABELS,
    (meta.LabelSelectorRequirement, "key"): _text(syntax.QUALIFIED_NAME),
    (meta.LabelSelectorRequirement, "operator"): _one_of("In", "NotIn", "Exists", "DoesNotExist"),
    (meta.LabelSelectorRequirement, "values"): _text(syntax.LABEL_VALUE),
    # ---- Lab
    (lab.Backend, "type"): _one_of("vxlan", later=("host-gw", "udp", "ipip", "wireguard", "ipsec", "alloc")),
    (lab.Backend, "vni"): Rule(low=1, high=16777215),
    (lab.Backend, "port"): PORT,
    (lab.Networking, "podSubnet"): _text(syntax.NETWORK),
    (lab.Networking, "serviceSubnet"): _text(syntax.NETWORK),
    (lab.Networking, "nodeSubnet"): _text(syntax.NETWORK),
    (lab.Networking, "outsideSubnet"): _text(syntax.NETWORK),
    (lab.Networking, "dnsDomain"): _text(syntax.DNS_SUBDOMAIN),
    (lab.Networking, "provider"): _one_of("flannel"),
    (lab.Networking, "kubeProxyMode"): _one_of("nftables", later=("iptables", "ipvs", "userspace")),
    (lab.Networking, "nodePortRange"): _text(syntax.PORT_RANGE),
    (lab.LabNode, "name"): _must(_text(syntax.DNS_LABEL)),
    (lab.LabNode, "labels"): LABELS,
    (lab.LabClient, "name"): _must(_text(syntax.DNS_LABEL)),
    (lab.LabClient, "hostnames"): _text(syntax.DNS_SUBDOMAIN),
    (lab.LoadBalancer, "provider"): _one_of("edge"),
    (lab.LoadBalancer, "pool"): _text(syntax.NETWORK),
    (lab.LabSpec, "runtime"): _one_of("netns", "docker"),
    (lab.LabSpec, "nodes"): _must(ANY),
    (lab.Lab, "spec"): _must(ANY),
    (lab.LabSpec, "manifests"): _text(syntax.FILE_PATH),
    # ---- ConfigMap, Secret
    (core.ConfigMap, "data"): CONFIG_KEYS,
    (core.ConfigMap, "binaryData"): CONFIG_KEYS,
    (core.Secret, "data"): CONFIG_KEYS,
    (core.Secret, "stringData"): CONFIG_KEYS,
    # ---- Pod
    (core.ContainerPort, "containerPort"): _must(PORT),
    (core.ContainerPort, "name"): _text(syntax.PORT_NAME),
    (core.ContainerPort, "protocol"): PROTOCOL,
    (core.ContainerPort, "hostPort"): PORT_OR_UNSET,
    (core.ContainerPort, "hostIP"): _text(syntax.ADDRESS),
    (core.KeySelector, "name"): _must(_text(syntax.DNS_SUBDOMAIN)),
    (core.KeySelector, "key"): _must(_text(syntax.CONFIG_KEY)),
    (core.ObjectFieldSelector, "fieldPath"): _must(ANY),
    (core.ObjectFieldSelector, "apiVersion"): _one_of("v1"),
    (core.EnvVar, "name"): _must(_text(syntax.ENVIRONMENT_NAME)),
    (core.EnvVar, "value"): _text(syntax.PROCESS_TEXT),
    (core.EnvFromSource, "prefix"): _text(syntax.ENVIRONMENT_NAME),
    (core.EnvFromReference, "name"): _must(_text(syntax.DNS_SUBDOMAIN)),
    (core.HTTPHeader, "name"): _must(ANY),
    (core.HTTPGetAction, "port"): _must(PORT_OR_NAME),
    (core.HTTPGetAction, "scheme"): _one_of("HTTP", "HTTPS"),
    (core.TCPSocketAction, "port"): _must(PORT_OR_NAME),
    (core.ExecAction, "command"): _must(_text(syntax.PROCESS_TEXT)),
    (core.Probe, "initialDelaySeconds"): NOT_NEGATIVE,
    (core.Probe, "timeoutSeconds"): NOT_NEGATIVE_OR_UNSET,
    (core.Probe, "periodSeconds"): NOT_NEGATIVE_OR_UNSET,
    (core.Probe, "successThreshold"): NOT_NEGATIVE_OR_UNSET,
    (core.Probe, "failureThreshold"): NOT_NEGATIVE_OR_UNSET,
    (core.Capabilities, "add"): _text(syntax.CAPABILITY),
    (core.Capabilities, "drop"): _text(syntax.CAPABILITY),
    (core.SecurityContext, "runAsUser"): IDENTITY,
    (core.SecurityContext, "runAsGroup"): IDENTITY,
    (core.PodSecurityContext, "runAsUser"): IDENTITY,
    (core.PodSecurityContext, "runAsGroup"): IDENTITY,
    (core.Container, "name"): _must(_text(syntax.DNS_LABEL)),
    (core.Container, "image"): _must(_text(syntax.IMAGE)),
    (core.Container, "command"): _text(syntax.PROCESS_TEXT),
    (core.Container, "args"): _text(syntax.PROCESS_TEXT),
    (core.Container, "workingDir"): _text(syntax.PROCESS_TEXT),
    (core.Container, "imagePullPolicy"): _one_of("Always", "IfNotPresent", "Never"),
    (core.PodDNSConfig, "nameservers"): _text(syntax.ADDRESS),
    (core.PodDNSConfig, "searches"): _text(syntax.SEARCH_DOMAIN),
    (core.PodDNSConfigOption, "name"): _must(ANY),
    (core.HostAlias, "ip"): _must(_text(syntax.ADDRESS)),
    (core.HostAlias, "hostnames"): _text(syntax.DNS_SUBDOMAIN),
    (core.PodSpec, "containers"): _must(ANY),
    (core.PodSpec, "nodeName"): _text(syntax.DNS_SUBDOMAIN),
    (core.PodSpec, "nodeSelector"): LABELS,
    (core.PodSpec, "hostname"): _text(syntax.DNS_LABEL),
    (core.PodSpec, "subdomain"): _text(syntax.DNS_LABEL),
    (core.PodSpec, "dnsPolicy"): _one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    (core.PodSpec, "restartPolicy"): _one_of("Always", "OnFailure", "Never"),
    (core.PodSpec, "terminationGracePeriodSeconds"): NOT_NEGATIVE,
    (core.PodTemplateMeta, "labels"): LABELS,
    (core.PodTemplateMeta, "annotations"): ANNOTATIONS,
    (core.Pod, "spec"): _must(ANY),
    # ---- Deployment, ReplicaSet, DaemonSet
    (apps.Deployment, "spec"): _must(ANY),
    (apps.ReplicaSet, "spec"): _must(ANY),
    (apps.DaemonSet, "spec"): _must(ANY),
    (apps.DeploymentSpec, "template"): _must(ANY),
    (apps.ReplicaSetSpec, "template"): _must(ANY),
    (apps.DaemonSetSpec, "template"): _must(ANY),
    (core.PodTemplateSpec, "spec"): _must(ANY),
    (apps.DeploymentSpec, "replicas"): NOT_NEGATIVE,
    (apps.ReplicaSetSpec, "replicas"): NOT_NEGATIVE,
    # ---- Service (semantics 4)
    (core.ServicePort, "port"): _must(PORT),
    (core.ServicePort, "name"): _text(syntax.DNS_LABEL),
    (core.ServicePort, "protocol"): PROTOCOL,
    (core.ServicePort, "targetPort"): PORT_OR_NAME,
    (core.ServicePort, "nodePort"): PORT_OR_UNSET,
    (core.ServicePort, "appProtocol"): _text(syntax.QUALIFIED_NAME),
    (core.ClientIPConfig, "timeoutSeconds"): Rule(low=1, high=86400),
    (core.ServiceSpec, "type"): _one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    (core.ServiceSpec, "selector"): LABELS,
    (core.ServiceSpec, "externalIPs"): _text(syntax.ENDPOINT_ADDRESS),
    (core.ServiceSpec, "externalName"): _text(syntax.HOST_NAME),
    (core.ServiceSpec, "externalTrafficPolicy"): POLICY,
    (core.ServiceSpec, "internalTrafficPolicy"): POLICY,
    (core.ServiceSpec, "sessionAffinity"): _one_of("ClientIP", "None"),
    (core.ServiceSpec, "healthCheckNodePort"): PORT_OR_UNSET,
    (core.ServiceSpec, "loadBalancerIP"): _text(syntax.ADDRESS),
    (core.ServiceSpec, "loadBalancerClass"): _text(syntax.QUALIFIED_NAME),
    (core.ServiceSpec, "loadBalancerSourceRanges"): _text(syntax.NETWORK),
    (core.ServiceSpec, "ipFamilies"): _one_of("IPv4", later=("IPv6",), why="the networks of a lab are IPv4"),
    (core.ServiceSpec, "ipFamilyPolicy"): _one_of(
        "SingleStack",
        "PreferDualStack",
        later=("RequireDualStack",),
        why="this cluster is not configured for dual-stack services",
    ),
    (core.ServiceSpec, "trafficDistribution"): _one_of("PreferClose", "PreferSameZone", "PreferSameNode"),
    # ---- Endpoints, EndpointSlice (semantics 5)
    (core.EndpointAddress, "ip"): _must(_text(syntax.ENDPOINT_ADDRESS)),
    (core.EndpointAddress, "hostname"): _text(syntax.DNS_LABEL),
    (core.EndpointAddress, "nodeName"): _text(syntax.DNS_SUBDOMAIN),
    (core.EndpointsPort, "port"): _must(PORT),
    (core.EndpointsPort, "name"): _text(syntax.DNS_LABEL),
    (core.EndpointsPort, "protocol"): PROTOCOL,
    (core.EndpointsPort, "appProtocol"): _text(syntax.QUALIFIED_NAME),
    (discovery.EndpointSlice, "addressType"): _one_of("IPv4", later=("IPv6", "FQDN"), why="the networks of a lab are IPv4"),
    (discovery.Endpoint, "addresses"): _must(_text(syntax.ENDPOINT_ADDRESS)),
    (discovery.Endpoint, "hostname"): _text(syntax.DNS_LABEL),
    (discovery.Endpoint, "nodeName"): _text(syntax.DNS_SUBDOMAIN),
    (discovery.EndpointPort, "port"): PORT,
    (discovery.EndpointPort, "name"): _text(syntax.DNS_LABEL),
    (discovery.EndpointPort, "protocol"): PROTOCOL,
    (discovery.EndpointPort, "appProtocol"): _text(syntax.QUALIFIED_NAME),
}


def required_fields(struct: type) -> tuple[str, ...]:
    """Return the wire names of the fields without which an object of this type makes no sense."""
    return _REQUIRED.get(struct, ())


def field_problems(rule: Rule, value: Any, steps: Steps) -> Iterator[Problem]:
    """Yield what is wrong with a value of the right type."""
    if isinstance(value, dict):
        yield from _map_problems(rule, value, steps)
    elif isinstance(value, list):
        if rule.must and not value:
            yield required(steps)
        for index, item in enumerate(value):
            yield from _scalar_problems(rule, item, (*steps, index))
    else:
        yield from _scalar_problems(rule, value, steps)


def _map_problems(rule: Rule, value: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    for key, text in value.items():
        if rule.keys and (fault := rule.keys.fault(key)):
            yield replace(invalid((*steps, key), key, fault), at_key=True)
        if rule.keys and rule.syntax and (fault := rule.syntax.fault(text)):
            yield invalid((*steps, key), text, fault)


def _scalar_problems(rule: Rule, value: Any, steps: Steps) -> Iterator[Problem]:
    if isinstance(value, str):
        yield from _text_problems(rule, value, steps)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from _number_problems(rule, value, steps)


def _text_problems(rule: Rule, value: str, steps: Steps) -> Iterator[Problem]:
    if not value:
        in_list = isinstance(steps[-1], int)
        if (rule.must and not in_list) or (in_list and rule.syntax and rule.syntax.fault("")):
            yield required(steps)
    elif rule.values and value not in rule.values:
        yield unsupported(steps, value, rule.values, rule.why if value in rule.later else "")
    elif rule.syntax and (fault := rule.syntax.fault(value)):
        yield invalid(steps, value, fault)


def _number_problems(rule: Rule, value: int, steps: Steps) -> Iterator[Problem]:
    if value == 0 and rule.zero:
        return
    low, high = rule.low, rule.high
    if low is not None and high is not None and not low <= value <= high:
        yield invalid(steps, value, f"must be between {low} and {high}, inclusive")
    elif low is not None and high is None and value < low:
        yield invalid(steps, value, f"must be greater than or equal to {low}")


_REQUIRED: dict[type, tuple[str, ...]] = {}
for (_struct, _name), _rule in RULES.items():
    if _rule.must:
        _REQUIRED[_struct] = (*_REQUIRED.get(_struct, ()), _name)
