"""The Vagrantfile, as Vagrant reads it. What its provisioning script makes is booted in test_provisioned.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

VAGRANTFILE = Path(__file__).parents[2] / "Vagrantfile"
# All that Vagrant asks VirtualBox for before it looks at our settings of it; Vagrant 2.3 knows up to 7.0.
VIRTUALBOX = "#!/bin/sh\necho 7.0.20r163906\n"
TIME_LIMIT = 300  # seconds; the machine of the other tests may be in the making


@pytest.fixture
def validate(tmp_path, cannot_run):
    """Return a function that has Vagrant validate a text as a Vagrantfile, with or without a VirtualBox."""
    if shutil.which("vagrant") is None:
        cannot_run("no vagrant here: tools/test-tools installs it where the distribution has it, as Debian 12 does")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "VBoxManage").write_text(VIRTUALBOX)
    (programs / "VBoxManage").chmod(0o755)

    def validate(text, *options):
        (tmp_path / "Vagrantfile").write_text(text)
        environment = {**os.environ, "VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_CHECKPOINT_DISABLE": "1"}
        if not options:
            environment["PATH"] = f"{programs}:{environment['PATH']}"
        return subprocess.run(
            ["vagrant", "validate", *options],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False,
        )  # fmt: skip

    return validate


@pytest.mark.parametrize("options", [["--ignore-provider"], []], ids=["without a provider", "VirtualBox"])
def test_valid(validate, options):
    """Vagrant accepts every setting, those of VirtualBox included."""
    result = validate(VAGRANTFILE.read_text(), *options)

    assert 0 == result.returncode, result.stdout + result.stderr
    assert "validated successfully" in result.stdout


@pytest.mark.parametrize("setting", ["vm.box =", "vm.post_up_message =", "machine.memory ="])
def test_the_check_sees_mistakes(validate, setting):
    """A setting with a letter too many is refused: what was accepted above was looked at."""
    result = validate(VAGRANTFILE.read_text().replace(setting, setting.replace(" =", "x =")))

    assert 0 != result.returncode
    assert "shouldn't exist" in result.stdout + result.stderr


def test_no_port_is_opened():
    """The machine forwards nothing and joins no network of the computer's."""
    assert [] == re.findall(r"forwarded_port|public_network|private_network", VAGRANTFILE.read_text())


def test_the_provisioning_script_is_the_proven_one():
    """The machine runs the script that tests/vm/guest/provision runs."""
    assert ["sh /vagrant/tools/provision"] == re.findall(r'provision "shell", inline: "(.*)"', VAGRANTFILE.read_text())
