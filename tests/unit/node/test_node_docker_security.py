"""What a pod's securityContext makes of its containers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from netlab.api.capabilities import DEFAULT, NUMBERS
from netlab.api.pods import Container, Pod
from netlab.engine.protocol import ContainerSpec
from netlab.node.pods.docker.containers import secured
from netlab.node.pods.runtime import Run
from netlab.process.podfiles import ConfigError, PodFiles

PROGRAM = ContainerSpec("c", "image", capabilities=None, no_new_privileges=False)  # as docker_containers makes a program's
WORDS = ' (pod: "p_default(u)", container: c); set runAsUser to a user other than 0'


def run_of(own: dict | None, pods: dict | None) -> Run:
    spec = {"containers": [], **({"securityContext": pods} if pods is not None else {})}
    pod = msgspec.convert({"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": spec}, Pod)
    container = msgspec.convert({"name": "c", **({"securityContext": own} if own is not None else {})}, Container)
    return Run(pod, container, 0, "/run/netns/p", "10.244.1.2", PodFiles(Path("/nowhere")))


@pytest.mark.parametrize("image_user", ["", "app", "1234:5678"])
def test_without_one(image_user):
    """A container that says nothing is what it was."""
    assert secured(PROGRAM, run_of(None, None), image_user) == PROGRAM


@pytest.mark.parametrize(
    ("own", "pods", "spec_user", "image_user", "user"),
    [
        ({}, {}, "", "1234:5678", ""),  # the image's own word needs no saying
        ({}, {}, "0:0", "65534:65534", "0:0"),
        ({"runAsUser": 1000}, {}, "", "", "1000"),
        ({"runAsUser": 0}, {}, "", "app", "0"),
        ({"runAsUser": 1000}, {}, "", "1234:5678", "1000"),
        ({"runAsUser": 1000}, {}, "0:0", "1234:5678", "1000"),
        ({"runAsUser": 1000, "runAsGroup": 2000}, {}, "", "1234:5678", "1000:2000"),
        ({"runAsUser": 1000, "runAsGroup": 0}, {}, "", "1234:5678", "1000:0"),
        ({"runAsGroup": 2000}, {}, "", "1234:5678", "1234:2000"),
        ({"runAsGroup": 2000}, {}, "", "app", "app:2000"),
        ({"runAsGroup": 2000}, {}, "", "", "0:2000"),
        ({}, {"runAsUser": 1, "runAsGroup": 2}, "", "app", "1:2"),
        ({"runAsUser": 3}, {"runAsUser": 1, "runAsGroup": 2}, "", "app", "3:2"),
        ({"runAsUser": 0}, {"runAsUser": 1}, "", "app", "0"),
    ],
)
def test_user(own, pods, spec_user, image_user, user):
    """Who it runs as: the container's word, else the pod's, else what the image says."""
    assert user == secured(replace(PROGRAM, user=spec_user), run_of(own, pods), image_user).user


ROOT = "container has runAsNonRoot and image will run as root"
BREAKS = "container's runAsUser breaks non-root policy"
UNKNOWN = "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root"
MUST_NOT = {"runAsNonRoot": True}


@pytest.mark.parametrize(
    ("own", "pods", "spec_user", "image_user", "words"),
    [
        (MUST_NOT, {}, "", "", ROOT),
        (MUST_NOT, {}, "", "0:1000", ROOT),
        (MUST_NOT, {}, "0:0", "65534:65534", ROOT),
        ({}, MUST_NOT, "", "", ROOT),
        (MUST_NOT, {}, "", "root", UNKNOWN.format("root")),
        (MUST_NOT, {}, "", "app:app", UNKNOWN.format("app")),
        (MUST_NOT | {"runAsUser": 0}, {}, "", "1234", BREAKS),
        (MUST_NOT, {"runAsUser": 0}, "", "1234", BREAKS),
        (MUST_NOT, {}, "", "1234", ""),
        (MUST_NOT | {"runAsUser": 1}, {}, "", "root", ""),
        (MUST_NOT, {"runAsUser": 1}, "", "", ""),
        ({"runAsNonRoot": False}, MUST_NOT, "", "", ""),
        ({"runAsUser": 0}, {}, "", "", ""),
    ],
)
def test_not_as_root(own, pods, spec_user, image_user, words):
    """One that must not run as root is refused, in kubelet's words, when it would or that cannot be known."""
    said = ""
    try:
        secured(replace(PROGRAM, user=spec_user), run_of(own, pods), image_user)
    except ConfigError as error:
        said = error.message

    assert (words and words + WORDS) == said


@pytest.mark.parametrize("wanted", [None, {"drop": ["NET_RAW"]}])
def test_a_builtin_workload_gains_none(wanted):
    """What has no capabilities has none to lose, and gets none for it."""
    spec = replace(PROGRAM, capabilities=())

    assert secured(spec, run_of({"capabilities": wanted} if wanted else {}, {}), "65534:65534").capabilities == ()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, None),
        ({"add": ["NET_ADMIN"]}, {*DEFAULT, "NET_ADMIN"}),
        ({"drop": ["NET_RAW", "MKNOD"]}, {*DEFAULT} - {"NET_RAW", "MKNOD"}),
        ({"drop": ["ALL"]}, set()),
        ({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, {"NET_BIND_SERVICE"}),
        ({"drop": ["NET_RAW"], "add": ["NET_RAW"]}, {*DEFAULT}),
    ],
)
def test_capabilities(wanted, expected):
    """What is dropped leaves the engine's own set, what is added comes to it; without a word that set is the engine's affair."""
    found = secured(PROGRAM, run_of({"capabilities": wanted} if wanted else {}, {}), "").capabilities

    assert expected == (None if found is None else set(found))


@pytest.mark.parametrize(
    ("own", "before", "read_only", "no_new_privileges"),
    [
        ({}, False, False, False),
        ({}, True, False, True),
        ({"readOnlyRootFilesystem": True}, False, True, False),
        ({"allowPrivilegeEscalation": False}, False, False, True),
        ({"allowPrivilegeEscalation": True}, False, False, False),
        ({"allowPrivilegeEscalation": True}, True, False, True),  # a built-in workload needs none, whatever is allowed
    ],
)
def test_switches(own, before, read_only, no_new_privileges):
    """The root file system and the gain of privileges."""
    found = secured(replace(PROGRAM, no_new_privileges=before), run_of(own, {}), "")

    assert (read_only, no_new_privileges) == (found.read_only, found.no_new_privileges)


MASKS = [
    ((), 0x0),
    (DEFAULT, 0xA80425FB),  # what containerd and Docker set, as /proc/<pid>/status of a container shows it
    (("NET_ADMIN", "NET_RAW"), 0x3000),
    (("SYS_ADMIN",), 0x200000),
]


@pytest.mark.parametrize(("names", "mask"), MASKS)
def test_numbers_of_capabilities(names, mask):
    """The bits are the kernel's."""
    assert mask == sum(1 << NUMBERS[name] for name in names)
