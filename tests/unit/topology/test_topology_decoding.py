"""Plain data against a type: unknown fields, wrong types, what is kept, what is left out."""

from __future__ import annotations

import msgspec
import pytest

from netlab.api.resources import DEPLOYMENTS, ENDPOINT_SLICES, PODS, SERVICES
from netlab.topology import decode, problems_of, pruned, type_problems, unknown_fields


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"spec": {"foo": 1}}, ('unknown field "spec.foo"',)),
        (
            {"spec": {"ports": [{"port": 1}, {"Port": 1, "x": 2}]}},
            ('unknown field "spec.ports[1].Port"', 'unknown field "spec.ports[1].x"'),
        ),
        ({"metadata": {"labels": {"any": "thing"}, "lables": {}}}, ('unknown field "metadata.lables"',)),
        ({"metadata": {"managedFields": [{"any": {"thing": 1}}]}}, ()),
    ],
)
def test_unknown_fields(body: dict, expected: tuple) -> None:
    """Strict field validation names each field no such object has."""
    assert unknown_fields(body, SERVICES) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"spec": {"ports": [{"port": "80"}]}}, 'spec.ports[0].port: expected a whole number, got text "80"'),
        ({"spec": {"ports": [{"port": True}]}}, "spec.ports[0].port: expected a whole number, got true"),
        ({"spec": {"ports": [{"port": 80.5}]}}, "spec.ports[0].port: expected a whole number, got the number 80.5"),
        (
            {"spec": {"ports": [{"port": 2**40}]}},
            "spec.ports[0].port: expected a whole number of at most 32 bits, got 1099511627776",
        ),
        ({"spec": {"ports": [None]}}, "spec.ports[0]: expected a map of fields, got nothing"),
        ({"spec": {"ports": {}}}, 'spec.ports: expected a list, got a map; begin each element with "- "'),
        ({"spec": {"ports": [{"targetPort": []}]}}, "spec.ports[0].targetPort: expected a whole number or text, got a list"),
        ({"spec": {"selector": {"a": 1}}}, "spec.selector.a: expected text, got the number 1; write it in quotes"),
        ({"spec": {"selector": ["a"]}}, "spec.selector: expected a map of names to values, got a list"),
        ({"spec": {"publishNotReadyAddresses": "yes"}}, 'spec.publishNotReadyAddresses: expected true or false, got text "yes"'),
        ({"spec": 5}, "spec: expected a map of fields, got the number 5"),
        ([], "expected a map of fields, got a list"),
    ],
)
def test_wrong_types(body: object, expected: str) -> None:
    """A value of the wrong type says what was expected and what is there."""
    problems = type_problems(body, SERVICES)

    assert [f"{p.path}: {p.message}".removeprefix(": ") for p in problems] == [expected]


def test_nulls_and_unknown_fields_are_pruned() -> None:
    """A null is an absent field; a label without value is an empty one."""
    body = {
        "metadata": {"name": "x", "creationTimestamp": None, "labels": {"a": None}},
        "spec": {"selector": None, "ports": [{"port": 1, "name": None, "foo": 2}]},
    }

    assert pruned(body, SERVICES) == {"metadata": {"name": "x", "labels": {"a": ""}}, "spec": {"ports": [{"port": 1}]}}


def test_what_means_unset_is_left_out() -> None:
    """An empty text takes the default, as does 0 where a probe cannot mean it; 0 replicas and a 0 delay are meant."""
    probe = {"tcpSocket": {"port": 1}, "periodSeconds": 0, "initialDelaySeconds": 0}
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 1, "protocol": ""}], "readinessProbe": probe}
    body = {"spec": {"dnsPolicy": "", "hostname": "", "containers": [container]}}
    spec = pruned(body, PODS)["spec"]

    assert spec == {
        "hostname": "",
        "containers": [
            {**container, "ports": [{"containerPort": 1}], "readinessProbe": {"tcpSocket": {"port": 1}, "initialDelaySeconds": 0}}
        ],
    }
    assert pruned({"spec": {"replicas": 0}}, DEPLOYMENTS) == {"spec": {"replicas": 0}}


def test_inert_fields_are_kept_and_named() -> None:
    """What has no effect on the network is accepted, stored and reported; empty ones are not worth a word."""
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": 1}}, "volumeMounts": []}
    decoded = decode({"spec": {"containers": [container], "priority": 0}}, PODS.type)

    assert decoded.inert == (("spec", "containers", 0, "resources"), ("spec", "priority"))
    assert decoded.body["spec"]["containers"][0] == container


@pytest.mark.parametrize(
    "body", [{"spec": {"template": {"spec": {"containers": [5, {"nmae": "x"}]}}}}, {"spec": []}, 7, None, {"metadata": [1]}]
)
def test_a_decoded_body_is_always_a_typed_object(body: object) -> None:
    """Whatever the data holds, the rules after it can read it."""
    decoded = decode(body, DEPLOYMENTS.type)

    assert isinstance(msgspec.convert(decoded.body, DEPLOYMENTS.type), DEPLOYMENTS.type)


def test_consequences_are_not_reported() -> None:
    """A misspelt name is one problem, not also a missing name; a wrong type is not also a wrong value."""
    body = {"metadata": {"name": "x"}, "spec": {"containers": [{"nmae": "c", "image": "i", "ports": [{"containerPort": "80"}]}]}}
    decoded = decode(body, PODS.type)

    assert [p.path for p in decoded.problems] == ["spec.containers[0].nmae", "spec.containers[0].ports[0].containerPort"]
    assert [p.path for p in problems_of(PODS, body)] == ["spec.containers[0].ports[0].containerPort"]


def test_stored_objects_stay_valid() -> None:
    """Objects that the lab's own parts write, defaults left out, pass the rules of a request."""
    piece = ENDPOINT_SLICES.type(metadata={"name": "x-abc"})  # type: ignore[arg-type]
    body = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "x-abc", "resourceVersion": "12"}}

    assert piece.address_type == "IPv4"
    assert problems_of(ENDPOINT_SLICES, body) == ()
