"""The documentation holds together: links lead somewhere, every page is found, what code cites exists, every verb is told."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from netlab.cli.main import app

ROOT = Path(__file__).parents[3]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [*sorted(ROOT.glob("docs/*.md")), *(ROOT / name for name in TOP)]
SOURCES = [
    path for folder in ("netlab", "tests", "docs") for path in ROOT.glob(f"{folder}/**/*") if path.suffix in {".py", ".md"}
]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
SOURCE_PATH = re.compile(r"`?((?:netlab|tests|topologies|tools)/[\w/.-]+\.(?:py|yaml|json))\b")
CITATION = re.compile(r"semantics (\d+\.\d+)")
CITATIONS = re.compile(r"semantics((?:[ ,]+(?:(?:and|to|-) )?\d+\.\d+)+)", re.IGNORECASE)  # `semantics 4.1, 4.5 and 4.9`
COVERAGE_ROW = re.compile(r"\| (\d+\.\d+) \| [^|]+ \| ([^|:]+)(?:: ([^|]+))? \| ([^|]+) \|")
STATES = ("implemented", "partly", "refused", "ignored", "not built")
PRINCIPLE = re.compile(r"\bprinciple (\d+)")


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the relative links of a page: path (empty for the page itself) and anchor."""
    for path, anchor in LINK.findall(page.read_text()):
        if not path.startswith(("http://", "https://")):
            yield path, anchor


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def numbered(page: str, heading: str) -> Iterator[str]:
    """Yield `section.number` of every numbered line below the headings that match."""
    section = ""
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("## "):
            found = re.match(heading, line)
            section = found[1] if found else ""
        elif section and (number := re.match(r"(\d+)\. ", line)):
            yield f"{section}.{number[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading that it has."""
    dead = [
        f"{path}#{anchor}"
        for path, anchor in links(page)
        if not (target := page.parent / path if path else page).exists() or (anchor and anchor not in anchors(target))
    ]

    assert [] == dead


def test_every_page_is_reached() -> None:
    """Whoever starts at docs/README.md comes to every page."""
    reached, ahead = set(), [ROOT / "docs" / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page not in reached:
            reached.add(page)
            ahead += [page.parent / path for path, _ in links(page) if path.endswith(".md")]

    assert {path.name for path in ROOT.glob("docs/*.md")} - {path.name for path in reached} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_paths_exist(page: Path) -> None:
    """A source file that a page names is there."""
    named = {path for path in SOURCE_PATH.findall(page.read_text()) if not (ROOT / path).exists()}

    assert set() == named


@pytest.mark.parametrize("name", [*typer.main.get_command(app).commands, "test connectivity"])  # type: ignore[attr-defined]
def test_every_verb_is_told(name: str) -> None:
    """docs/cli.md has every verb of the command line, other names included."""
    text = (ROOT / "docs" / "cli.md").read_text()

    assert re.search(rf"`{name}\b", text)


def test_the_action_is_told() -> None:
    """docs/github-actions.md has every input and output of action.yml."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    text = (ROOT / "docs" / "github-actions.md").read_text()

    assert [] == [name for name in (*action["inputs"], *action["outputs"]) if f"| `{name}` |" not in text]


@pytest.mark.parametrize("path", [ROOT / "action.yml", *ROOT.glob(".github/workflows/*.yml")], ids=lambda path: path.name)
def test_foreign_actions_are_pinned(path: Path) -> None:
    """What others may change is named by its commit, with the version beside it."""
    used = re.findall(r"^ *(?:- )?uses: (?!\./)(.*)", path.read_text(), flags=re.MULTILINE)

    assert [] == [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v[\d.]+", line)]


def test_what_a_job_leaves_out_another_runs() -> None:
    """The tests that a job of the workflow deselects are named by a job that runs them."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    arguments = [step.get("env", {}).get("PYTEST_ARGS", "") for job in jobs.values() for step in job["steps"]]
    words = {word for argument in arguments for word in argument.split()}
    left_out = {word.removeprefix("--deselect=") for word in words if word.startswith("-")}

    assert left_out
    assert set() == left_out - words


def test_citations_exist() -> None:
    """Every `semantics 4.2` and `principle 4` in code, tests and pages names a line that is there."""
    behaviours = set(numbered("docs/semantics.md", r"## (\d+)\. "))
    principles = {key.removeprefix("Principles.") for key in numbered("docs/architecture.md", r"## (Principles)")}
    wrong = {
        f"{path.relative_to(ROOT)}: {number}"
        for path in SOURCES
        for number in {*CITATION.findall(path.read_text())} - behaviours | {*PRINCIPLE.findall(path.read_text())} - principles
    }

    assert set() == wrong


def coverage() -> list[tuple[str, str, str, str]]:
    """Return the rows of docs/semantics-coverage.md: number, state, what stands after the state, tests."""
    lines = (ROOT / "docs" / "semantics-coverage.md").read_text().splitlines()
    return [found.groups(default="") for line in lines if (found := COVERAGE_ROW.fullmatch(line))]  # type: ignore[misc]


def names_of_tests() -> set[str]:
    """Return `test_file::test_function` of every test."""
    return {
        f"{path.stem}::{name}"
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), flags=re.MULTILINE)
    }


def test_every_behaviour_has_a_row() -> None:
    """docs/semantics-coverage.md has one row for each line of docs/semantics.md, in the same order, and no other."""
    assert list(numbered("docs/semantics.md", r"## (\d+)\. ")) == [number for number, *_ in coverage()]


def test_the_state_of_a_behaviour_is_told() -> None:
    """A state is one of those that the page explains; one that is not `implemented` has a reason."""
    wrong = [
        number
        for number, state, reason, tests in coverage()
        if state not in STATES
        or (state != "implemented" and not reason)
        or (state in STATES[:2] and not tests.startswith("`") and tests != "no dedicated test")
    ]

    assert [] == wrong


def test_tests_of_behaviours_exist() -> None:
    """A test that docs/semantics-coverage.md names is there, and a number that a test cites names tests."""
    there = names_of_tests()
    cells = {number: tests for number, _, _, tests in coverage()}
    gone = {name for tests in cells.values() for name in re.findall(r"`([^`]+)`", tests) if name not in there}
    cited = {
        number
        for path in ROOT.glob("tests/**/test_*.py")
        for numbers in CITATIONS.findall(path.read_text())
        for number in re.findall(r"\d+\.\d+", numbers)
    }

    assert set() == gone
    assert [] == sorted(number for number in cited if not cells[number].startswith("`"))


def test_names_of_test_files_are_unique() -> None:
    """A test file is known by its name alone, in docs/semantics-coverage.md and to pytest."""
    stems = [path.stem for path in ROOT.glob("tests/**/test_*.py")]

    assert sorted(set(stems)) == sorted(stems)


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/test_*.py")), ids=lambda path: path.stem)
def test_every_test_says_its_sentence(path: Path) -> None:
    """A test begins with a docstring of one sentence: the behaviour it holds."""
    tests = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]

    assert [] == [test.name for test in tests if not (ast.get_docstring(test) or "").rstrip().endswith(".")]


@pytest.mark.parametrize("package", sorted(ROOT.glob("netlab/*/__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_introduces_its_modules(package: Path) -> None:
    """The face of a package says what each of its modules is for."""
    face = ast.get_docstring(ast.parse(package.read_text())) or ""
    modules = {path.stem for path in package.parent.glob("*.py")} | {
        path.parent.name for path in package.parent.glob("*/__init__.py")
    }

    assert set() == {name for name in modules if not name.startswith("__") and f"`{name}`" not in face}
