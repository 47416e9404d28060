"""What agents and edge leave out: told in their Lease, in few short lines, and shown by `status`."""

from __future__ import annotations

import json
import logging

from netlab.api.coordination import Lease
from netlab.api.meta import ObjectMeta
from netlab.cli import render
from netlab.controlplane.left_out import LONGEST_TOLD, MOST_TOLD, LeftOut, told_problems
from netlab.errors import InvalidValueError, KernelError

log = logging.getLogger("netlab.test")
BODY = {"name": "l", "running": True, "runtime": "netns", "kubeProxyMode": "nftables"}
BODY |= {"hosts": [], "nodes": [], "pods": [], "services": [], "edge": {"status": "Ready", "message": ""}}


def lease(namespace: str, name: str, **problems: list[str]) -> tuple[str, Lease]:
    meta = ObjectMeta(namespace=namespace, name=name, annotations={"netlab/problems": json.dumps(problems)})
    return f"{namespace}/{name}", Lease(metadata=meta)


def test_a_lease_stays_small():
    """However many objects are bad and however long their texts: an object must not fill a Lease."""
    left_out = LeftOut(log)
    left_out.report("rules", {f"service ns/s{n:04}": InvalidValueError("x" * 5000) for n in range(1000)})
    left_out.report("overlay", {"": KernelError("refused")})
    left_out.report("dns", {})
    problems = left_out.problems

    assert {"overlay": ["refused"], "rules": problems["rules"]} == problems
    assert (MOST_TOLD + 1, "and 992 more") == (len(problems["rules"]), problems["rules"][-1])
    assert LONGEST_TOLD == max(map(len, problems["rules"]))


def test_an_unexpected_error_is_logged_with_its_place(caplog):
    """A bad value takes one line; an error that nobody thought of has its traceback."""
    caplog.set_level(logging.WARNING)
    LeftOut(log).report("rules", {"service a/b": InvalidValueError("bad."), "service a/c": RecursionError()})

    assert [False, True] == [record.exc_info is not None for record in caplog.records]


def test_holders_are_named():
    """Agents by node, and the edge; a node without a Lease has nothing to tell."""
    leases = dict([
        lease("kube-node-lease", "node1", overlay=["refused"]),
        lease("kube-node-lease", "node2"),
        lease("kube-node-lease", "gone", dns=["x"]),
        lease("kube-system", "netlab-edge", rules=["service a/b: bad."]),
    ])  # fmt: skip

    assert ["agent of node1: overlay: refused", "edge: rules: service a/b: bad."] == list(
        told_problems(leases, ["node1", "node2", "node3"])
    )


def test_status_shows_problems():
    """`status` ends with them, and has no such section when there are none."""
    told = render.status({**BODY, "problems": ["agent of node1: overlay: refused"]})

    assert told.endswith("Problems:\n  agent of node1: overlay: refused")
    assert "Problems" not in render.status({**BODY, "problems": []})
