"""Malformed topologies: every good file, broken in every way of a table, gives a short error and never a traceback.

A mutation belongs to a file when its pattern occurs there, and breaks any file it belongs to; so no case stays valid
by accident and none is skipped while the tests run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netlab.errors import InvalidTopologyError
from netlab.topology import Source, load

FILES = {path.name: path.read_text() for path in sorted((Path(__file__).parents[3] / "topologies").glob("*.yaml"))}
LINES_OF_A_SCREEN = 24
LINE = re.compile(r"[\w.-]+\.yaml:\d+:\d+: .+")
LAUGHS = "[&a [x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a], " + ", ".join(
    f"&{new} [{','.join([f'*{old}'] * 8)}]" for old, new in zip("bcdefg", "cdefgh", strict=True)
)
NETWORKING = r"^spec:\n(?=  (nodes|runtime|clients))"


def networking(text: str) -> tuple[str, str]:
    return (NETWORKING, f"spec:\n  networking: {{{text}}}\n")


def appended(text: str) -> tuple[str, str]:
    return (r"\Z", f"\n---\n{text}\n")


MUTATIONS: dict[str, tuple[str, str]] = {  # name -> pattern, and what replaces its first match
    "misspelt metadata": (r"^metadata:", "metdata:"),
    "misspelt kind of the lab": (r"kind: Lab$", "kind: Lba"),
    "misspelt kind of a manifest": (r"kind: Service$", "kind: Sevice"),
    "wrong apiVersion of the lab": (r"netlab/v1alpha1", "netlab/v2"),
    "wrong apiVersion of a manifest": (r"apps/v1$", "extensions/v1beta1"),
    "misspelt spec of a manifest": (r"(?s)(---.*?)\nspec:", r"\1\nspecs:"),
    "misspelt containers": (r"containers:", "container:"),
    "misspelt selector": (r"selector: \{", "selectors: {"),
    "misspelt ports": (r"\bports:", "port:"),
    "misspelt labels": (r"labels: \{", "lables: {"),
    "missing lab name": (r"metadata: \{name: ", "metadata: {nam: "),
    "lab name with capitals": (r"metadata: \{name: ", "metadata: {name: Lab-"),
    "lab name too long": (r"metadata: \{name: ", "metadata: {name: " + "x" * 40),
    "manifest name with underscore": (r"(?s)(---.*?metadata: \{name: )", r"\1a_"),
    "undeclared namespace": (r"(?s)(---.*?metadata: \{)", r"\1namespace: nowhere, "),
    "name as number": (r"(?s)(---.*?metadata: \{name: )[\w-]+", r"\g<1>5"),
    "no nodes": (r"nodes:.*", "nodes: 0"),
    "nodes as text": (r"nodes: \d+", "nodes: two"),
    "too many nodes": (r"nodes: \d+", "nodes: 100000"),
    "negative nodes": (r"nodes: \d+", "nodes: -3"),
    "a node twice": (r"nodes: \d+", "nodes: [{name: node1}, {name: node1}]"),
    "a client called edge": (r"clients: \[\{name: client", "clients: [{name: edge"),
    "a client called like a node": (r"clients: \[\{name: client", "clients: [{name: node1"),
    "a client without name": (r"clients: \[\{name: client", "clients: [{nmae: client"),
    "a runtime that nobody has": (NETWORKING, "spec:\n  runtime: podman\n"),
    "pod subnet too small": networking("podSubnet: 10.244.0.0/24"),
    "pod subnet no range": networking("podSubnet: 10.244.0.0"),
    "pod subnet of IPv6": networking("podSubnet: 'fd00::/56'"),
    "pod subnet with host bits": networking("podSubnet: 10.244.1.0/16"),
    "pod subnet out of range": networking("podSubnet: 10.300.0.0/16"),
    "service subnet inside the pods'": networking("serviceSubnet: 10.244.128.0/17"),
    "service subnet of loopback": networking("serviceSubnet: 127.0.0.0/16"),
    "service subnet too small": networking("serviceSubnet: 10.96.0.0/30"),
    "node subnet over the outside": networking("nodeSubnet: 203.0.113.0/24"),
    "outside subnet too small": networking("outsideSubnet: 203.0.113.0/30"),
    "DNS domain with underscore": networking("dnsDomain: my_cluster"),
    "another provider": networking("provider: calico"),
    "another backend": networking("backend: {type: host-gw}"),
    "direct routing": networking("backend: {directRouting: true}"),
    "flannel's own keys": networking("SubnetLen: 25"),
    "VNI too large": networking("backend: {vni: 16777216}"),
    "VXLAN port too large": networking("backend: {port: 65536}"),
    "another proxy mode": networking("kubeProxyMode: ipvs"),
    "node ports reversed": networking("nodePortRange: 32767-30000"),
    "node ports as one number": networking("nodePortRange: 30000"),
    "misspelt networking key": networking("podsubnet: 10.244.0.0/16"),
    "networking as list": (NETWORKING, "spec:\n  networking: []\n"),
    "port zero": (r"(?<![\w])port: \d+", "port: 0"),
    "port too large": (r"(?<![\w])port: \d+", "port: 70000"),
    "port as list": (r"(?<![\w])port: \d+", "port: [80]"),
    "node port as text": (r"nodePort: \d+", "nodePort: web"),
    "node port out of range": (r"nodePort: \d+", "nodePort: 80"),
    "container port as text": (r"containerPort: \d+", "containerPort: '80'"),
    "container port missing": (r"containerPort: \d+", "hostIP: 0.0.0.0"),
    "protocol SCTP": (r"(?<![\w])port: (\d+)", r"protocol: SCTP, port: \1"),
    "negative replicas": (r"replicas: \d+", "replicas: -1"),
    "replicas as fraction": (r"replicas: \d+", "replicas: 1.5"),
    "replicas for a continent": (r"replicas: \d+", "replicas: 2000000000"),
    "replicas beyond 32 bits": (r"replicas: \d+", "replicas: 99999999999999999999"),
    "an image nobody has": (r"image: [\w./:-]+", "image: redis:7"),
    "an empty image": (r"image: [\w./:-]+", "image: ''"),
    "a container name with dot": (r"- name: (\w+)\n", r"- name: \1.x\n"),
    "a selector that fits no template": (r"matchLabels: \{", "matchLabels: {tier: none, "),
    "a label with spaces": (r"labels: \{", "labels: {x: 'a b', "),
    "a label as boolean": (r"labels: \{", "labels: {x: yes, "),
    "an unclosed brace": (r"\}", ""),
    "a tab": (r"\n  ", "\n\t"),
    "a NUL character": (r"spec:", "sp\0ec:"),
    "a byte that is not UTF-8": (r"spec:", "sp\udc80ec:"),
    "a duplicate key": (r"^kind: Lab$", "kind: Lab\nkind: Lab"),
    "a Python object": (r"nodes:.*", "nodes: !!python/object/apply:os.system ['true']"),
    "an alias of nothing": appended("*nothing"),
    "very deep nesting": appended("[" * 3000),
    "a billion laughs": appended(LAUGHS + "]"),
    "a second lab": appended("{apiVersion: netlab/v1alpha1, kind: Lab, metadata: {name: x}, spec: {nodes: 1}}"),
    "text instead of an object": appended("hello"),
    "a list instead of an object": appended("[1, 2]"),
    "an object without kind": appended("{apiVersion: v1, metadata: {name: x}}"),
    "a kind of later": appended("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x}}"),
    "a policy": appended("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x}}"),
    "a Node": appended("{apiVersion: v1, kind: Node, metadata: {name: node9}}"),
    "a sidecar": appended(
        "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, image: nginx}],"
        " initContainers: [{name: i, image: nginx, restartPolicy: Always}]}}"
    ),
    "a Service twice": appended(
        "\n---\n".join(["{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 1}]}}"] * 2)
    ),
    "a pod on no node": appended(
        "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {nodeName: node77, containers: [{name: c, image: nginx}]}}"
    ),
    "another order": (r"(?s)\A(.*?)\n---\n(.*)\Z", r"\2\n---\n\1"),
    "nothing at all": (r"(?s)\A.*\Z", ""),
    "only comments": (r"(?s)\A.*\Z", "# nothing\n---\n"),
}


def mutated(name: str, text: str) -> str | None:
    pattern, replacement = MUTATIONS[name]
    result, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
    return result if count else None


CASES = [(file, name) for name in MUTATIONS for file, text in FILES.items() if mutated(name, text) is not None]


def test_there_are_enough_cases() -> None:
    """At least 200 malformed topologies, and every mutation has a file it belongs to."""
    assert len(CASES) >= 200
    assert {name for _, name in CASES} == set(MUTATIONS)


@pytest.mark.parametrize(("file", "mutation"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_a_malformed_topology_is_refused(file: str, mutation: str) -> None:
    """The error fits on one screen and every line says where the fault is."""
    text = mutated(mutation, FILES[file])
    assert text is not None

    with pytest.raises(InvalidTopologyError) as error:
        load([Source(file, text)])

    lines = str(error.value).splitlines()
    assert 1 <= len(lines) <= LINES_OF_A_SCREEN
    assert [line for line in lines if not LINE.fullmatch(line)] == []
