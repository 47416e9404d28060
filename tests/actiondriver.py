"""Runs the steps of action.yml as GitHub's runner does, as far as this action goes: no runner is at hand here.

A step is a script in a file, run by `bash --noprofile --norc -e -o pipefail`, with inputs and outputs put into its `env`,
an empty file for GITHUB_OUTPUT and one for GITHUB_STEP_SUMMARY. A step that `uses` another action is noted and not run.
After a failure only steps that say `always()` are run. An expression that this runner does not know is an error, not "false".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from labdriver import ROOT, TOPOLOGIES, LabDriver

TIME_LIMIT = 120  # seconds for one step
BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
INSERTION = re.compile(r"\$\{\{ *([^}]*?) *\}\}")
TOKEN = re.compile(r" *(always\(\)|&&|\|\||==|!=|'[^']*'|[a-z][\w.-]*) *")
WORDS = {"&&": " and ", "||": " or ", "==": " == ", "!=": " != ", "always()": "True"}


@dataclass(frozen=True)
class Step:
    """What became of a step. `values`: its env or, of a step that uses another action, its `with`."""

    outcome: str
    output: str = ""
    summary: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Runner:
    """A scratch folder as workspace and RUNNER_TEMP, and the environment of the steps."""

    action: Path
    workspace: Path
    environment: Mapping[str, str]
    steps: dict[str, Step] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, str], *, after: Mapping[str, Callable[[], object]] | None = None) -> dict[str, Step]:
        """Run all steps and return them by id, or by name. `after` has what to do when a step has run."""
        document = yaml.safe_load(self.action.read_text())
        given = {name: inputs.get(name, about.get("default")) for name, about in document["inputs"].items()}
        assert inputs.keys() <= given.keys(), "the action has no such input"
        assert None not in given.values(), "a required input is missing"
        for step in document["runs"]["steps"]:
            key = step.get("id", step["name"])
            self.steps[key] = self._step(step, given)
            (after or {}).get(key, lambda: None)()
        return self.steps

    def _step(self, step: Mapping[str, Any], inputs: Mapping[str, str]) -> Step:
        failed = any(done.outcome == "failure" for done in self.steps.values())
        condition = step.get("if", "")
        if (failed and "always()" not in condition) or not self._holds(condition, inputs):
            return Step("skipped")
        values = {
            name: INSERTION.sub(lambda found: self._value(found[1], inputs), str(text))
            for name, text in step.get("with" if "uses" in step else "env", {}).items()
        }
        return Step("success", values=values) if "uses" in step else self._script(step, values)

    def _script(self, step: Mapping[str, Any], values: Mapping[str, str]) -> Step:
        assert step["shell"] == "bash"
        assert not INSERTION.search(step["run"]), "a script is no place for text from outside"
        folder = self.workspace / ".runner" / str(len(self.steps))
        folder.mkdir(parents=True)
        files = {name: folder / name for name in ("script.sh", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.touch()
        files["script.sh"].write_text(step["run"])
        environment = {**self.environment, **values, "CI": "true", "GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(self._temporary)}
        environment |= {name: str(path) for name, path in files.items() if name.startswith("GITHUB")}
        result = subprocess.run(
            [*BASH, files["script.sh"]],
            env=environment, cwd=self.workspace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=TIME_LIMIT,
        )  # fmt: skip
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        outcome = "failure" if result.returncode else "success"
        return Step(outcome, result.stdout, files["GITHUB_STEP_SUMMARY"].read_text(), outputs, values)

    @property
    def _temporary(self) -> Path:
        return self.workspace / ".runner" / "temp"

    def _value(self, reference: str, inputs: Mapping[str, str]) -> str:
        match reference.split("."):
            case ["inputs", name]:
                return inputs[name]
            case ["steps", step, "outputs", name]:
                return self.steps[step].outputs.get(name, "")
            case ["steps", step, "outcome"]:
                return self.steps[step].outcome
            case ["github", "action_path"]:
                return str(self.action.parent)
            case ["runner", "temp"]:
                return str(self._temporary)
        raise AssertionError(f"the runner does not know {reference}")

    def _holds(self, condition: str, inputs: Mapping[str, str]) -> bool:
        if not condition:
            return True
        assert "".join(TOKEN.findall(condition)) == condition.replace(" ", ""), condition
        python = [
            WORDS.get(token) or (token if token.startswith("'") else repr(self._value(token, inputs)))
            for token in TOKEN.findall(condition)
        ]
        return bool(eval("".join(python), {}))  # literals and operators only


# Somebody who is not root: `id` says so, and sudo hands on nothing of the environment.
PROGRAMS = {
    "k8s-netlab": f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m netlab "$@"\n',
    "id": "#!/bin/sh\necho 1001\n",
    "sudo": '#!/bin/sh\nexec env -i PATH="$PATH" "$@"\n',
}


def workspace(folder: Path) -> Runner:
    """Return a runner in a folder with a topology, where an earlier step has installed netlab."""
    programs = folder / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    shutil.copy(TOPOLOGIES / "quickstart.yaml", folder / "quickstart.yaml")
    return Runner(ROOT / "action.yml", folder, {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(folder)})


def use(
    runner: Runner, lab: LabDriver, after: Mapping[str, Callable[[], object]] | None = None, **inputs: str
) -> dict[str, Step]:
    """Run the action for a lab and return its steps."""
    words = {name.replace("_", "-"): value for name, value in inputs.items()}
    return runner.run({"topology": "quickstart.yaml", "name": lab.name, "version": "installed", **words}, after=after)


def outcomes(steps: Mapping[str, Step]) -> dict[str, str]:
    """Return what became of each step."""
    return {key: step.outcome for key, step in steps.items()}
