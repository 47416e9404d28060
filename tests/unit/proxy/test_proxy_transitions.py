from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_builders import CONFIG, LOCAL, NODE, REMOTE, endpoint, going, service, slice_of

from netlab.api.services import ServicePort
from netlab.family import Family
from netlab.kernel.fake import FakeKernel
from netlab.netfilter.repair import repair
from netlab.netfilter.script import contents, transaction
from netlab.proxy.nftables import NftablesCompiler
from netlab.proxy.servicemap import ServiceTracker

PATH = "/run/netns/node"
NAMES = ("a", "b", "c")
POLICIES = st.sampled_from(["Cluster", "Local"])
ENDPOINTS = st.lists(
    st.sampled_from([endpoint(LOCAL), endpoint(REMOTE), going("10.244.1.6"), endpoint("10.244.2.6", ready=False)]), max_size=4
)


@st.composite
def services(draw: st.DrawFn, name: str) -> object:
    """A Service of any type and policy, or one that is not proxied."""
    number = NAMES.index(name)
    spec = {
        "type": draw(st.sampled_from(["ClusterIP", "LoadBalancer", "ExternalName"])),
        "cluster_ip": draw(st.sampled_from([f"10.96.0.{number}", "10.96.1.1", "None"])),
        "external_ips": draw(st.sampled_from([(), ("192.0.2.1",), ("10.96.1.1",)])),
        "external_traffic_policy": draw(POLICIES),
        "internal_traffic_policy": draw(POLICIES),
        "ports": (ServicePort(port=80, name="http", node_port=30000 + number // 2), ServicePort(port=443, name="https")),
        "session_affinity": draw(st.sampled_from(["None", "ClientIP"])),
        "load_balancer_source_ranges": draw(st.sampled_from([(), ("203.0.113.0/24",)])),
    }
    return service(name=name, lb=draw(st.sampled_from(["", f"198.51.100.{number}"])), **spec)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, object, object]:
    name = draw(st.sampled_from(NAMES))
    piece = slice_of(*draw(ENDPOINTS), name=f"{name}-1", service=name)
    return name, draw(st.none() | services(name)), draw(st.none() | st.just(piece))


@settings(max_examples=150, deadline=None)
@given(st.lists(changes(), min_size=1, max_size=8))
def test_any_history_ends_in_the_table_of_its_end(history: list) -> None:
    """Whatever came and went, the table is the one that a fresh start would make, and repair finds nothing to do."""
    kernel, tracker, compiler = (
        FakeKernel(),
        ServiceTracker(NODE, Family.IPV4),
        NftablesCompiler(CONFIG),
    )
    kernel.create_namespaces([PATH])
    ruleset = None
    for name, now, piece in history:
        tracker.set_service(f"ns/{name}", now)
        tracker.set_slice(f"ns/{name}-1", piece)
        old, ruleset = ruleset, compiler.compile(tracker.current())
        kernel.nft(PATH, transaction(old, ruleset))
    listed = kernel.nft_list(PATH, "ip", "kube-proxy")
    canonical = kernel.nft_canonical(PATH, contents(replace(ruleset, table="draft")), "ip", "draft")

    assert canonical == listed
    assert repair(listed, canonical, ruleset) == ""
