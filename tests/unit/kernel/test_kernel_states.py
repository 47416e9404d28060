"""A part's links and routes, kept in a namespace whose kernel refuses some of them."""

from __future__ import annotations

import errno

from netlab.dataplane.owned import OwnedState, on_devices
from netlab.dataplane.state import Address, Link, NamespaceState, Operation, Route, Verb, Veth
from netlab.errors import KernelError
from netlab.kernel.fake import FakeKernel
from netlab.kernel.states import StateKeeper

PATH = "/run/netns/a"
FRAGMENTS = {
    name: NamespaceState(routes=(Route(f"10.{number}.0.0/16", "eth0", "10.0.0.9"),))
    for number, name in enumerate(("one", "two"), 1)
}
BASE = NamespaceState(links=(Link("eth0"),), addresses=(Address("eth0", "10.0.0.1/24"),))
WANTED = OwnedState(BASE, FRAGMENTS, on_devices(["eth0"], []))


class Refusing(FakeKernel):
    """Refuses the route of the second fragment while `refuses` is set."""

    refuses = True

    def perform(self, path, operations):
        refused = [o for o in operations if o.verb is Verb.SET and o.item in FRAGMENTS["two"].routes]
        if self.refuses and refused:
            raise KernelError(f"The kernel refused `{refused[0]}`.", errno=errno.EINVAL)
        super().perform(path, operations)


def test_a_refused_fragment_is_tried_again_though_nothing_changes():
    """After its delay the next `keep` performs it, also one that is no resync."""
    kernel, now = Refusing(), [0.0]
    kernel.create_namespaces([PATH, "/run/netns/b"])
    kernel.perform(PATH, [Operation(Verb.ADD, Link("eth0", Veth("far", "/run/netns/b")))])
    keeper = StateKeeper(kernel, PATH, "test", lambda: now[0])
    keeper.keep(WANTED)
    without, refused = kernel.observe(PATH).routes, list(keeper.refused)
    kernel.refuses = False
    now[0] = 100.0
    keeper.keep(WANTED)

    assert (FRAGMENTS["one"].routes, ["two"]) == (without, refused)
    assert {*FRAGMENTS["one"].routes, *FRAGMENTS["two"].routes} == set(kernel.observe(PATH).routes)
    assert {} == keeper.refused
