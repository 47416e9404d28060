"""The command line's manners: help with examples, exit codes, errors in one screen and on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from netlab.cli import render
from netlab.cli.main import app
from netlab.cli.options import Format, program
from netlab.cli.run import exit_code
from netlab.cli.words import common_first
from netlab.errors import ApiError, InvalidTopologyError, KernelError, LabError, UnsupportedHostError, UsageError

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "topologies" / "quickstart.yaml"


def netlab(*arguments, state, cwd=ROOT):
    """Run the command line with a record of its own, so that no lab of the machine is seen."""
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "K8SNETLAB_STATE": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "netlab", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=60)


def verbs(group, path=()):
    """Yield every verb of the command line that does something, by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(w, c, id=" ".join(w)) for w, c in verbs(typer.main.get_command(app))]
)
def test_every_verb_has_an_example(words, command):
    """`--help` of each verb ends with an example that begins with netlab and the verb."""
    assert "Example: netlab" in (command.help or ""), words


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("up -q a.yaml", "-q up a.yaml"),
        ("test connectivity lab -vv -f json", "-vv test connectivity lab -f json"),
        ("status --log-format json --quiet", "--log-format json --quiet status"),
        ("status --log-format", "--log-format status"),
        ("exec -q node1 ls -v", "-q exec node1 ls -v"),
        ("exec node1 -- ls -v", "exec node1 -- ls -v"),
        ("-v exec --name lab node1 -q", "-v exec --name lab node1 -q"),
        ("exec blue -c color -- ls -c", "exec -c color blue -- ls -c"),
        ("exec blue --lab=a -n x -- ls -- -c", "exec --lab=a -n x blue -- ls -- -c"),
        ("exec node1 -q -- ls", "-q exec node1 -- ls"),
        ("exec node1 sh -c x -- y", "exec node1 sh -c x -- y"),
        ("exec node1 -- -- x", "exec node1 -- -- x"),
        ("exec node1 -c", "exec node1 -c"),
        ("exec --lab l -c color blue -- ls -c", "exec --lab l -c color blue -- ls -c"),
        ("exec --lab l blue -c color -- ls", "exec --lab l -c color blue -- ls"),
        ("exec -c color --lab l blue -v -- ls", "-v exec -c color --lab l blue -- ls"),
        ("exec --lab", "exec --lab"),
        ("port-forward svc/blue 8080:80 -v", "-v port-forward svc/blue 8080:80"),
        ("", ""),
    ],
)
def test_netlabs_own_options_after_the_verb(typed, meant):
    """Netlab's own options mean the same after the verb; the words of a command that is run in a host stay its own."""
    assert meant.split() == common_first(typed.split())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (InvalidTopologyError(("f:1:1: x",)), 2),
        (UnsupportedHostError("x"), 4),
        (LabError("x"), 1),
        (KernelError("x"), 1),
        (ApiError(404, "NotFound", "x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes(error, code):
    """An exit code says who has to act."""
    assert code == exit_code(error)


ERRORS = [
    pytest.param(["up", "no-such-file.yaml"], 2, "cannot read no-such-file.yaml", id="no file"),
    pytest.param(["status", "nemo"], 2, "there is no lab 'nemo'", id="unknown lab"),
    pytest.param(["test", "connectivity"], 2, "no lab is running", id="nothing to test"),
    pytest.param(["port-forward", "svc/blue", "80:"], 2, "invalid port mapping '80:'", id="no port"),
    pytest.param(["port-forward", "svc/blue", "80", "--address", "0.0.0.0"], 2, "not a loopback address", id="no loopback"),
    pytest.param(["exec", "--foo", "node1", "--", "ls"], 2, "No such option: --foo", id="unknown option of exec"),
    pytest.param(["exec", "node1", "--foo", "--", "ls"], 2, "No such option: --foo", id="unknown option behind the host"),
    pytest.param(["nonsense"], 2, "No such command", id="unknown verb"),
    pytest.param(["up", "--timeout", "soon"], 2, "--timeout", id="bad option"),
    pytest.param(["validate"], 2, "no topology file here", id="no default file"),
    pytest.param(["up", "--runtime", "cloud", QUICKSTART], 2, "runtime 'cloud'", id="unknown runtime"),
    pytest.param(["up", "--name", "../x", QUICKSTART], 2, '--name: Invalid value: "../x"', id="a name that is a path"),
    pytest.param(["up", "--name", "a" * 300, QUICKSTART], 2, "must be no more than", id="a very long name"),
    pytest.param(["up", "--timeout", "inf", QUICKSTART], 2, "--timeout", id="no end"),
    pytest.param(["status", "../.."], 2, "there is no lab '../..'", id="a lab that is a path"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), ERRORS)
def test_errors(arguments, code, words, tmp_path):
    """A mistake gives one clear sentence on stderr, nothing on stdout, and changes nothing."""
    result = netlab(*arguments, state=tmp_path / "state", cwd=tmp_path)

    assert code == result.returncode, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "stdout", "stderr"),
    [
        (["status"], "", "No lab is running."),
        (["status", "-f", "json"], "[]\n", ""),
        (["down"], "", "No lab is running: nothing to do."),
        (["down", "--all"], "", "No lab is running: nothing to do."),
        (["down", "nemo"], "", "There is no lab 'nemo': nothing to do."),
    ],
)
def test_nothing_is_no_error(arguments, stdout, stderr, tmp_path):
    """Status of no lab is an empty list, and down of what is not there has nothing to do: scripts rely on both."""
    result = netlab(*arguments, state=tmp_path / "state")

    assert (0, stdout) == (result.returncode, result.stdout)
    assert result.stderr.startswith(stderr)


def test_validate_says_what_is_in_the_file(tmp_path):
    """A valid file is summed up on stdout."""
    result = netlab("validate", QUICKSTART, state=tmp_path)

    assert 0 == result.returncode, result.stderr
    assert result.stdout.startswith("Lab quickstart: 3 nodes, ")


def test_the_one_topology_of_a_folder_is_taken(tmp_path):
    """Without FILE the folder's topology is meant; two of them are a question back."""
    (tmp_path / "topology.yaml").write_text(QUICKSTART.read_text())

    assert 0 == netlab("validate", state=tmp_path / "state", cwd=tmp_path).returncode

    (tmp_path / "other.netlab.yaml").write_text(QUICKSTART.read_text())
    result = netlab("validate", state=tmp_path / "state", cwd=tmp_path)

    assert 2 == result.returncode
    assert "topology.yaml, other.netlab.yaml" in result.stderr


def test_dry_run_creates_nothing(tmp_path):
    """`up --dry-run` lists the objects and leaves no trace."""
    result = netlab("up", "--dry-run", QUICKSTART, state=tmp_path / "state")

    assert 0 == result.returncode, result.stderr
    assert "deployment.apps/blue created (dry run)" in result.stdout
    assert not (tmp_path / "state").exists()


def test_nothing_heavy_is_imported_for_help():
    """`netlab --help` imports none of the libraries that take long."""
    heavy = ("scapy", "aiohttp", "pyroute2", "cryptography", "rich.table", "dns", "yaml")
    code = f"import sys, netlab.cli.main; print([name for name in {heavy!r} if name in sys.modules])"

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert "[]\n" == output


def test_table_aligns_columns():
    """Columns line up and survive a copy: spaces, no frame."""
    text = render.table("Nodes", ("NAME", "PODS"), [("node1", 4), ("n", 12)])

    assert "Nodes:\n  NAME   PODS\n  node1  4\n  n      12" == text


@pytest.mark.parametrize(("form", "text"), [(Format.JSON, '{\n  "a": [\n    1\n  ]\n}'), (Format.YAML, "a:\n- 1")])
def test_documents(form, text):
    """A document prints as JSON or YAML."""
    assert text == render.document({"a": [1]}, form)


def test_version_is_an_option_too(tmp_path):
    """Whoever types `netlab --version` is told."""
    assert netlab("version", state=tmp_path).stdout == netlab("--version", state=tmp_path).stdout


def test_help_names_the_program(tmp_path):
    """Usage begins with `netlab`, however Python was started."""
    assert netlab("up", "--help", state=tmp_path).stdout.startswith("Usage: netlab up ")


def test_down_of_one_and_all(tmp_path):
    """A name and --all together are a question back: nobody loses labs by a slip."""
    result = netlab("down", "--all", "demo", state=tmp_path / "state")

    assert 2 == result.returncode, result.stderr


def test_an_unexpected_refusal_of_the_machine_is_a_sentence(tmp_path):
    """What the operating system refuses is told without a traceback, exit code 4."""
    (tmp_path / "state").write_text("a file where the folder of records should be")
    result = netlab("up", QUICKSTART, state=tmp_path / "state")

    assert 4 == result.returncode, result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("called", "on_path", "sudo", "said"),
    [
        pytest.param("bin/netlab", True, False, "netlab", id="on the path"),
        pytest.param("bin/netlab", False, False, "bin/netlab", id="not on the path"),
        pytest.param("bin/netlab", False, True, "sudo bin/netlab", id="with sudo"),
        pytest.param("x/__main__.py", False, False, f"{sys.executable} -m netlab", id="as a module"),
    ],
)
def test_program(called, on_path, sudo, said, tmp_path, monkeypatch):
    """Commands are printed as the user called this one, so that they can be copied."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/netlab"
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin") if on_path else "/nowhere")
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo:
        monkeypatch.setenv("SUDO_USER", "ada")

    assert said == program()
