from __future__ import annotations

import stat
from pathlib import Path

import pytest

from netlab.api.resources import EVENTS, LEASES, NODES, PODS, SECRETS, SERVICES, Resource
from netlab.controlplane.auth import ANONYMOUS, Request, TokenTable, authorise, is_allowed
from netlab.errors import ApiError

MINE, THEIRS = {"spec": {"nodeName": "node1"}}, {"spec": {"nodeName": "node2"}}
NODE = "node:node1"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request("admin", "delete", SECRETS, "default", "s"), True),
        (Request(NODE, "list", SERVICES), True),
        (Request(NODE, "watch", PODS), True),
        (Request(NODE, "get", SECRETS, "default", "s"), False),
        (Request(NODE, "list", SECRETS), False),
        (Request(NODE, "create", PODS, "default", "p"), False),
        (Request(NODE, "update", NODES, name="node1"), True),
        (Request(NODE, "patch", NODES, name="node1", subresource="status"), True),
        (Request(NODE, "create", NODES, name="node1"), True),
        (Request(NODE, "delete", NODES, name="node1"), False),
        (Request(NODE, "patch", NODES, name="node10"), False),
        (Request(NODE, "patch", NODES, name="node2", subresource="status"), False),
        (Request(NODE, "update", LEASES, "kube-node-lease", "node1"), True),
        (Request(NODE, "create", LEASES, "kube-node-lease", "node1"), True),
        (Request(NODE, "update", LEASES, "kube-node-lease", "node2"), False),
        (Request(NODE, "update", LEASES, "kube-system", "node1"), False),
        (Request(NODE, "create", EVENTS, "default", "e"), True),
        (Request(NODE, "delete", EVENTS, "default", "e"), False),
        (Request(NODE, "patch", PODS, "default", "p", "status", MINE), True),
        (Request(NODE, "patch", PODS, "default", "p", "status", THEIRS), False),
        (Request(NODE, "patch", PODS, "default", "p", "status"), False),
        (Request(NODE, "patch", PODS, "default", "p", "", MINE), False),
        (Request(NODE, "update", SERVICES, "default", "s", "status"), False),
        (Request("edge", "list", NODES), True),
        (Request("edge", "list", SECRETS), False),
        (Request("edge", "update", LEASES, "kube-system", "netlab-edge"), True),
        (Request("edge", "update", LEASES, "kube-node-lease", "node1"), False),
        (Request("edge", "create", EVENTS, "default", "e"), True),
        (Request("edge", "patch", SERVICES, "default", "s", "status"), False),
        (Request(ANONYMOUS, "get", PODS, "default", "p"), False),
        (Request("stranger", "list", PODS), False),
    ],
)
def test_who_may_do_what(request_: Request, expected: bool) -> None:
    """Each user may do what its part of the lab needs, and nothing else."""
    assert expected == is_allowed(request_)


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "expected"),
    [
        (PODS, "default", "p", ('pods "p" is forbidden: User "node:node1" cannot delete resource "pods" in API group ""'
                               ' in the namespace "default"')),
        (NODES, "", "",
         'nodes is forbidden: User "node:node1" cannot delete resource "nodes" in API group "" at the cluster scope'),
    ],
)  # fmt: skip
def test_forbidden_words(resource: Resource, namespace: str, name: str, expected: str) -> None:
    """403 says who may not do what, in Kubernetes' words."""
    with pytest.raises(ApiError) as caught:
        authorise(Request(NODE, "delete", resource, namespace, name))

    assert (403, "Forbidden", expected) == (caught.value.code, caught.value.reason, caught.value.message)


def test_tokens_are_kept_in_private_files(tmp_path: Path) -> None:
    """A token is made once, 32 random bytes, readable by its owner only, and found again."""
    table = TokenTable.open(tmp_path / "tokens", ["admin", NODE])
    again = TokenTable.open(tmp_path / "tokens", ["admin", NODE])
    path = tmp_path / "tokens" / "node-node1"

    assert table.tokens == again.tokens
    assert table.tokens["admin"] != table.tokens[NODE]
    assert (43, 0o600) == (len(table.tokens[NODE]), stat.S_IMODE(path.stat().st_mode))
    assert table.tokens[NODE] == path.read_text()


def test_a_forgotten_token_is_worthless(tmp_path: Path) -> None:
    """The token of a node that left authenticates nobody."""
    table = TokenTable.open(tmp_path, [NODE])
    token = table.ensure(NODE)
    table.forget(NODE)
    with pytest.raises(ApiError, match="Unauthorized"):
        table.authenticate(f"Bearer {token}")

    assert not (tmp_path / "node-node1").exists()


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, ANONYMOUS), ("Bearer abc", "admin"), ("bearer abc", "admin"), ("Bearer abd", 401), ("Basic abc", 401),
     ("Bearer", 401), ("Bearer \udcff", 401)],
)  # fmt: skip
def test_authentication(header: str | None, expected: str | int) -> None:
    """A bearer token names its user; a wrong one is refused, none at all is anonymous."""
    table = TokenTable.of({"admin": "abc"})
    try:
        found: str | int = table.authenticate(header)
    except ApiError as error:
        found = error.code

    assert expected == found
