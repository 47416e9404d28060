"""`netlab test connectivity` for a lab whose API server does not answer: files say so, and are not those of an earlier run."""

from __future__ import annotations

import json
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from netlab.cli.main import app
from netlab.errors import CannotTestError

SILENT = CannotTestError("the API server of lab quickstart does not answer", remedy="netlab logs daemon")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files of an earlier run that passed, and a lab that does not answer now."""

    def cannot(*_arguments, **_options):
        raise SILENT

    monkeypatch.setattr("netlab.lab.find.lab_named", lambda _name: SimpleNamespace(lab="quickstart"))
    monkeypatch.setattr("netlab.lab.test.connectivity", cannot)
    found = SimpleNamespace(junit=tmp_path / "report.xml", markdown=tmp_path / "summary.md")
    for path in vars(found).values():
        path.write_text("an earlier run: all passed")
    return found


def test_every_rendering_says_that_nothing_was_tested(files):
    """JUnit has a testcase in error, Markdown and JSON name the error, GitHub gets an annotation."""
    arguments = ["test", "connectivity", "-f", "json", "--github", "--junit", files.junit, "--markdown", files.markdown]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    error = ET.fromstring(files.junit.read_text()).find("testsuite/testcase/error")

    assert SILENT is result.exception
    assert SILENT.message == json.loads(result.stdout)["error"]
    assert error is not None
    assert SILENT.message == error.get("message")
    assert SILENT.message in files.markdown.read_text()
    assert "::error title=netlab test connectivity::quickstart could not be tested" in result.stderr
