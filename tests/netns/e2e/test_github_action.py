"""action.yml, its steps run one after the other as GitHub's runner does: what a workflow sees of a lab."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from actiondriver import outcomes, use, workspace
from labdriver import TOPOLOGIES

QUICKSTART = (TOPOLOGIES / "quickstart.yaml").read_text()
SUMMARY_LIMIT = 900_000
FIREWALL = (
    "add table ip foreign; add chain ip foreign f { type filter hook forward priority 0; policy drop; }"  # nobody's to repair
)
SHOWN = 10  # annotations of a kind per step


@pytest.fixture
def runner(tmp_path):
    """A workspace with two topologies, and a netlab that an earlier step installed."""
    (tmp_path / "broken.yaml").write_text("kind: Lab\n")
    return workspace(tmp_path)


def results(steps):
    return Path(steps["install"].outputs["results"])


def test_all_is_well(runner, lab):
    """A lab that passes: the summary is written, results are there to be uploaded, nothing is annotated, the lab is gone."""
    (runner.workspace / "own.yaml").write_text(own := QUICKSTART.replace("{name: quickstart}", f"{{name: {lab.name}}}"))
    assert own != QUICKSTART
    steps = use(runner, lab, topology="own.yaml", name="", test_options="--only pod-*\n--timeout 2")  # that of the file

    assert {"success"} == set(outcomes(steps).values()), steps
    assert steps["test"].summary.startswith(f"### {lab.name}: ")
    assert "::error" not in steps["test"].output
    assert str(results(steps)) == steps["Upload the results"].values["path"]
    assert "pod-*" == json.loads((results(steps) / "results.json").read_text())["only"]
    assert "0" == ET.parse(results(steps) / "results.xml").getroot().get("failures")
    assert not lab.state.exists()


def test_a_broken_lab(runner, lab):
    """A lab that fails: few annotations with what matters escaped, all failures in the results, the lab gone all the same."""
    steps = use(runner, lab, after={"up": lambda: lab.exec("node1", "nft", FIREWALL)})

    assert {
        "install": "success",
        "up": "success",
        "test": "failure",
        "Upload the results": "success",
        "netlab down": "success",
    } == (outcomes(steps))
    errors = re.findall(r"^::error title=[^:,\n]+::\S.*$", steps["test"].output, flags=re.MULTILINE)
    assert len(errors) == steps["test"].output.count("::error")
    assert 1 <= len(errors) <= SHOWN
    assert "<details>" in steps["test"].summary
    assert len(steps["test"].summary.encode()) <= SUMMARY_LIMIT
    failures = json.loads((results(steps) / "results.json").read_text())["totals"]["fail"]
    assert str(failures) == ET.parse(results(steps) / "results.xml").getroot().get("failures")
    assert not lab.state.exists()


def annotations(output):
    """Yield what the runner makes of a step's lines by the problem matchers that hold at each: owner and groups."""
    held = {}
    for line in output.splitlines():
        if line.startswith("::add-matcher::"):
            matchers = json.loads(Path(line.removeprefix("::add-matcher::")).read_text())["problemMatcher"]
            held |= {matcher["owner"]: matcher["pattern"][0]["regexp"] for matcher in matchers}
        elif found := re.fullmatch("::remove-matcher owner=(.*)::", line):
            del held[found[1]]
        yield from (" ".join([owner, *found.groups()]) for owner, known in held.items() if (found := re.search(known, line)))
    assert not held


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"topology": "broken.yaml"}, "netlab-file broken.yaml 1 1 apiVersion: Required value"),
        ({"runtime": "cloud"}, "netlab --runtime: unknown runtime 'cloud'"),
        ({"topology": ""}, "the input 'topology' is empty"),
        ({"topology": "--help"}, "error: cannot read --help: No such file or directory"),
        ({"topology": "--timeout=1"}, "error: cannot read --timeout=1: No such file or directory"),
        ({"runtime": "--help"}, "netlab --runtime: unknown runtime '--help'"),
    ],
    ids=["an invalid file", "a runtime that is not there", "no file", "an option", "an option with a value", "as a runtime"],
)
def test_no_lab(runner, lab, inputs, words):
    """When `up` fails its words are the step's and its annotations, and nothing that follows is run."""
    steps = use(runner, lab, **inputs)

    assert {"failure"} == {step.outcome for key, step in steps.items() if key == "up"}
    assert {"skipped"} == {step.outcome for key, step in steps.items() if key not in {"install", "up"}}
    assert words in "\n".join([*annotations(steps["up"].output), steps["up"].output])
    assert not lab.state.exists()


@pytest.mark.parametrize("version", ["-r/etc/passwd", "--index-url=http://192.0.2.1/", "-e."])
def test_a_version_is_no_option_of_pip(runner, lab, version, tmp_path):
    """Finding M10: what begins with a dash is refused before anything is installed."""
    steps = use(runner, lab, version=version)

    assert ("failure", "skipped") == (steps["install"].outcome, steps["up"].outcome)
    assert f"setup: '{version}' is not a requirement: it begins with a dash\n" == steps["install"].output
    assert not list(tmp_path.rglob("venv"))


def test_kept(runner, lab):
    """With keep the lab is there for the steps that follow, and without a name for the artefact nothing is uploaded."""
    steps = use(runner, lab, keep="true", artifact="", test_options="--only node-node")

    assert {
        "install": "success",
        "up": "success",
        "test": "success",
        "Upload the results": "skipped",
        "netlab down": "skipped",
    } == (outcomes(steps))
    assert "k8s-netlab" == Path(steps["install"].outputs["command"]).name
    assert "node1" == lab.exec("node1", "hostname").stdout.strip()
