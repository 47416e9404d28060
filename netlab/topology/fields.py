"""What one field may hold, whatever the others hold: a table with a row per field.

The decoder applies the rows while it walks an object, the schema prints them. Rules that need two fields or two objects
are in `netlab.topology.rules`. Rules of Kubernetes: empty text and 0 mean "not set" unless the row specifies otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netlab.api import apps, cluster, config, coordination, discovery, events, lab, meta, pods, services
from netlab.api.capabilities import GRANTABLE, REFUSED
from netlab.topology import syntax
from netlab.topology.problem import TYPE_INVALID, Problem, Steps, invalid, required, unsupported
from netlab.topology.syntax import Syntax


@dataclass(frozen=True)
class Rule:
    """`later`: values that Kubernetes has and netlab does not yet. `zero`: 0 is "not set". `keys`: of a map.

    `least`: the message for an empty value.
    """

    must: bool = False
    values: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    why: str = "not supported yet"
    low: int | None = None
    high: int | None = None
    zero: bool = False
    syntax: Syntax | None = None
    keys: Syntax | None = None
    least: str = ""


def _one_of(*values: str, later: tuple[str, ...] = (), why: str = "not supported yet") -> Rule:
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
NO_SCTP = "netlab does not support SCTP: some kernels are built without it, and a lab behaves the same on every machine"
TIME = _text(syntax.TIME)
ADDRESS = _text(syntax.UNICAST_ADDRESS)  # of a host; becomes part of rules, routes and names
QUANTITIES = Rule(keys=syntax.QUALIFIED_NAME, syntax=syntax.QUANTITY)
PROTOCOL = _one_of("TCP", "UDP", later=("SCTP",), why=NO_SCTP)
POLICY = _one_of("Cluster", "Local")
ANY = Rule()

RULES: Mapping[tuple[type, str], Rule] = {
    (meta.ObjectMeta, "labels"): LABELS,
    (meta.ObjectMeta, "annotations"): ANNOTATIONS,
    (meta.ObjectMeta, "namespace"): _text(syntax.DNS_LABEL),
    (meta.ObjectMeta, "finalizers"): _text(syntax.QUALIFIED_NAME),
    (meta.ObjectMeta, "creationTimestamp"): TIME,
    (meta.ObjectMeta, "deletionTimestamp"): TIME,
    (meta.ObjectMeta, "deletionGracePeriodSeconds"): NOT_NEGATIVE,
    (meta.OwnerReference, "apiVersion"): _must(_text(syntax.API_VERSION)),
    (meta.OwnerReference, "kind"): _must(_text(syntax.KIND)),
    (meta.OwnerReference, "name"): _must(_text(syntax.DNS_SUBDOMAIN)),
    (meta.OwnerReference, "uid"): _must(_text(syntax.UID)),
    (meta.Condition, "type"): _must(_text(syntax.QUALIFIED_NAME)),
    (meta.Condition, "status"): _must(_one_of("True", "False", "Unknown")),
    (meta.Condition, "lastTransitionTime"): TIME,
    (meta.Condition, "lastProbeTime"): TIME,
    (meta.Condition, "lastHeartbeatTime"): TIME,
    (meta.Condition, "lastUpdateTime"): TIME,
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
    (lab.LabDns, "upstream"): _text(syntax.DNS_SUBDOMAIN),
    (lab.LabDns, "stubDomains"): Rule(keys=syntax.DNS_SUBDOMAIN),
    (lab.LabDns, "ttl"): Rule(low=0, high=3600),
    (lab.LabDns, "podRecords"): _one_of("disabled", "insecure", "verified"),
    (lab.LoadBalancer, "provider"): _one_of("edge"),
    (lab.LoadBalancer, "pool"): _text(syntax.NETWORK),
    (lab.LabSpec, "runtime"): _one_of(*lab.RUNTIMES),
    (lab.LabSpec, "nodes"): Rule(must=True, least="a lab needs at least one node"),
    (lab.Lab, "spec"): _must(ANY),
    (lab.HostStatus, "name"): _must(_text(syntax.DNS_LABEL)),
    (lab.HostStatus, "role"): _one_of("node", "client"),
    (lab.HostStatus, "index"): NOT_NEGATIVE,
    (lab.HostStatus, "address"): ADDRESS,
    (lab.LabSpec, "manifests"): _text(syntax.FILE_PATH),
    # ---- Node, Lease, Event
    (cluster.NodeSpec, "podCIDR"): _text(syntax.NETWORK),
    (cluster.NodeSpec, "podCIDRs"): _text(syntax.NETWORK),
    (cluster.NodeAddress, "type"): _must(_one_of("Hostname", "InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS")),
    (cluster.NodeAddress, "address"): _must(ANY),
    (cluster.NodeStatus, "capacity"): QUANTITIES,
    (cluster.NodeStatus, "allocatable"): QUANTITIES,
    (coordination.LeaseSpec, "acquireTime"): TIME,
    (coordination.LeaseSpec, "renewTime"): TIME,
    (coordination.LeaseSpec, "leaseDurationSeconds"): Rule(low=1),
    (coordination.LeaseSpec, "leaseTransitions"): NOT_NEGATIVE,
    (events.Event, "firstTimestamp"): TIME,
    (events.Event, "lastTimestamp"): TIME,
    (events.Event, "eventTime"): TIME,
    # ---- ConfigMap, Secret
    (config.ConfigMap, "data"): CONFIG_KEYS,
    (config.ConfigMap, "binaryData"): CONFIG_KEYS,
    (config.Secret, "data"): CONFIG_KEYS,
    (config.Secret, "stringData"): CONFIG_KEYS,
    # ---- Pod
    (pods.ContainerPort, "containerPort"): _must(PORT),
    (pods.ContainerPort, "name"): _text(syntax.PORT_NAME),
    (pods.ContainerPort, "protocol"): PROTOCOL,
    (pods.ContainerPort, "hostPort"): PORT_OR_UNSET,
    (pods.ContainerPort, "hostIP"): _text(syntax.ADDRESS),
    (pods.KeySelector, "name"): _must(_text(syntax.DNS_SUBDOMAIN)),
    (pods.KeySelector, "key"): _must(_text(syntax.CONFIG_KEY)),
    (pods.ObjectFieldSelector, "fieldPath"): _must(ANY),
    (pods.ObjectFieldSelector, "apiVersion"): _one_of("v1"),
    (pods.EnvVar, "name"): _must(_text(syntax.ENVIRONMENT_NAME)),
    (pods.EnvVar, "value"): _text(syntax.PROCESS_TEXT),
    (pods.EnvFromSource, "prefix"): _text(syntax.ENVIRONMENT_NAME),
    (pods.EnvFromReference, "name"): _must(_text(syntax.DNS_SUBDOMAIN)),
    (pods.HTTPHeader, "name"): _must(_text(syntax.HTTP_HEADER_NAME)),
    (pods.HTTPHeader, "value"): _text(syntax.HTTP_TEXT),
    (pods.HTTPGetAction, "path"): _text(syntax.HTTP_TEXT),
    (pods.HTTPGetAction, "host"): _text(syntax.HTTP_TEXT),
    (pods.HTTPGetAction, "port"): _must(PORT_OR_NAME),
    (pods.HTTPGetAction, "scheme"): _one_of("HTTP", "HTTPS"),
    (pods.TCPSocketAction, "port"): _must(PORT_OR_NAME),
    (pods.ExecAction, "command"): _must(_text(syntax.PROCESS_TEXT)),
    (pods.Probe, "initialDelaySeconds"): NOT_NEGATIVE,
    (pods.Probe, "timeoutSeconds"): NOT_NEGATIVE_OR_UNSET,
    (pods.Probe, "periodSeconds"): NOT_NEGATIVE_OR_UNSET,
    (pods.Probe, "successThreshold"): NOT_NEGATIVE_OR_UNSET,
    (pods.Probe, "failureThreshold"): NOT_NEGATIVE_OR_UNSET,
    (pods.Capabilities, "add"): _one_of(*GRANTABLE, later=REFUSED, why="it affects the whole machine, not only the pod"),
    (pods.Capabilities, "drop"): _text(syntax.CAPABILITY),
    (pods.SecurityContext, "runAsUser"): IDENTITY,
    (pods.SecurityContext, "runAsGroup"): IDENTITY,
    (pods.PodSecurityContext, "runAsUser"): IDENTITY,
    (pods.PodSecurityContext, "runAsGroup"): IDENTITY,
    (pods.Container, "name"): _must(_text(syntax.DNS_LABEL)),
    (pods.Container, "image"): _must(_text(syntax.IMAGE)),
    (pods.Container, "command"): _text(syntax.PROCESS_TEXT),
    (pods.Container, "args"): _text(syntax.PROCESS_TEXT),
    (pods.Container, "workingDir"): _text(syntax.PROCESS_TEXT),
    (pods.ResourceRequirements, "limits"): QUANTITIES,
    (pods.ResourceRequirements, "requests"): QUANTITIES,
    (pods.ResourceFieldSelector, "resource"): _must(ANY),
    (pods.ResourceFieldSelector, "divisor"): _text(syntax.QUANTITY),
    (pods.Container, "imagePullPolicy"): _one_of("Always", "IfNotPresent", "Never"),
    (pods.PodDNSConfig, "nameservers"): _text(syntax.ADDRESS),
    (pods.PodDNSConfig, "searches"): _text(syntax.SEARCH_DOMAIN),
    (pods.PodDNSConfigOption, "name"): _must(ANY),
    (pods.HostAlias, "ip"): _must(_text(syntax.ADDRESS)),
    (pods.HostAlias, "hostnames"): _text(syntax.DNS_SUBDOMAIN),
    (pods.PodSpec, "containers"): _must(ANY),
    (pods.PodSpec, "nodeName"): _text(syntax.DNS_SUBDOMAIN),
    (pods.PodSpec, "nodeSelector"): LABELS,
    (pods.PodSpec, "hostname"): _text(syntax.DNS_LABEL),
    (pods.PodSpec, "subdomain"): _text(syntax.DNS_LABEL),
    (pods.PodSpec, "dnsPolicy"): _one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    (pods.PodSpec, "restartPolicy"): _one_of("Always", "OnFailure", "Never"),
    (pods.PodSpec, "terminationGracePeriodSeconds"): NOT_NEGATIVE,
    (pods.PodSpec, "serviceAccountName"): _text(syntax.DNS_SUBDOMAIN),
    (pods.PodStatus, "phase"): _one_of("Pending", "Running", "Succeeded", "Failed", "Unknown"),
    (pods.PodStatus, "hostIP"): ADDRESS,
    (pods.PodStatus, "podIP"): ADDRESS,
    (pods.PodStatus, "startTime"): TIME,
    (pods.PodStatus, "qosClass"): _one_of("Guaranteed", "Burstable", "BestEffort"),
    (pods.PodIP, "ip"): _must(ADDRESS),
    (pods.ContainerStatus, "name"): _must(_text(syntax.DNS_LABEL)),
    (pods.ContainerStatus, "restartCount"): NOT_NEGATIVE,
    (pods.PodTemplateMeta, "creationTimestamp"): TIME,
    (pods.PodTemplateMeta, "labels"): LABELS,
    (pods.PodTemplateMeta, "annotations"): ANNOTATIONS,
    (pods.Pod, "spec"): _must(ANY),
    # ---- Deployment, ReplicaSet, DaemonSet
    (apps.Deployment, "spec"): _must(ANY),
    (apps.ReplicaSet, "spec"): _must(ANY),
    (apps.DaemonSet, "spec"): _must(ANY),
    (apps.DeploymentSpec, "template"): _must(ANY),
    (apps.ReplicaSetSpec, "template"): _must(ANY),
    (apps.DaemonSetSpec, "template"): _must(ANY),
    (pods.PodTemplateSpec, "spec"): _must(ANY),
    (apps.DeploymentSpec, "replicas"): NOT_NEGATIVE,
    (apps.ReplicaSetSpec, "replicas"): NOT_NEGATIVE,
    # ---- Service (semantics 4)
    (services.ServicePort, "port"): _must(PORT),
    (services.ServicePort, "name"): _text(syntax.DNS_LABEL),
    (services.ServicePort, "protocol"): PROTOCOL,
    (services.ServicePort, "targetPort"): PORT_OR_NAME,
    (services.ServicePort, "nodePort"): PORT_OR_UNSET,
    (services.ServicePort, "appProtocol"): _text(syntax.QUALIFIED_NAME),
    (services.ClientIPConfig, "timeoutSeconds"): Rule(low=1, high=86400),
    (services.ServiceSpec, "type"): _one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    (services.ServiceSpec, "selector"): LABELS,
    (services.ServiceSpec, "externalIPs"): _text(syntax.ENDPOINT_ADDRESS),
    (services.ServiceSpec, "externalName"): _text(syntax.HOST_NAME),
    (services.ServiceSpec, "externalTrafficPolicy"): POLICY,
    (services.ServiceSpec, "internalTrafficPolicy"): POLICY,
    (services.ServiceSpec, "sessionAffinity"): _one_of("ClientIP", "None"),
    (services.ServiceSpec, "healthCheckNodePort"): PORT_OR_UNSET,
    (services.ServiceSpec, "loadBalancerIP"): _text(syntax.ADDRESS),
    (services.ServiceSpec, "loadBalancerClass"): _text(syntax.QUALIFIED_NAME),
    (services.ServiceSpec, "loadBalancerSourceRanges"): _text(syntax.PADDED_NETWORK),
    (services.ServiceSpec, "ipFamilies"): _one_of("IPv4", later=("IPv6",), why="the networks of a lab are IPv4"),
    (services.ServiceSpec, "ipFamilyPolicy"): _one_of(
        "SingleStack",
        "PreferDualStack",
        later=("RequireDualStack",),
        why="this cluster is not configured for dual-stack services",
    ),
    (services.ServiceSpec, "trafficDistribution"): _one_of("PreferClose", "PreferSameZone", "PreferSameNode"),
    (services.LoadBalancerIngress, "ip"): ADDRESS,
    (services.LoadBalancerIngress, "hostname"): _text(syntax.DNS_SUBDOMAIN),
    (services.LoadBalancerIngress, "ipMode"): _one_of("VIP", "Proxy"),
    (services.PortStatus, "port"): _must(PORT),
    (services.PortStatus, "protocol"): _must(PROTOCOL),
    # ---- Endpoints, EndpointSlice (semantics 5)
    (services.EndpointAddress, "ip"): _must(_text(syntax.ENDPOINT_ADDRESS)),
    (services.EndpointAddress, "hostname"): _text(syntax.DNS_LABEL),
    (services.EndpointAddress, "nodeName"): _text(syntax.DNS_SUBDOMAIN),
    (services.EndpointsPort, "port"): _must(PORT),
    (services.EndpointsPort, "name"): _text(syntax.DNS_LABEL),
    (services.EndpointsPort, "protocol"): PROTOCOL,
    (services.EndpointsPort, "appProtocol"): _text(syntax.QUALIFIED_NAME),
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
            yield required(steps, rule.least)
        for index, item in enumerate(value):
            yield from _scalar_problems(rule, item, (*steps, index))
    else:
        yield from _scalar_problems(rule, value, steps)


def _map_problems(rule: Rule, value: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    for key, text in value.items():
        if rule.keys and (fault := rule.keys.fault(key)):
            yield replace(invalid((*steps, key), key, fault), at_key=True)
        if rule.keys and rule.syntax and isinstance(text, str) and (fault := rule.syntax.fault(text)):
            yield _faulty(rule.syntax, (*steps, key), text, fault)


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
        yield _faulty(rule.syntax, steps, value, fault)


def _faulty(kind: Syntax, steps: Steps, value: str, fault: str) -> Problem:
    problem = invalid(steps, value, fault)
    return replace(problem, reason=TYPE_INVALID) if kind.is_type else problem


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
