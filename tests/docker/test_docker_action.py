"""action.yml with containers: the steps that a workflow's matrix of runtimes runs."""

from __future__ import annotations

import json
from pathlib import Path

from actiondriver import outcomes, use, workspace


def test_all_is_well(tmp_path, lab, image_tags) -> None:  # noqa: ARG001 -- the images are there before
    """A lab of containers passes in a workflow as one of namespaces does, and is gone at its end."""
    steps = use(workspace(tmp_path), lab, runtime="docker")

    assert {"success"} == set(outcomes(steps).values()), steps
    record = json.loads((Path(steps["install"].outputs["results"]) / "results.json").read_text())
    assert record["totals"].pop("pass") > 1000
    assert not any(record["totals"].values())
    assert not lab.state.exists()
