"""From texts to a Topology: documents, rules between objects, hints, messages with their places."""

from __future__ import annotations

import pytest

from netlab.api.lab import Networking
from netlab.dataplane.names import EDGE, FABRIC
from netlab.errors import InvalidTopologyError
from netlab.topology import Source, Topology, load, manifest_paths, manifest_problem
from netlab.topology.rules.labs import RESERVED_HOSTS

LAB = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: x}\nspec:\n  nodes: 2\n  loadBalancer: {}\n"
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {ports: [{port: 80}], %s}}"
POD = "{apiVersion: v1, kind: Pod, metadata: {name: %s, labels: {app: a}}, spec: {%s}}"
NGINX = "containers: [{name: c, image: nginx}]"


def topology(*documents: str, lab: str = LAB) -> Topology:
    return load([Source("f.yaml", "\n---\n".join((lab.rstrip(), *documents)))])


def problems(*documents: str, lab: str = LAB) -> list[str]:
    with pytest.raises(InvalidTopologyError) as error:
        topology(*documents, lab=lab)
    return list(error.value.problems)


def service(name: str, spec: str = "") -> str:
    return SERVICE % (name, spec)


def pod(name: str, spec: str = NGINX) -> str:
    return POD % (name, spec)


def test_a_number_of_nodes_is_expanded() -> None:
    """`nodes: 3` means node1, node2, node3."""
    lab = topology(lab=LAB.replace("nodes: 2", "nodes: 3")).lab

    assert [node.name for node in lab.spec.nodes] == ["node1", "node2", "node3"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("0", "Required value: a lab needs at least one node"),
        ("-1", "Required value: a lab needs at least one node"),
        ("5000", "Invalid value: 5000: a lab has at most 1000 nodes"),
        ("'3'", 'expected a number or a list, got text "3"'),
        ("true", "expected a number or a list, got true"),
        ("{name: a}", "expected a number or a list, got a map"),
    ],
)
def test_nodes_that_are_neither_a_number_nor_a_list(nodes: str, expected: str) -> None:
    """`nodes` is told in words that name both ways to say it."""
    assert problems(lab=LAB.replace("nodes: 2", f"nodes: {nodes}")) == [f"f.yaml:5:10: spec.nodes: {expected}"]


def test_the_name_of_a_lab_has_one_limit() -> None:
    """A name that is longer than that of any DNS label is told the limit of labs, once."""
    (problem,) = problems(lab=LAB.replace("name: x", "name: " + "x" * 64))

    assert "must be no more than 40 characters" in problem


def test_manifests_are_as_written() -> None:
    """A manifest keeps what the user wrote, not more; its namespace is filled in, its status left out."""
    text = service("a", "type: null").removesuffix("}") + ", status: {loadBalancer: {}}}"
    (manifest,) = topology(text).manifests

    assert (manifest.resource.kind, manifest.source, manifest.line) == ("Service", "f.yaml", 8)
    assert manifest.body == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]},
    }


def test_a_list_counts_as_its_items() -> None:
    """`kubectl get -o yaml` prints kind List; faults are found inside it."""
    good = "{{apiVersion: v1, kind: List, items: [{}, {}]}}".format(service("a"), service("b"))
    bad = "{{apiVersion: v1, kind: List, items: [{}, {}]}}".format(service("a"), service("B"))

    assert [m.body["metadata"]["name"] for m in topology(good).manifests] == ["a", "b"]
    assert [line.split(": ")[1] for line in problems(bad)] == ["items[1].metadata.name"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("apiVersion: v1\nkind: List\nmetadata: {resourceVersion: '', selfLink: ''}\nitems: []", []),
        ("apiVersion: v1\nkind: List", []),
        ("apiVersion: v1\nkind: List\nfoo: bar\nitems: []", ["10:1: foo: unknown field"]),
        ("apiVersion: v1\nkind: List\nitem: []", ['10:1: item: unknown field (did you mean "items"?)']),
        ("apiVersion: v1\nkind: List\nmetadata: {x: 1}\nitems: []", ["10:12: metadata.x: unknown field"]),
        ("apiVersion: v1\nkind: List\nmetadata: 5\nitems: []", ["10:11: metadata: expected a map"]),
        (
            "apiVersion: foo/v9\nkind: List\nitems: []",
            ['8:13: apiVersion: Unsupported value: "foo/v9": the apiVersion of List is "v1"'],
        ),
        ("kind: List\nitems: []", ['8:1: apiVersion: Required value: the apiVersion of List is "v1"']),
        ("apiVersion: v1\nkind: List\nitems: {}", ["10:8: items: expected a list"]),
        ("apiVersion: 1\nkind: List\nfoo: 1\nitems: [5]", ["8:13: apiVersion", "10:1: foo", "11:9: items[0]: expected a map"]),
    ],
)
def test_a_list_is_looked_at_like_any_object(text: str, lines: list[str]) -> None:
    """Finding M4: no key of a list and no apiVersion of it is ignored (principle 3)."""
    if not lines:
        assert topology(text).manifests == ()
        return
    found = problems(text)

    assert len(found) == len(lines)
    assert all(line.startswith(f"f.yaml:{start}") for line, start in zip(found, lines, strict=True)), found


OF_EVERY_LAB = [
    "{apiVersion: v1, kind: Service, metadata: {name: kubernetes}, spec: {clusterIP: 10.43.0.1, ports: [{port: 443}]}}",
    "{apiVersion: v1, kind: Endpoints, metadata: {name: kubernetes}, subsets: [{addresses: [{ip: 10.0.0.9}]}]}",
    "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.43.0.10}}",
    """{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv6, metadata:
      {name: kube-dns-x, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}}""",
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: coredns, namespace: kube-system}, data: {Corefile: x}}",
]


@pytest.mark.parametrize("document", OF_EVERY_LAB)
def test_objects_that_every_lab_has_are_left_out(document: str) -> None:
    """`kubectl get -o yaml` always prints them, with the other cluster's addresses: one note each, whatever they hold."""
    found = topology(document)

    assert () == found.manifests
    (note,) = found.notes
    assert note.endswith("metadata.name: left out: netlab creates this object in every lab")


def test_what_a_server_filled_in_is_left_out() -> None:
    """A status of any shape, identities and owners of another cluster: the object is the one the user once wrote."""
    meta = "{name: a, uid: 1-2, resourceVersion: '7', creationTimestamp: null, generation: 3, managedFields: [{manager: x}],"
    meta += " ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: 9-9, controller: true}]}"
    status = "{hostIPs: [{ip: 10.0.0.1}], containerStatuses: 5, phase: [odd]}"
    found = topology(f"{{apiVersion: v1, kind: Pod, metadata: {meta}, spec: {{{NGINX}}}, status: {status}}}")

    assert {"name": "a", "namespace": "default"} == found.manifests[0].body["metadata"]
    assert "status" not in found.manifests[0].body
    assert ["metadata.ownerReferences: left out", "status: ignored"] == [
        n.split(": ", 1)[1].rpartition(":")[0] for n in found.notes
    ]


def test_problems_of_several_files_in_order() -> None:
    """All faults of all files at once, in the order of the files and of their lines."""
    sources = [
        Source("b.yaml", LAB + "---\n" + service("B") + "\n---\n" + service("C")),
        Source("a.yaml", "\n" + service("a", "foo: 1") + "\n---\n" + service("b", "type: Foo")),
    ]
    with pytest.raises(InvalidTopologyError) as error:
        load(sources)

    assert [line.split(": ")[0] for line in error.value.problems] == ["b.yaml:8:50", "b.yaml:10:50", "a.yaml:2:82", "a.yaml:4:88"]


def test_many_problems_fit_on_a_screen() -> None:
    """After twenty lines the message says how many more there are; `problems` has them all."""
    documents = [service(f"A{number}") for number in range(100)]
    with pytest.raises(InvalidTopologyError) as error:
        topology(*documents)
    lines = str(error.value).splitlines()

    assert (len(error.value.problems), len(lines)) == (100, 21)
    assert lines[-1] == "f.yaml:48:50: ... and 80 more problems from here on"


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([service("a"), service("a")], 'metadata.name: Duplicate value: "a": Service default/a is already defined at f.yaml:8'),
        ([service("a").replace("name: a", "generateName: a")], "metadata.generateName: Forbidden: set metadata.name"),
        ([service("a").replace("name: a", "name: a, namespace: team")], 'metadata.namespace: Not found: "team": declare it'),
        ([service("a").replace("name: a", "name: a, namespace: kube-sistem")], '(did you mean "kube-system"?)'),
        (
            [service("a", "type: NodePort").replace("port: 80", "port: 80, nodePort: 30001"),
             service("b", "type: NodePort").replace("port: 80", "port: 81, nodePort: 30001")],
            "Invalid value: 30001: provided port is already allocated to Service default/a in f.yaml:8",
        ),
        (
            [service("a", "type: NodePort").replace("port: 80", "port: 80, nodePort: 30001"),
             service("b", "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001")],
            "spec.healthCheckNodePort: Invalid value: 30001: provided port is already allocated",
        ),
        ([service("a", "clusterIP: 10.96.0.9"), service("b", "clusterIP: 10.96.0.9")], "already allocated to Service default/a"),
        ([service("a", "clusterIP: 10.96.0.10")], "already allocated to Service kube-system/kube-dns"),
        ([service("a", "type: NodePort").replace("port: 80", "port: 80, nodePort: 80")], "not in the valid range"),
        ([pod("p", f"nodeName: node9, {NGINX}")], 'spec.nodeName: Not found: "node9": the nodes are node1, node2 (did'),
        ([pod("p", "containers: [{name: c, image: ngnix}]")], '(did you mean "nginx"?)'),
        (
            [pod("p", "containers: [{name: c, image: nginx, readinessProbe: {httpGet: {port: http}}}]")],
            'spec.containers[0].readinessProbe.httpGet.port: Not found: "http"',
        ),
        (
            [pod("p", "containers: [{name: c, image: nginx, envFrom: [{configMapRef: {name: settings}}]}]")],
            "there is no ConfigMap of this name in namespace default",
        ),
        (
            ["{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {key: v}}",
             pod("p", "containers: [{name: c, image: nginx, "
                 "env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: keys}}}]}]")],
            'configMapKeyRef.key: Not found: "keys": ConfigMap m has no such key (did you mean "key"?)',
        ),
        (
            [pod(name, "nodeName: node1, hostNetwork: true, containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]")
             for name in ("p", "q")],
            "TCP port 80 of node1 is taken by Pod default/p",
        ),
        (
            [pod("p", "nodeName: node1, containers: [{name: c, image: nginx, "
                 "ports: [{containerPort: 5, hostPort: 8472, protocol: UDP}]}]")],
            "UDP port 8472 of node1 is taken by the overlay network",
        ),
        (
            [("{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replicas: 507, "
             "selector: {matchLabels: {a: b}}, "
             "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: nginx}]}}}}")],
            "spec.replicas: Invalid value: 507: must be at most 506: 2 nodes have room for 253 pods each",
        ),
        (
            [("{apiVersion: apps/v1, kind: Deployment, metadata: {name: NAME}, spec: {replicas: 300, "
             "selector: {matchLabels: {a: NAME}}, "
             "template: {metadata: {labels: {a: NAME}}, spec: {containers: [{name: c, image: nginx}]}}}}").replace("NAME", n)
             for n in ("d", "e")],
            "requires 600 pods in the lab; 2 nodes have addresses for 506",
        ),
        (
            [("{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {replicas: 3000000, "
             "selector: {matchLabels: {a: b}}, "
             "template: {metadata: {labels: {a: b}}, spec: {hostNetwork: true, containers: [{name: c, image: nginx}]}}}}")],
            "spec.replicas: Invalid value: 3000000: must be at most 506",
        ),
    ],
)  # fmt: skip
def test_rules_between_objects(documents: list[str], expected: str) -> None:
    """Names that lead nowhere and numbers given twice are found before anything is created."""
    found = problems(*documents)

    assert [expected in line for line in found] == [True]


@pytest.mark.parametrize(
    "documents",
    [
        [
            "{apiVersion: v1, kind: Namespace, metadata: {name: team}}",
            service("a"),
            service("a").replace("name: a", "name: a, namespace: team"),
        ],
        [pod("p", "containers: [{name: c, image: busybox, command: [sleep, '60']}]")],
        [pod("p", "containers: [{name: c, image: nginx, envFrom: [{configMapRef: {name: nope, optional: true}}]}]")],
        [
            pod(name, f"nodeName: {node}, containers: [{{name: c, image: nginx, ports: [{{containerPort: 80, hostPort: 80}}]}}]")
            for name, node in (("p", "node1"), ("q", "node2"))
        ],
        ["{apiVersion: v1, kind: Namespace, metadata: {name: default}}"],
    ],
)
def test_valid_together(documents: list[str]) -> None:
    """What does not collide is left alone."""
    assert len(topology(*documents).manifests) == len(documents)


@pytest.mark.parametrize("field", ["podSubnet", "serviceSubnet", "nodeSubnet", "outsideSubnet"])
@pytest.mark.parametrize(
    "text",
    ["255.255.255.255/32", "0.0.0.0/0", "' 10.244.0.0/16'", "10.244.0.0/016", "10.244.0.0/-1", "10.244.0.0/33",
     "10.244.0.0/255.255.0.0", "1.2.3", "/", "/16", "'::/0'", "a/b/c", "10.244.0.0/16/16",
     "'10.2\u0664.0.0/16'", "'\u0661.1.1.1/8'"],
)  # fmt: skip
def test_strange_ranges(field: str, text: str) -> None:
    """No range, however written, ends in anything but a sentence at its field."""
    lab = LAB + f"  networking: {{{field}: {text}}}\n"
    found = problems(service("a", "clusterIP: 10.96.0.9"), lab=lab)

    assert [f"spec.networking.{field}" in line for line in found] == [True]


def test_empty_text_means_the_default() -> None:
    """Kubernetes reads an empty text as a field that is not set."""
    lab = topology(lab=LAB + "  runtime: ''\n  networking: {podSubnet: '', kubeProxyMode: ''}\n").lab

    assert (lab.spec.runtime, lab.spec.networking) == ("netns", Networking())


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (
            "resources: {limits: 5}",
            "f.yaml:8:132: spec.containers[0].resources.limits: expected a map of names to values, got the",
        ),
        ("env: [{name: A, valueFrom: {resourceFieldRef: cpu}}]", "resourceFieldRef: expected a map of fields, got text"),
        ('readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: A, value: "a\\r\\nB: c"}]}}', "must not contain control"),
    ],
)
def test_what_stopped_the_daemon_is_refused_with_its_place(container: str, expected: str) -> None:
    """Fields without effect on the network have types where some part reads them (finding B2)."""
    found = problems(pod("p", f"containers: [{{name: c, image: nginx, {container}}}]"))

    assert [expected in line for line in found] == [True]


def test_reserved_hosts() -> None:
    """The names of the lab's own hosts are those of the naming scheme."""
    assert {EDGE, FABRIC} < RESERVED_HOSTS.keys()


def test_a_host_may_not_look_like_a_pod() -> None:
    """The host `default-p` and the pod `p` in `default` would have the same network namespace."""
    lab = LAB.replace("nodes: 2", "nodes: [{name: default-p}]")

    assert problems(lab=lab) == [
        'f.yaml:5:18: spec.nodes[0].name: Forbidden: must not begin with "default-": the names of pods in namespace default do'
    ]


@pytest.mark.parametrize(
    ("documents", "lab", "expected"),
    [
        (
            [pod("p", "containers: [{name: c, image: nginx, resources: {limits: {cpu: 1}}}]")],
            LAB,
            "f.yaml:8:123: spec.containers[0].resources: accepted, has no effect on the network",
        ),
        ([pod("p", f"nodeSelector: {{disk: ssd}}, {NGINX}")], LAB, "spec.nodeSelector: matches no node of the lab"),
        (
            [pod("p" * 34, f"subdomain: tier, setHostnameAsFQDN: true, {NGINX}")],
            LAB,
            f"spec.setHostnameAsFQDN: the full name {'p' * 34}.tier.default.svc.cluster.local has 65 characters, more than 64",
        ),
        ([service("a", "selector: {app: b}"), pod("p")], LAB, "spec.selector: selects no pod of namespace default"),
        ([service("a", "selector: {app: a}").replace("80", "80, targetPort: web"), pod("p")], LAB, 'has a TCP port named "web"'),
        ([service("a", "trafficDistribution: PreferClose")], LAB, "spec.trafficDistribution: accepted, has no effect yet"),
        (
            [service("a").replace("name: a", "name: a, annotations: {service.kubernetes.io/topology-mode: Auto}")],
            LAB,
            "metadata.annotations[service.kubernetes.io/topology-mode]: accepted, has no effect yet",
        ),
        (
            [pod("p", "containers: [{name: c, image: nginx, ports: [{containerPort: 80, hostPort: 80}]}]")],
            LAB,
            "hostPort: the scheduler places pods by it",
        ),
        ([service("a", "type: LoadBalancer")], LAB.replace("  loadBalancer: {}\n", ""), "will stay <pending>"),
        ([service("a", "type: LoadBalancer, loadBalancerClass: example.com/x")], LAB, "is the class of another load balancer"),
        ([service("a", "type: LoadBalancer, loadBalancerIP: 192.0.2.1")], LAB, "192.0.2.1 is not in spec.loadBalancer.pool"),
        ([service("a", "type: LoadBalancer, loadBalancerIP: 198.51.100.0")], LAB, "198.51.100.0 is not in"),
        (
            [service(name, "type: LoadBalancer, loadBalancerIP: 198.51.100.7") for name in "ba"],
            LAB,
            "spec.loadBalancerIP: 198.51.100.7 is also requested by Service default/a",
        ),
        (
            [service(name, "type: LoadBalancer") for name in "cab"],
            LAB.replace("{}", "{pool: 198.51.100.0/30}"),
            "f.yaml:8:88: spec.type: spec.loadBalancer.pool 198.51.100.0/30 has 2 addresses for 3 Services",
        ),
        (
            [service("c", "type: LoadBalancer, loadBalancerIP: 198.51.100.2"), *(service(n, "type: LoadBalancer") for n in "ab")],
            LAB.replace("{}", "{pool: 198.51.100.0/30}"),
            "f.yaml:12:88: spec.type: spec.loadBalancer.pool 198.51.100.0/30 has 2 addresses for 3 Services",
        ),
        (
            [service(name, "externalIPs: [192.0.2.7, 192.0.2.8]") for name in "b"]
            + [service("a", "externalIPs: [192.0.2.8]"), service("c", "externalIPs: [192.0.2.8]").replace("80", "81")],
            LAB,
            "spec.externalIPs[1]: port 80/TCP of 192.0.2.8 leads to Service default/a",
        ),
        (["{apiVersion: v1, kind: Endpoints, metadata: {name: e}}"], LAB, "there is no Service default/e"),
        (
            [pod("p", "containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}, "
                 "{name: d, image: nginx, ports: [{containerPort: 80}]}]")],
            LAB,
            "container c of the same pod also uses port 80/TCP",
        ),
    ],
)  # fmt: skip
def test_notes(documents: list[str], lab: str, expected: str) -> None:
    """What is valid and probably not meant gets a hint."""
    notes = topology(*documents, lab=lab).notes

    assert [expected in note for note in notes] == [True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f.yaml:1:1: the file contains no document; the first document of a topology is the Lab"),
        ("hello", "f.yaml:1:1: expected a map of fields, got text"),
        ("a: 1", "f.yaml:1:1: apiVersion: Required value: the first document of a topology is the Lab"),
        (service("a"), "f.yaml:1:24: kind: the first document of a topology is the Lab"),
        (LAB + "---\n" + LAB, "f.yaml:9:7: kind: a topology has exactly one Lab"),
        (LAB + "---\n{apiVersion: v1, kind: Node, metadata: {name: n}}", "list the nodes in spec.nodes of the Lab"),
        (LAB + "---\n{apiVersion: v1, kind: Deployment, metadata: {name: n}}", 'the apiVersion of Deployment is "apps/v1"'),
        (LAB + "---\n{apiVersion: v1, kind: deployment, metadata: {name: n}}", '(did you mean "Deployment"?)'),
        ("nodes: {a: {}, b: {}}\nlinks: [a-b]\nprovider: clab\n", "this is a topology of ipspace netlab"),
        ("module: [ospf]\nnodes: [r1, r2]\n", "this is a topology of ipspace netlab"),
        ("name: lab\ntopology:\n  nodes: {a: {kind: linux}}\n", "this is a containerlab topology"),
        ("apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\n", "this is a configuration of kind"),
    ],
)
def test_files_that_are_no_topology(text: str, expected: str) -> None:
    """A file that is something else is refused with one sentence that says what it is or lacks."""
    with pytest.raises(InvalidTopologyError) as error:
        load([Source("f.yaml", text)])

    assert [expected in line for line in error.value.problems][:1] == [True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LAB + "  manifests: [a.yaml, ./b/]\n", ("a.yaml", "./b/")),
        (LAB, ()),
        (LAB + '  manifests: [5, "a\\0b", "", c.yaml]\n', ("c.yaml",)),
        (LAB + "  manifests: {}\n", ()),
        ("[", ()),
        ("", ()),
        ("hello", ()),
    ],
)
def test_manifest_paths(text: str, expected: tuple) -> None:
    """What to read beside the topology file; a faulty file is `load`'s to report."""
    assert manifest_paths(Source("f.yaml", text)) == expected


def test_a_manifest_that_is_not_there() -> None:
    """The caller who cannot read a manifest gets an error with the place where it is named."""
    error = manifest_problem(Source("f.yaml", LAB + "  manifests: [a.yaml, b.yaml]\n"), "b.yaml", "there is no such file")

    assert error.problems == ('f.yaml:7:23: spec.manifests[1]: Not found: "b.yaml": there is no such file',)
