from __future__ import annotations

import errno
import logging

import pytest

from netlab.errors import KernelError
from netlab.kernel.fake import FakeKernel
from netlab.kernel.tables import TableKeeper
from netlab.netfilter.ruleset import Chain, Fragment, Ruleset, Set

PATH = "/run/netns/a"
BROKEN = "flush chain ip {table} filter"
TRACE = "add table ip trace\nadd chain ip trace prerouting"


def table(name: str, *rules: str) -> Ruleset:
    return Ruleset.of("ip", name, Fragment.of((Chain("filter", rules),)))


ONE, TWO = table("one", "accept"), table("two", "drop")


class CountingKernel(FakeKernel):
    """Counts how often a table is looked at."""

    looks = 0

    def nft_list(self, path, family, table):
        self.looks += 1
        return super().nft_list(path, family, table)


@pytest.fixture
def kernel():
    made = CountingKernel()
    made.create_namespaces([PATH])
    return made


@pytest.fixture
def keeper(kernel):
    return TableKeeper(kernel, PATH)


def rules(kernel, name: str) -> tuple[str, ...] | None:
    return kernel.nft_list(PATH, "ip", name).chains.get("filter")


def test_a_new_namespace_takes_one_transaction(kernel, keeper):
    """Where nobody has written a rule nothing is looked at, and all tables come at once; then nothing is left to do."""
    written = [keeper.keep(ONE, TWO), keeper.keep(ONE, TWO), keeper.keep(ONE, TWO, resync=True)]

    assert ([True, False, False], 1, 0) == (written, len(kernel.scripts), kernel.looks)
    assert (("accept",), ("drop",)) == (rules(kernel, "one"), rules(kernel, "two"))


@pytest.mark.parametrize("broken", ["one", "two"])
def test_a_resync_looks_at_every_table(kernel, keeper, broken: str, caplog):
    """What a stranger did to any of the tables is repaired at the next resync and told, and not before."""
    caplog.set_level(logging.WARNING)
    keeper.keep(ONE, TWO)
    kernel.nft(PATH, BROKEN.format(table=broken))
    written = [keeper.keep(ONE, TWO), keeper.keep(ONE, TWO, resync=True), keeper.keep(ONE, TWO, resync=True)]

    assert [False, True, False] == written
    assert (("accept",), ("drop",)) == (rules(kernel, "one"), rules(kernel, "two"))
    assert [f"table=ip/{broken} state=repaired"] == caplog.messages


UNKNOWN = [
    pytest.param(lambda _: None, False, id="nobody did anything"),
    pytest.param(lambda kernel: kernel.nft(PATH, BROKEN.format(table="two")), True, id="a stranger's rules"),
    pytest.param(
        lambda kernel: kernel.nft(PATH, "add chain ip two x\ndelete chain ip two x"), False, id="a stranger's rules, gone again"
    ),
    pytest.param(lambda kernel: kernel.nft(PATH, TRACE), False, id="a stranger's own table, as for `nft monitor trace`"),
    pytest.param(lambda kernel: kernel.nft(PATH, BROKEN.format(table="one")), False, id="the other table"),
    pytest.param(lambda kernel: kernel.nft(PATH, "delete table ip two"), True, id="the table deleted"),
    pytest.param(lambda kernel: kernel.nft(PATH, "add chain ip two x"), True, id="a chain more"),
]


@pytest.mark.parametrize(("meddle", "expected"), UNKNOWN)
def test_what_rules_packets_met_may_be_unknown(kernel, keeper, meddle, expected: bool):
    """Of a new namespace and of one's own rules it is known; not of a table that is found to differ from what was written."""
    known = []
    for resync in (False, False, True, True):
        if resync and len(known) == 2:
            meddle(kernel)
        keeper.keep(ONE, TWO, resync=resync)
        known.append(keeper.was_unknown("ip", "two"))

    assert [False, False, expected, False] == known


@pytest.mark.parametrize(("script", "expected"), [(TRACE, False), (BROKEN.format(table="two"), True)])
def test_a_change_of_objects_is_no_damage(kernel, keeper, script: str, expected: bool):
    """What is wanted may change between a stranger's commit and the look: a table is compared with what was written."""
    keeper.keep(ONE, TWO)
    kernel.nft(PATH, script)
    keeper.keep(ONE, table("two", "accept"), resync=True)

    assert (("accept",), expected) == (rules(kernel, "two"), keeper.was_unknown("ip", "two"))
    looks = kernel.looks
    keeper.keep(ONE, table("two", "accept"), resync=True)
    assert looks == kernel.looks  # all commits were counted, so nothing is to be looked at


def test_a_change_hides_no_damage(kernel, keeper):
    """A write of ours between a stranger's and the resync does not make the ruleset known."""
    keeper.keep(ONE, TWO)
    kernel.nft(PATH, BROKEN.format(table="two"))
    keeper.keep(table("one", "drop"), TWO)
    keeper.keep(table("one", "drop"), TWO, resync=True)

    assert (("drop",), ("drop",)) == (rules(kernel, "one"), rules(kernel, "two"))


def test_another_process_adopts(kernel, keeper):
    """A process that remembers nothing writes the difference to what it finds, and knows that it was alone since."""
    keeper.keep(ONE, TWO)
    successor = TableKeeper(kernel, PATH)
    written, unknown = [], []
    for resync in (False, True):
        written.append(successor.keep(ONE, table("two", "accept"), resync=resync))
        unknown.append(successor.was_unknown("ip", "one"))

    assert ([True, False], 2) == (written, kernel.looks)
    assert [True, False] == unknown  # the first time it had met no rule of its own, though the table is as it should be
    assert (("accept",), ("accept",)) == (rules(kernel, "one"), rules(kernel, "two"))


def test_after_a_refusal_nothing_is_known(kernel, keeper, monkeypatch):
    """When a transaction is refused none of it holds, and the next call looks at what is there."""
    keeper.keep(ONE, TWO)
    with monkeypatch.context() as patched:
        patched.setattr(kernel, "nft", refuse)
        with pytest.raises(KernelError):
            keeper.keep(table("one", "drop"), table("two", "accept"))
    refused = rules(kernel, "one")
    kernel.nft(PATH, BROKEN.format(table="one"))
    keeper.keep(ONE, TWO)

    assert (("accept",), ("accept",)) == (refused, rules(kernel, "one"))


def refuse(*_: object) -> None:
    raise KernelError("no memory", errno=errno.ENOMEM)


def chain(name: str, *rules: str, **elements: dict[str, str]) -> Fragment:
    return Fragment.of((Chain(name, rules),), elements=elements)


def services(**fragments: Fragment) -> Ruleset:
    """A table with a frame, a map for all, and fragments by name."""
    frame = Fragment.of((Chain("frame", ("accept",)),), (Set("m", "ipv4_addr : verdict"),))
    return Ruleset("ip", "t", {"": frame, **fragments})


A, B, C = (chain(name, "drop", m={f"10.0.0.{number}": f"goto {name}"}) for number, name in enumerate("abc", 1))
BAD = [
    pytest.param(chain("b", "jump nowhere"), "No such file", id="a chain that is not there"),
    pytest.param(chain("b", "drop\nflush ruleset"), "cannot stand", id="a second command (B1)"),
    pytest.param(chain("b", "drop", m={"10.0.0.9 }\nflush ruleset": ""}), "cannot stand", id="an address that ends (B1)"),
    pytest.param(chain("b" * 256), "cannot stand", id="a name too long"),
]


@pytest.mark.parametrize(("bad", "why"), BAD)
@pytest.mark.parametrize("before", [None, services(a=A, b=B)])
def test_a_bad_fragment_fails_alone(kernel, keeper, bad: Fragment, why: str, before: Ruleset | None):
    """The others of its table and the other tables are written; it is told, and taken in when it is right again."""
    if before:
        keeper.keep(before, ONE)
    keeper.keep(services(a=A, b=bad, c=C), TWO)
    refused = dict(keeper.refused("ip", "t"))
    chains = set(kernel.nft_list(PATH, "ip", "t").chains)
    settled = keeper.keep(services(a=A, b=bad, c=C), TWO)
    keeper.keep(services(a=A, b=B, c=C), TWO)

    assert ({"b"}, {"frame", "a", "c"}, ("drop",)) == (set(refused), chains, rules(kernel, "two"))
    assert why in str(refused["b"])
    assert not settled
    assert ({"frame", "a", "b", "c"}, {}) == (set(kernel.nft_list(PATH, "ip", "t").chains), dict(keeper.refused("ip", "t")))


def test_a_refused_fragment_is_tried_again_in_time(kernel):
    """What the kernel refused it may take later; it is not asked every second (rate-limited as a work queue)."""
    now = [0.0]
    keeper = TableKeeper(kernel, PATH, lambda: now[0])
    bad = services(a=A, b=chain("b", "jump nowhere"))
    keeper.keep(bad)
    generation = kernel.nft_generation(PATH)
    keeper.keep(bad)
    quiet = kernel.nft_generation(PATH)
    now[0] = 100.0
    keeper.keep(bad)

    assert generation == quiet < kernel.nft_generation(PATH)


def test_a_name_made_past_nft_does_not_reach_a_script(kernel, keeper):
    """A chain whose name holds a command (netlink takes any name) is removed with its table, which is made anew."""
    keeper.keep(services(a=A))
    kernel.nft(PATH, "add chain ip t x;flush-ruleset")
    keeper.keep(services(a=A), resync=True)

    assert {"frame", "a"} == set(kernel.nft_list(PATH, "ip", "t").chains)
    assert not any(";flush" in script for _, script in kernel.scripts[2:])
