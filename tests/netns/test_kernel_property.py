"""From any state to any other in one pass, on the kernel and on its fake: what `diff` foresees is what the kernel does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netlab.dataplane.diff import diff
from netlab.dataplane.state import (
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    NamespaceState,
    Neighbour,
    Operation,
    Route,
    Verb,
    Veth,
    Vxlan,
)
from netlab.kernel.door import Kernel

pytestmark = pytest.mark.netns

NAME = f"/run/netns/nlt{secrets.token_hex(4)}"
NEAR, FAR = f"{NAME}-near", f"{NAME}-far"
names = st.sampled_from(["br0", "br1"])
macs = st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"])
bridges = st.builds(
    lambda name, mac, mtu, up: Link(name, Bridge(), mac=mac, mtu=mtu, up=up),
    names, macs, st.sampled_from([1500, 1600]), st.just(value=True),
)  # fmt: skip


@st.composite
def states(draw: Callable[..., object]) -> NamespaceState:
    """Draw a state that a namespace can have: bridges, ports, a VXLAN upon a bridge, entries on what is there."""
    links: list[Link] = list(draw(st.lists(bridges, unique_by=lambda link: link.name, max_size=2)))  # type: ignore[call-overload]
    for index in range(draw(st.integers(0, 2)) if links else 0):  # type: ignore[call-overload]
        master = draw(st.sampled_from(["", *(link.name for link in links if isinstance(link.kind, Bridge))]))
        hairpin = draw(st.booleans()) if master else None
        links.append(Link(f"veth{index}", Veth(f"far{index}", FAR), master=str(master), hairpin=hairpin))  # type: ignore[arg-type]
    if links and draw(st.booleans()):
        kind = Vxlan(draw(st.sampled_from([1, 2])), 8472, "10.0.0.1", links[0].name)  # type: ignore[arg-type]
        links.append(Link("flannel.1", kind, mac=draw(macs), mtu=1450))  # type: ignore[arg-type]
    devices = [link.name for link in links] or ["lo"]
    device = st.sampled_from(devices)
    entries = {
        "addresses": st.builds(Address, device, st.sampled_from(["10.0.0.1/24", "10.0.0.2/24", "10.1.0.0/32"])),
        "routes": st.builds(Route, st.sampled_from(["10.9.0.0/16", "10.8.0.0/16"]), device),
        "neighbours": st.builds(Neighbour, device, st.sampled_from(["10.1.0.0", "10.2.0.0"]), macs),
        "forwarding": st.builds(ForwardingEntry, st.just("flannel.1"), macs, st.sampled_from(["10.0.0.1", "10.0.0.2"])),
    }
    keys: dict[str, Callable[..., object]] = {
        "addresses": lambda a: a,
        "routes": lambda r: r.destination,
        "neighbours": lambda n: (n.device, n.address),
        "forwarding": lambda e: (e.device, e.mac),
    }
    drawn = {kind: tuple(draw(st.lists(entries[kind], unique_by=keys[kind], max_size=3))) for kind in entries}  # type: ignore[call-overload]
    if "flannel.1" not in devices:
        drawn["forwarding"] = ()
    if not links:
        drawn["neighbours"] = ()  # `lo` does no ARP
    return NamespaceState(links=tuple(links), **drawn)


def owns(name: str) -> bool:
    return name != "lo"


@contextmanager
def fresh_namespaces(kernel: Kernel) -> Iterator[None]:
    kernel.create_namespaces([NEAR, FAR])
    try:
        yield
    finally:
        kernel.delete_namespaces([NEAR, FAR])


@given(first=states(), second=states())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_state_follows_any_other_in_one_pass(kernel: Kernel, first: NamespaceState, second: NamespaceState):
    """After one pass there is nothing left to do, whatever was there before (principle 4)."""
    with fresh_namespaces(kernel):
        for state in (first, second):
            kernel.perform(NEAR, diff(state, kernel.observe(NEAR), owns))
        left = diff(second, kernel.observe(NEAR), owns)

    assert () == left


@given(state=states())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flushed_routes_come_back_in_one_pass(kernel: Kernel, state: NamespaceState):
    """`ip route flush table main`: connected routes, too, are as before after one pass."""
    with fresh_namespaces(kernel):
        kernel.perform(NEAR, diff(state, kernel.observe(NEAR), owns))
        before = kernel.observe(NEAR)
        flushed = (*before.routes, *(before.connected or ()))
        kernel.perform(NEAR, [Operation(Verb.DELETE, route) for route in flushed])
        kernel.perform(NEAR, diff(state, kernel.observe(NEAR), owns))
        after = kernel.observe(NEAR)

    assert set(before.connected or ()) == set(after.connected or ())
    assert set(before.routes) == set(after.routes)
