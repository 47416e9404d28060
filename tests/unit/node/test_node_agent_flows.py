"""Which flows the agent forgets with the rules that translated them, with a kernel in memory."""

from __future__ import annotations

import pytest

from netlab.api.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from netlab.api.lab import Lab
from netlab.api.meta import ObjectMeta
from netlab.api.resources import ENDPOINT_SLICES, SERVICES
from netlab.dataplane.flows import Flow
from netlab.family import Family
from netlab.kernel.fake import FakeKernel
from netlab.node.agent.parts import PartsKeeper
from netlab.plane import ServiceProxy, View
from netlab.proxy.servicemap import build

PATH = "/run/netns/a"
NODE = Node(
    metadata=ObjectMeta(name="node1"),
    spec=NodeSpec(pod_cidr="10.244.1.0/24"),
    status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address="172.30.1.1"),)),
)
RIGHT, WRONG = Flow("udp", "10.96.0.1", 53, "10.244.1.5"), Flow("udp", "10.96.0.1", 53, "10.244.1.77")
STRANGERS = [Flow("udp", "203.0.113.9", 53, "203.0.113.9"), Flow("tcp", "10.96.0.1", 53, "10.244.1.5")]


def services(*endpoints: str):
    """One Service with a UDP port."""
    name = {"name": "dns", "namespace": "ns"}
    port = {"name": "dns", "port": 53, "protocol": "UDP"}
    labels = {"kubernetes.io/service-name": "dns"}
    members = [{"addresses": [address], "nodeName": "node1"} for address in endpoints]
    made = SERVICES.decode({"metadata": name, "spec": {"clusterIP": "10.96.0.1", "ports": [port]}})
    offered = {"metadata": {**name, "labels": labels}, "ports": [{**port, "port": 5353}], "endpoints": members}
    return build([made], [ENDPOINT_SLICES.decode(offered)], NODE, Family.IPV4)


BOTH, ONE = services("10.244.1.5", "10.244.1.77"), services("10.244.1.5")
STORIES = [
    pytest.param("", BOTH, BOTH, [RIGHT, WRONG], id="nothing happened"),
    pytest.param("", BOTH, ONE, [RIGHT], id="an endpoint is gone"),
    pytest.param("flush chain ip kube-proxy services", ONE, ONE, [], id="somebody changed rules"),
    pytest.param("flush chain ip kube-proxy services", BOTH, ONE, [], id="somebody changed rules, an endpoint is gone"),
]


@pytest.mark.parametrize(("script", "before", "after", "left"), STORIES)
def test_flows_that_went_by_other_rules(script, before, after, left):
    """They are forgotten with the rules; what is no UDP flow to a Service is left alone (semantics 6.18)."""
    kernel = FakeKernel()
    kernel.create_namespaces([PATH])
    keeper = PartsKeeper(kernel, PATH, [ServiceProxy(Lab(), Family.IPV4)])
    keeper.keep(View(NODE, services=before))
    kernel.flows[PATH] = [RIGHT, WRONG, *STRANGERS]
    kernel.nft(PATH, script)
    keeper.keep(View(NODE, services=after), resync=True)

    assert [*left, *STRANGERS] == kernel.flows[PATH]
