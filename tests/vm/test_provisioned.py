"""What `vagrant up` gives: a machine made by the Vagrantfile's own provisioning script, with Debian's kernel."""

from __future__ import annotations

import pytest
from story import STORY


@pytest.mark.parametrize("step", STORY, ids=lambda step: step.name)
def test_story(told, step):
    """The step succeeded, and said what it should."""
    done = told(step)

    assert 0 == done.code, done.output
    assert step.words in done.output
