"""One suite, two runtimes: every topology passes the same checks, with the same outcomes, on containers and on namespaces."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
import yaml
from labdriver import TOPOLOGIES

from netlab.hosts.docker_network import holders
from netlab.kernel import namespaces
from netlab.kernel.linux import LinuxKernel

LESSONS = sorted(path.name for path in TOPOLOGIES.glob("*.yaml"))
SAME = ("path", "source", "target", "protocol", "action", "expected", "expectedBackends", "expectedSources", "expectedAnswers",
        "expectedEnd", "actual", "verdict")  # fmt: skip
DEFAULT, OTHERS = "172.30.", [f"10.{second}." for second in range(200, 240)]  # which no lab takes by itself


@pytest.fixture(scope="module")
def subnet(docker_engine):
    """The beginning of a /16 that nobody on this machine has: of two labs that begin at once both would find the default free."""
    taken = [network for network, _ in holders(docker_engine.networks({}), LinuxKernel().observe(namespaces.OWN))]
    return next(begins for begins in OTHERS if not any(network.overlaps(range_of(begins)) for network in taken))


def range_of(begins):
    return IPv4Network(f"{begins}0.0/16")


@pytest.fixture(params=LESSONS)
def topology(request, tmp_path, subnet):
    """A topology whose nodes, and what refers to them, are in that subnet."""
    documents = list(yaml.safe_load_all((TOPOLOGIES / request.param).read_text().replace(DEFAULT, subnet)))
    documents[0]["spec"]["networking"] = {"nodeSubnet": str(range_of(subnet))}
    copy = tmp_path / request.param
    copy.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return copy


def test_the_same_record(lab, topology):
    """Up, test, down on both: what was checked and what came of it is the same, to the addresses of pods and nodes."""
    records = {}
    for runtime in ("netns", "docker"):
        lab.up(topology, "--runtime", runtime)
        records[runtime] = outcomes(lab.test())
        lab.down()

    assert records["netns"] == records["docker"]
    assert {"pass"} == {check["verdict"] for check, _ in records["docker"].values()}


def outcomes(record):
    """Return what must be the same, by check."""
    return {check["id"]: ({key: check.get(key) for key in SAME}, sources(check)) for check in record["checks"]}


def sources(check):
    """Return the sources that the server saw, where just one is possible: which of several backends answer is chance."""
    possible = {source for several in check.get("expectedSources", {}).values() for source in several}
    return check.get("sourcesSeen") if len(possible) == 1 else "chance"
