"""The kernel accepts the tables of IPv6."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from familytables import TABLES

from netlab.kernel.linux import LinuxKernel
from netlab.kernel.tables import canonical
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import render
from netlab.probe.judge.hints_rules import differences

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("ruleset", TABLES, ids=lambda ruleset: ruleset.table)
def test_kernel_holds_the_ipv6_table(linux: LinuxKernel, make_namespace: Callable[[str], str], ruleset: Ruleset) -> None:
    """Nft loads the table, and what it lists is what was meant."""
    path = make_namespace("node")
    linux.nft(path, render(ruleset))
    with linux.scratch() as scratch:
        wanted = canonical(linux, scratch, ruleset)

    assert () == differences(linux.nft_list(path, "ip6", ruleset.table), wanted, ruleset)
