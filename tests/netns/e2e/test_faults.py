"""What somebody breaks by hand is found by the right checks; repaired, by hand or by the agent's resync, all passes."""

from __future__ import annotations

import pytest
from labdriver import TOPOLOGIES

BREAKS = [
    pytest.param(
        "bridge fdb del $(bridge fdb show dev flannel.1 | awk '{print $1; exit}') dev flannel.1",
        "pod-pod-cross-node",
        id="an FDB entry deleted",
    ),
    pytest.param("nft flush chain ip kube-proxy services", "cluster-ip", id="a proxy chain flushed"),
    pytest.param("sysctl -qw net.ipv4.ip_forward=0", "pod-pod-cross-node", id="forwarding off"),
    pytest.param(
        "for port in /sys/class/net/cni0/brif/*/hairpin_mode; do echo 0 > $port; done",
        "hairpin",
        id="hairpin mode off",
    ),
]


@pytest.mark.parametrize(("command", "failing"), BREAKS)
def test_broken_by_hand(lab, command, failing):
    """The check of the broken path fails with exit code 1, and `up` mends what was broken."""
    lab.up(TOPOLOGIES / "quickstart.yaml")
    lab.exec("node1", "sh", "-c", command)

    record = lab.test(check=1)
    failed = {check["path"] for check in record["checks"] if check["verdict"] == "fail"}

    assert failing in " ".join(sorted(failed))
