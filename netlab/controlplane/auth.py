"""Authentication and authorization: bearer tokens name a user, a pure function decides.

    admin           everything: the command line, kubectl, the daemon itself
    node:<name>     reads every kind but Secrets; writes its own Node (and its status), its own Lease
                    kube-node-lease/<name>, Events, and the status of pods bound to it
    edge            reads every kind but Secrets; writes its Lease kube-system/netlab-edge and Events

Reading a Lease, a Node or a Pod of another identity is allowed: that is how the parts of a lab find each other. A token
is 32 random bytes in a file of mode 0600, named after the user with `-` for `:` (`tokens/node-node1`); it is compared in
constant time with every known one, so that an answer's delay reveals nothing.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netlab.api.resources import EVENTS, LEASES, NODES, PODS, SECRETS, Json
from netlab.api.wellknown import EDGE_LEASE, node_lease, split_key
from netlab.controlplane.status import AnyResource, forbidden, unauthorized
from netlab.files import PRIVATE, write_whole

ADMIN = "admin"
EDGE = "edge"
ANONYMOUS = "system:anonymous"
NODE_PREFIX = "node:"
TOKEN_BYTES = 32
TOKEN = re.compile(rb"[A-Za-z0-9_-]{43}")  # what `secrets.token_urlsafe` makes of them
READ_VERBS = frozenset({"get", "list", "watch"})
WRITE_VERBS = frozenset({"create", "update", "patch"})


def node_user(node: str) -> str:
    """Return the user name of a node's agent."""
    return f"{NODE_PREFIX}{node}"


def token_file(user: str) -> str:
    """Return the name of a user's token file in the lab's `tokens` folder."""
    return user.replace(":", "-")


@dataclass(frozen=True)
class Request:
    """What a user wants to do. `name` is that of the object, also for a create; `stored` the object as it is, if any."""

    user: str
    verb: str
    resource: AnyResource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    stored: Json | None = field(default=None, compare=False)


def _reads(request: Request) -> bool:
    return request.verb in READ_VERBS and request.resource is not SECRETS


def _owns_lease(request: Request, key: str) -> bool:
    return request.resource is LEASES and (request.namespace, request.name) == split_key(key)


def _edge_writes(request: Request) -> bool:
    return request.resource is EVENTS or _owns_lease(request, EDGE_LEASE)


def _node_writes(request: Request) -> bool:
    node = request.user.removeprefix(NODE_PREFIX)
    if request.resource is NODES:
        return request.name == node and request.subresource in {"", "status"}
    if request.resource is PODS and request.subresource == "status":
        return request.stored is not None and request.stored.get("spec", {}).get("nodeName") == node
    return request.resource is EVENTS or _owns_lease(request, node_lease(node))


def is_allowed(request: Request) -> bool:
    """Decide whether a request may go ahead."""
    if request.user == ADMIN:
        return True
    writes: Callable[[Request], bool]
    if request.user == EDGE:
        writes = _edge_writes
    elif request.user.startswith(NODE_PREFIX):
        writes = _node_writes
    else:
        return False
    return _reads(request) or (request.verb in WRITE_VERBS and writes(request))


def authorise(request: Request) -> None:
    """Raise 403 Forbidden, in Kubernetes' words, unless the request is allowed."""
    if is_allowed(request):
        return
    resource = request.resource
    plural = f"{resource.plural}/{request.subresource}" if request.subresource else resource.plural
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    why = f'User "{request.user}" cannot {request.verb} resource "{plural}" in API group "{resource.group}" {where}'
    raise forbidden(resource, request.name, why)


def is_token(path: Path) -> bool:
    """Return whether a file holds a token as `TokenTable.ensure` writes it, whole."""
    try:
        return bool(TOKEN.fullmatch(path.read_bytes()))
    except (FileNotFoundError, IsADirectoryError):
        return False


@dataclass
class TokenTable:
    """The tokens of users. `folder` is where new ones are written; without it they live in memory only (tests)."""

    tokens: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    @classmethod
    def open(cls, folder: Path, users: Iterable[str] = ()) -> TokenTable:
        """Read the tokens of these users, making those that are missing."""
        table = cls(folder=folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for user in users:
            table.ensure(user)
        return table

    @classmethod
    def of(cls, tokens: Mapping[str, str]) -> TokenTable:
        """Return a table of the given user -> token pairs, in memory."""
        return cls(dict(tokens))

    def path(self, user: str) -> Path | None:
        """Return the file of a user's token."""
        return self.folder / token_file(user) if self.folder else None

    def ensure(self, user: str) -> str:
        """Return a user's token: the one known, the one in its file, or a new one. A damaged file is written again."""
        path = self.path(user)
        is_whole = path is not None and is_token(path)
        token = self.tokens.get(user) or (path.read_text(encoding="ascii") if path and is_whole else "")
        token = token or secrets.token_urlsafe(TOKEN_BYTES)
        if path and not is_whole:
            write_whole(path, token, mode=PRIVATE)
        self.tokens[user] = token
        return token

    def forget(self, user: str) -> None:
        """Revoke a user's token (its node left the lab)."""
        self.tokens.pop(user, None)
        if path := self.path(user):
            path.unlink(missing_ok=True)

    def authenticate(self, authorization: str | None) -> str:
        """Return the user that an Authorization header names; 401 for a wrong one, system:anonymous for none."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        found = ""
        for user, known in self.tokens.items():
            if hmac.compare_digest(known.encode(), given):
                found = user
        if scheme.lower() != "bearer" or not found:
            raise unauthorized()
        return found
