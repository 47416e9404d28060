from __future__ import annotations

import pytest

from netlab.engine.fake import FakeEngine
from netlab.errors import InvalidTopologyError
from netlab.lab.container_images import require_images
from netlab.topology import Source, load

LAB = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: l}\nspec: {nodes: 1}\n---\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: c, image: %s, command: [x]%s}\n"
OURS = "netlab/workloads:1"


@pytest.mark.parametrize(
    ("image", "more", "said", "problem"),
    [
        ("here:1", "", [], ""),
        ("here:1", ", imagePullPolicy: Never", [], ""),
        ("nginx", "", [], ""),
        ("busybox:latest", "", [], ""),
        ("there:1", "", ["pulling image there:1"], ""),
        ("here", "", ["pulling image here"], "IfNotPresent uses the image that is present"),
        ("nginx", ", imagePullPolicy: Always", ["pulling image nginx"], "Get it: docker build -t nginx ., docker pull nginx"),
        ("none:1", "", ["pulling image none:1"], "Get it: docker build -t none:1 ., docker pull none:1, or docker load."),
        ("Bad/Name:1", "", [], 'parse image name "Bad/Name:1": invalid reference format'),
        ("none:1", ", imagePullPolicy: Never", [], "is not present with pull policy of Never"),
    ],
)
def test_images_are_there_or_fetched_before_anything_is_made(image, more, said, problem):
    """Kubernetes' policies decide; what cannot be had is told with its place and a remedy."""
    engine = FakeEngine(images={"here:1": {}, "here:latest": {}, "here": {}, OURS: {}}, registry={"there:1"})
    topology = load([Source("l.yaml", LAB + POD % (image, more))])
    heard: list[str] = []
    found = ""
    try:
        require_images(engine, (*topology.images, *topology.images), OURS, heard.append)
    except InvalidTopologyError as error:
        (found,) = error.problems

    assert said == heard
    assert problem in found
    assert bool(problem) == found.startswith("l.yaml:11:22: spec.containers[0].image: ")
