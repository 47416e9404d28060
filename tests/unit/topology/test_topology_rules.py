"""Rules for one object: what Kubernetes refuses, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from netlab.api.lab import Networking
from netlab.api.resources import BY_KIND
from netlab.topology import problems_of

NETWORKING = Networking()
HEADS = {
    "Service": "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: %s}",
    "Pod": "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: %s}",
    "Container": "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [%s]}}",
    "Deployment": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: %s}",
    "Endpoints": "{apiVersion: v1, kind: Endpoints, metadata: {name: x}, subsets: %s}",
    "EndpointSlice": "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: x}, %s}",
    "Lab": "{apiVersion: netlab/v1alpha1, kind: Lab, metadata: {name: x}, spec: %s}",
    "Cost": (
        "{apiVersion: v1, kind: Pod, metadata: {name: x, annotations: {controller.kubernetes.io/pod-deletion-cost: %s}}, "
        "spec: {containers: [{name: c, image: i}]}}"
    ),
    "Metadata": "{apiVersion: v1, kind: ConfigMap, metadata: %s}",
    "ConfigMap": "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, %s}",
    "Secret": "{apiVersion: v1, kind: Secret, metadata: {name: x}, %s}",
}
TEMPLATE = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: nginx}]}}"


FROM_RESOURCE = "env: [{name: A, valueFrom: {resourceFieldRef: %s}}]"


def problems(head: str, text: str) -> list[str]:
    body: dict[str, Any] = yaml.safe_load(HEADS[head] % text)
    resource = BY_KIND[body["apiVersion"], body["kind"]]
    return [f"{p.path}: {p.message}" for p in problems_of(resource, body, NETWORKING)]


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("Service", "{ports: [{port: 80}]}"),
        ("Service", "{type: NodePort, ports: [{port: 80, nodePort: 30000}]}"),
        (
            "Service",
            "{type: NodePort, ports: [{name: a, port: 7, nodePort: 30007}, {name: b, port: 7, protocol: UDP, nodePort: 30007}]}",
        ),
        ("Service", "{type: ExternalName, externalName: db.example.com.}"),
        ("Service", "{clusterIP: None}"),
        (  # init containers run one after the other, and another protocol is another port
            "Pod",
            (
                "{hostNetwork: true, initContainers: [{name: i, image: i, ports: [{containerPort: 80}]}, "
                "{name: j, image: i, ports: [{containerPort: 80}]}], containers: [{name: c, image: i, "
                "ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}, {containerPort: 80, hostIP: 172.30.1.1}]}]}"
            ),
        ),
        ("Service", "{clusterIP: None, ports: [{port: 80, targetPort: 8080}]}"),
        (
            "Service",
            "{clusterIP: 10.96.3.4, clusterIPs: [10.96.3.4], ipFamilies: [IPv4], ports: [{port: 1}]}",
        ),
        ("Service", "{ports: [{port: 80}], externalIPs: [203.0.113.9], externalTrafficPolicy: Local}"),
        (
            "Service",
            "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}, ports: [{port: 80}]}",
        ),
        (
            "Service",
            (
                "{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30500, "
                "loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 80}]}"
            ),
        ),
        ("Container", "{name: c, image: nginx, ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53}]}"),
        (
            "Container",
            "{name: c, image: i, resources: {limits: {cpu: 0.5, memory: 4294967296, a/b: 1Ki}, requests: {cpu: 100m}}}",
        ),
        ("Container", f"{{name: c, image: i, {FROM_RESOURCE % '{resource: limits.cpu, divisor: 1m}'}}}"),
        ("Cost", "'-5'"),
        (
            "Container",
            "{name: c, image: i, env: [{name: A.b-c, value: ''}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}",
        ),
        ("Container", "{name: c, image: i, env: [{name: L, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}]}"),
        (
            "Pod",
            "{dnsPolicy: None, dnsConfig: {nameservers: [1.1.1.1], searches: [a., _x.y, .]}, containers: [{name: c, image: i}]}",
        ),
        ("Deployment", f"{{replicas: 0, selector: {{matchLabels: {{a: b}}}}, {TEMPLATE}}}"),
        (
            "Deployment",
            (
                "{selector: {matchExpressions: [{key: a, operator: In, values: [b]}, "
                f"{{key: z, operator: NotIn, values: [q]}}]}}, {TEMPLATE}}}"
            ),
        ),
        ("Endpoints", "[{addresses: [{ip: 172.30.1.1}], ports: [{port: 80}]}, {notReadyAddresses: [{ip: 10.244.1.2}]}]"),
        ("EndpointSlice", "addressType: IPv4, endpoints: [{addresses: [10.244.1.2]}], ports: [{port: 80}, {name: a, port: 81}]"),
        (
            "Lab",
            "{nodes: [{name: node1, labels: {kubernetes.io/os: a}}], clients: [{name: c, hostnames: [db.example.com]}]}",
        ),
        ("Metadata", "{name: a.b, labels: {a: '', b/c: d}, annotations: {x.y/z: any text at all}, creationTimestamp: null}"),
        ("Metadata", "{generateName: x-}"),
        ("ConfigMap", "data: {a.b: '', C_d: text}"),
        ("Secret", "data: {a: YQ==}, stringData: {b: text}"),
    ],
)
def test_valid_objects(head: str, text: str) -> None:
    """What works on a cluster is accepted."""
    assert problems(head, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "spec.ports: Required value"),
        ("{ports: [{}]}", "spec.ports[0].port: Required value"),
        ("{ports: [{port: 0}]}", "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ("{ports: [{port: 80}, {name: b, port: 81}]}", "spec.ports[0].name: Required value: a Service with more"),
        ("{ports: [{name: a, port: 80}, {name: a, port: 81}]}", 'spec.ports[1].name: Duplicate value: "a"'),
        ("{ports: [{name: a, port: 80}, {name: b, port: 80}]}", 'spec.ports[1].port: Duplicate value: "80/TCP"'),
        ("{ports: [{name: A_b, port: 80}]}", 'spec.ports[0].name: Invalid value: "A_b": a lowercase RFC 1123 label'),
        (
            "{ports: [{port: 80, protocol: tcp}]}",
            'spec.ports[0].protocol: Unsupported value: "tcp": supported values: "TCP", "UDP" (did',
        ),
        (
            "{ports: [{port: 80, protocol: SCTP}]}",
            'spec.ports[0].protocol: Unsupported value: "SCTP": netlab does not support SCTP',
        ),
        ("{ports: [{port: 80, targetPort: 70000}]}", "spec.ports[0].targetPort: Invalid value: 70000: must be between"),
        ("{ports: [{port: 80, targetPort: 'a-very-long-port-name'}]}", "must be no more than 15 characters"),
        ("{ports: [{port: 80, targetPort: '8080'}]}", "must contain at least one letter"),
        (
            "{ports: [{port: 80, nodePort: 30001}]}",
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            "{type: NodePort, ports: [{port: 80, nodePort: 29999}]}",
            "Invalid value: 29999: provided port is not in the valid range",
        ),
        (
            "{type: NodePort, ports: [{name: a, port: 80, nodePort: 30001}, {name: b, port: 81, nodePort: 30001}]}",
            "spec.ports[1].nodePort: Duplicate value: 30001",
        ),
        ("{type: NodePort, clusterIP: None, ports: [{port: 80}]}", "may not be set to 'None' for NodePort services"),
        ("{type: LoadBalancer, ports: [{port: 10250}]}", "spec.ports[0].port: Invalid value: 10250: may not expose"),
        ("{type: ExternalName}", "spec.externalName: Required value"),
        (
            "{type: ExternalName, externalName: a_b.c}",
            'spec.externalName: Invalid value: "a_b.c": a lowercase RFC 1123 subdomain',
        ),
        ("{type: ExternalName, externalName: a.b, clusterIP: 10.96.0.5}", "spec.clusterIP: Forbidden"),
        ("{type: Foo, ports: [{port: 80}]}", 'spec.type: Unsupported value: "Foo"'),
        (
            "{clusterIP: 10.97.0.1, ports: [{port: 80}]}",
            'spec.clusterIP: Invalid value: "10.97.0.1": the provided IP is not in the valid range',
        ),
        ("{clusterIP: 10.96.0.0, ports: [{port: 80}]}", "spec.clusterIP: Invalid value"),
        ("{clusterIP: ten, ports: [{port: 80}]}", 'spec.clusterIP: Invalid value: "ten": must be a valid IP address'),
        ("{clusterIP: 'fd00::1', ports: [{port: 80}]}", "the networks of a lab are IPv4"),
        ("{clusterIP: 10.96.0.5, clusterIPs: [10.96.0.6], ports: [{port: 80}]}", "first value must match `clusterIP`"),
        ("{sessionAffinity: Client, ports: [{port: 80}]}", 'spec.sessionAffinity: Unsupported value: "Client"'),
        (
            "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}, ports: [{port: 80}]}",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be between 1 and 86400",
        ),
        ("{sessionAffinityConfig: {clientIP: {}}, ports: [{port: 80}]}", "must not be set when session affinity is None"),
        ("{externalTrafficPolicy: Local, ports: [{port: 80}]}", "may only be set for externally-accessible services"),
        ("{internalTrafficPolicy: Node, ports: [{port: 80}]}", 'Unsupported value: "Node": supported values: "Cluster", "Local"'),
        (
            "{type: LoadBalancer, healthCheckNodePort: 30500, ports: [{port: 80}]}",
            "spec.healthCheckNodePort: Invalid value: 30500",
        ),
        ("{loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 80}]}", "spec.loadBalancerSourceRanges: Forbidden"),
        ("{type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1], ports: [{port: 80}]}", "must be a valid CIDR value"),
        ("{externalIPs: [127.0.0.1], ports: [{port: 80}]}", "may not be in the loopback range"),
        ("{externalIPs: [10.96.0.77], ports: [{port: 80}]}", "an external IP must not be in the Service network"),
        ("{ipFamilies: [IPv6], ports: [{port: 80}]}", "the networks of a lab are IPv4"),
        ("{selector: {'-a': b}, ports: [{port: 80}]}", "spec.selector.-a: Invalid value"),
        ("{selector: {a: 'b c'}, ports: [{port: 80}]}", 'spec.selector.a: Invalid value: "b c": a valid label must be'),
    ],
)
def test_services(text: str, expected: str) -> None:
    """Semantics 4: a Service that a cluster refuses is refused in the same words."""
    found = problems("Service", text)

    assert [line for line in found if expected.replace("spec.selector.-a", "spec.selector[-a]") in line] == found[:1]


@pytest.mark.parametrize(
    ("head", "text", "expected"),
    [
        ("Pod", "{}", "spec.containers: Required value"),
        ("Pod", "{containers: []}", "spec.containers: Required value"),
        ("Container", "{image: nginx}", "spec.containers[0].name: Required value"),
        (
            "Container",
            "{name: c, image: i, resources: {limits: 5}}",
            "resources.limits: expected a map of names to values, got the",
        ),
        ("Container", "{name: c, image: i, resources: {limits: {cpu: much}}}", "resources.limits.cpu: Invalid value"),
        ("Container", "{name: c, image: i, resources: {requests: {cpu: -1}}}", "must be greater than or equal to 0"),
        ("Container", f"{{name: c, image: i, {FROM_RESOURCE % 'cpu'}}}", "resourceFieldRef: expected a map of fields, got text"),
        (
            "Container",
            f"{{name: c, image: i, {FROM_RESOURCE % '{resource: cpu}'}}}",
            'Unsupported value: "cpu": supported values',
        ),
        ("Container", f"{{name: c, image: i, {FROM_RESOURCE % '{resource: limits.gpu}'}}}", "Unsupported value"),
        (
            "Container",
            'name: c, image: i, readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: "A\\r\\nB"}]}}'.join("{}"),
            "httpHeaders[0].name: Invalid value",
        ),
        (
            "Container",
            'name: c, image: i, readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: A, value: "a\\r\\nB: c"}]}}'.join("{}"),
            "httpHeaders[0].value: Invalid value",
        ),
        (
            "Container",
            'name: c, image: i, readinessProbe: {httpGet: {port: 80, path: "/ HTTP/1.1\\r\\nA: b"}}'.join("{}"),
            "httpGet.path: Invalid value",
        ),
        (
            "Pod",
            "{serviceAccountName: {a: b}, containers: [{name: c, image: i}]}",
            "serviceAccountName: expected text, got a map",
        ),
        ("Cost", "'2147483648'", "must be a 32bit integer"),
        ("Cost", "'01'", "must be a 32bit integer"),
        (
            "Metadata",
            "{name: x, ownerReferences: [{apiVersion: v1, kind: Pod, name: y}]}",
            "ownerReferences[0].uid: Required value",
        ),
        ("Metadata", '{name: x, finalizers: ["a\\nb"]}', "finalizers[0]: Invalid value"),
        ("Metadata", "{name: x, creationTimestamp: yesterday}", "must be a time of RFC 3339"),
        ("Container", "{name: c}", "spec.containers[0].image: Required value"),
        ("Container", "{name: c, image: ' nginx'}", "must not have leading or trailing whitespace"),
        ("Container", "{name: c, image: i}, {name: c, image: i}", 'spec.containers[1].name: Duplicate value: "c"'),
        (
            "Container",
            "{name: c, image: i, securityContext: {capabilities: {add: [NET_ADMIN], drop: [ALL, CAP_NET_RAW]}}}",
            (
                'spec.containers[0].securityContext.capabilities.drop[1]: Invalid value: "CAP_NET_RAW": '
                "must be a capability without `CAP_`, like NET_ADMIN, or ALL"
            ),
        ),
        (  # finding M9
            "Container",
            "{name: c, image: i, securityContext: {capabilities: {add: [NET_ADMIN, ALL]}}}",
            'capabilities.add[1]: Unsupported value: "ALL": it affects the whole machine, not only the pod; ',
        ),
        (  # finding M9
            "Container",
            "{name: c, image: i, securityContext: {capabilities: {add: [NET_ADMIN, SYS_ADMIN]}}}",
            'capabilities.add[1]: Unsupported value: "SYS_ADMIN": it affects the whole machine, not only the pod; ',
        ),
        (  # finding M9
            "Container",
            "{name: c, image: i, securityContext: {capabilities: {add: [NET_ADMIN, SYS_MODULE]}}}",
            'capabilities.add[1]: Unsupported value: "SYS_MODULE": it affects the whole machine, not only the pod; ',
        ),
        (  # finding M9
            "Container",
            "{name: c, image: i, securityContext: {capabilities: {add: [NET_ADMIN, DAC_READ_SEARCH]}}}",
            'capabilities.add[1]: Unsupported value: "DAC_READ_SEARCH": it affects the whole machine, not only the pod; ',
        ),
        (
            "Container",
            "{name: c, image: i, securityContext: {capabilities: {add: [CAP_NET_ADMIN]}}}",
            '(did you mean "NET_ADMIN"?)',
        ),
        ("Container", "{name: c, image: i, ports: [{name: http}]}", "spec.containers[0].ports[0].containerPort: Required value"),
        (
            "Container",
            "{name: c, image: i, ports: [{name: p, containerPort: 1}, {name: p, containerPort: 2}]}",
            "ports[1].name: Duplicate",
        ),
        (
            "Container",
            "{name: c, image: i, ports: [{containerPort: 1, hostPort: 5}, {containerPort: 2, hostPort: 5}]}",
            '"5/TCP"',
        ),
        (  # finding M6: the ports of a pod with hostNetwork are the node's, as Kubernetes' defaults make them
            "Pod",
            "{hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 80}, {containerPort: 80}]}]}",
            'spec.containers[0].ports[1].containerPort: Duplicate value: "80/TCP"',
        ),
        (
            "Pod",
            (
                "{hostNetwork: true, containers: [{name: a, image: i, ports: [{containerPort: 80}]}, "
                "{name: b, image: i, ports: [{containerPort: 80, hostPort: 80}]}]}"
            ),
            'spec.containers[1].ports[0].hostPort: Duplicate value: "80/TCP"',
        ),
        (
            "Pod",
            (
                "{containers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 5}]}, "
                "{name: b, image: i, ports: [{containerPort: 2, hostPort: 5}]}]}"
            ),
            'spec.containers[1].ports[0].hostPort: Duplicate value: "5/TCP"',
        ),
        ("Container", "{name: c, image: i, env: [{name: 'a=b'}]}", "env[0].name: Invalid value"),
        ("Container", "{name: c, image: i, env: [{value: x}]}", "env[0].name: Required value"),
        (
            "Container",
            "{name: c, image: i, env: [{name: a, valueFrom: {}}]}",
            "env[0].valueFrom: Required value: must specify one of",
        ),
        (
            "Container",
            "{name: c, image: i, env: [{name: a, value: x, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}",
            "may not be specified when `value` is not empty",
        ),
        (
            "Container",
            "{name: c, image: i, env: [{name: a, valueFrom: {fieldRef: {fieldPath: status.podIp}}}]}",
            '(did you mean "status.podIP"?)',
        ),
        ("Container", "{name: c, image: i, envFrom: [{prefix: A_}]}", "envFrom[0]: Required value"),
        ("Container", "{name: c, image: i, readinessProbe: {}}", "readinessProbe: Required value: must specify a handler type"),
        (
            "Container",
            "{name: c, image: i, readinessProbe: {tcpSocket: {port: 1}, httpGet: {port: 1}}}",
            "may not specify more than 1",
        ),
        ("Container", "{name: c, image: i, readinessProbe: {httpGet: {port: 1, scheme: http}}}", '(did you mean "HTTP"?)'),
        ("Container", "{name: c, image: i, readinessProbe: {httpGet: {path: /}}}", "readinessProbe.httpGet.port: Required value"),
        (
            "Container",
            "{name: c, image: i, readinessProbe: {grpc: {port: 1}}}",
            "readinessProbe.grpc: Forbidden: not supported yet",
        ),
        (
            "Container",
            "{name: c, image: i, readinessProbe: {exec: {command: []}}}",
            "readinessProbe.exec.command: Required value",
        ),
        (
            "Container",
            "{name: c, image: i, readinessProbe: {httpGet: {port: 1}, periodSeconds: -1}}",
            "greater than or equal to 0",
        ),
        ("Container", "{name: c, image: i, imagePullPolicy: always}", '(did you mean "Always"?)'),
        ("Container", '{name: c, image: i, args: ["a\\0b"]}', "args[0]: Invalid value"),
        (
            "Pod",
            "{hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 2}]}]}",
            "must match `containerPort`",
        ),
        ("Pod", "{dnsPolicy: clusterfirst, containers: [{name: c, image: i}]}", '(did you mean "ClusterFirst"?)'),
        ("Pod", "{dnsPolicy: None, containers: [{name: c, image: i}]}", "spec.dnsConfig.nameservers: Required value"),
        (
            "Pod",
            "{dnsConfig: {nameservers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]}, containers: [{name: c, image: i}]}",
            "must not have more than 3 nameservers",
        ),
        ("Pod", "{dnsConfig: {nameservers: [dns]}, containers: [{name: c, image: i}]}", "must be a valid IP address"),
        ("Pod", "{dnsConfig: {searches: [a/b]}, containers: [{name: c, image: i}]}", "spec.dnsConfig.searches[0]: Invalid value"),
        ("Pod", "{hostname: a.b, containers: [{name: c, image: i}]}", "spec.hostname: Invalid value"),
        ("Pod", "{subdomain: A, containers: [{name: c, image: i}]}", "spec.subdomain: Invalid value"),
        ("Pod", "{restartPolicy: never, containers: [{name: c, image: i}]}", '(did you mean "Never"?)'),
        ("Deployment", "{selector: {matchLabels: {a: b}}}", "spec.template: Required value"),
        ("Deployment", f"{{{TEMPLATE}}}", "spec.selector: Required value"),
        ("Deployment", f"{{selector: {{matchLabels: {{a: c}}}}, {TEMPLATE}}}", "`selector` does not match template `labels`"),
        ("Deployment", f"{{replicas: -1, selector: {{matchLabels: {{a: b}}}}, {TEMPLATE}}}", "must be greater than or equal"),
        (
            "Deployment",
            f"{{selector: {{matchLabels: {{a: b}}, matchExpressions: [{{key: a, operator: In}}]}}, {TEMPLATE}}}",
            "values: Required",
        ),
        (
            "Deployment",
            f"{{selector: {{matchLabels: {{a: b}}, matchExpressions: [{{key: a, operator: in, values: [b]}}]}}, {TEMPLATE}}}",
            '(did you mean "In"?)',
        ),
        ("Endpoints", "[{ports: [{port: 80}]}]", "subsets[0]: Required value: must specify `addresses`"),
        (
            "Endpoints",
            "[{addresses: [{ip: 127.0.0.1}]}]",
            'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loop',
        ),
        ("Endpoints", "[{addresses: [{ip: 169.254.1.1}]}]", "link-local range"),
        ("Endpoints", "[{addresses: [{ip: 224.0.0.5}]}]", "link-local multicast"),
        ("Endpoints", "[{addresses: [{ip: 10.96.0.5}]}]", "is an address of a Service"),
        (
            "Endpoints",
            "[{addresses: [{ip: 10.244.1.2}], ports: [{port: 1}, {name: b, port: 2}]}]",
            "ports[0].name: Required value",
        ),
        ("EndpointSlice", "addressType: IPv6, endpoints: []", 'addressType: Unsupported value: "IPv6"'),
        ("EndpointSlice", "endpoints: [{addresses: []}]", "endpoints[0].addresses: Required value"),
        ("EndpointSlice", "endpoints: [{addresses: [a]}]", "endpoints[0].addresses[0]: Invalid value"),
        ("EndpointSlice", "ports: [{port: 80}, {port: 81}]", 'ports[1].name: Duplicate value: ""'),
        ("Metadata", "{}", "metadata.name: Required value: name or generateName is required"),
        ("Metadata", "{name: A}", "metadata.name: Invalid value"),
        ("Metadata", "{name: x, labels: {a//b: c}}", 'metadata.labels[a//b]: Invalid value: "a//b": prefix part'),
        ("Metadata", "{name: x, labels: {a: 'b c'}}", "metadata.labels.a: Invalid value"),
        ("Metadata", "{name: x, annotations: {'a b': c}}", "metadata.annotations[a b]: Invalid value"),
        ("ConfigMap", "data: {a/b: c}", "data[a/b]: Invalid value"),
        (
            "Secret",
            "data: {a: plain text!}",
            'data.a: Invalid value: "<hidden>": must be base64; write plain text into stringData',
        ),
    ],
)
def test_pods_workloads_and_endpoints(head: str, text: str, expected: str) -> None:
    """Each fault is found once, at its field."""
    found = problems(head, text)

    assert [expected in line for line in found] == [True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{nodes: []}", "spec.nodes: Required value: a lab needs at least one node"),
        ("{clients: []}", "spec.nodes: Required value: a lab needs at least one node"),
        ("{nodes: [{}]}", "spec.nodes[0].name: Required value"),
        ("{nodes: [{name: a}, {name: a}]}", 'spec.nodes[1].name: Duplicate value: "a"'),
        ("{nodes: [{name: fabric}]}", "spec.nodes[0].name: Invalid value"),
        ("{nodes: [{name: a.b}]}", "spec.nodes[0].name: Invalid value"),
        ("{nodes: [{name: a}], clients: [{name: a}]}", "spec.clients[0].name: Duplicate value"),
        ("{nodes: [{name: a}], clients: [{name: c, hostnames: [a]}]}", "spec.clients[0].hostnames[0]: Duplicate value"),
        ("{nodes: [{name: a}], clients: [{name: c, hostnames: [x.cluster.local]}]}", "is in the cluster's DNS domain"),
        (
            "{nodes: [{name: a}], runtime: podman}",
            'spec.runtime: Unsupported value: "podman": supported values: "netns", "docker"',
        ),
        *(
            (
                f"{{nodes: [{{name: a}}], networking: {{kubeProxyMode: {mode}}}}}",
                f'Unsupported value: "{mode}": not supported yet',
            )
            for mode in ("iptables", "ipvs", "userspace")
        ),
        *(
            (
                f"{{nodes: [{{name: a}}], networking: {{backend: {{type: {kind}}}}}}}",
                f'Unsupported value: "{kind}": not supported yet',
            )
            for kind in ("host-gw", "udp", "ipip", "wireguard", "ipsec", "alloc")
        ),
        ("{nodes: [{name: a}], networking: {podSubnet: 10.244.0.0/23}}", "is too small, at least a /22"),
        ("{nodes: [{name: a}], networking: {podSubnet: 10.244.1.0/16}}", "did you mean 10.244.0.0/16?"),
        (
            "{nodes: [{name: a}], networking: {podSubnet: 10.0.0.0/8}}",
            'spec.networking.serviceSubnet: Invalid value: "10.96.0.0/16": overlaps',
        ),
        ("{nodes: [{name: a}], networking: {serviceSubnet: 10.0.0.0/11}}", "is too large, at most a /12"),
        ("{nodes: [{name: a}], networking: {nodeSubnet: 224.0.0.0/16}}", "holds multicast addresses"),
        ("{nodes: [{name: a}], networking: {nodePortRange: 40000-30000}}", "the lower one first"),
        ("{nodes: [{name: a}], networking: {backend: {vni: 0}}}", "must be between 1 and 16777215"),
        ("{nodes: [{name: a}], loadBalancer: {pool: 203.0.113.128/25}}", "spec.loadBalancer.pool: Invalid value"),
        ("{nodes: [{name: a}], dns: {upstream: [b]}}", "spec.dns.upstream[0]: Invalid value"),
        ("{nodes: [{name: a}], dns: {upstream: [8.8.8.8]}}", "use a client or an address in outsideSubnet, pool"),
        ("{nodes: [{name: a}], dns: {upstream: [172.30.1.1]}}", "spec.dns.upstream[0]: Invalid value"),
        ("{nodes: [{name: a}], dns: {upstream: [10.244.1.2]}}", "spec.dns.upstream[0]: Invalid value"),
        ("{nodes: [{name: a}], dns: {upstream: [203.0.113.1, 203.0.113.2, 203.0.113.3, 203.0.113.4]}}", "at most 3 servers"),
        ("{nodes: [{name: a}], dns: {stubDomains: {corp.example: []}}}", "spec.dns.stubDomains[corp.example]: Required"),
        ("{nodes: [{name: a}], dns: {stubDomains: {corp.example: [10.96.0.10]}}}", "is the lab's kube-dns"),
        ("{nodes: [{name: a}], dns: {stubDomains: {corp.example: [node1]}}}", "is neither a client of the lab"),
        ("{nodes: [{name: a}], dns: {stubDomains: {a.cluster.local: [203.0.113.9]}}}", "is in the cluster's DNS domain"),
        ("{nodes: [{name: a}], dns: {stubDomains: {Corp: [203.0.113.9]}}}", "a lowercase RFC 1123 subdomain"),
        ("{nodes: [{name: a}], dns: {ttl: 3601}}", "spec.dns.ttl: Invalid value"),
        ("{nodes: [{name: a}], dns: {podRecords: some}}", 'Unsupported value: "some"'),
        ("{nodes: [{name: a}], loadBalancer: {provider: metallb}}", 'Unsupported value: "metallb"'),
        ("{nodes: [{name: a}, {name: b}, {name: c}, {name: d}], networking: {podSubnet: 10.244.0.0/22}}", "has room for 3 nodes"),
        (
            "{nodes: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}], networking: {nodeSubnet: 172.30.0.0/28}}",
            "has room for 4 nodes",
        ),
        ("{nodes: [{name: a}], manifests: ['']}", "spec.manifests[0]: Required value"),
    ],
)
def test_labs(text: str, expected: str) -> None:
    """Design 3: a lab's hosts have names of their own, its ranges are big enough and apart."""
    found = problems("Lab", text)

    assert [expected in line for line in found] == [True]
