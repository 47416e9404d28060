"""Lists: selection, and pages that stay correct while the cluster changes.

A page's `continue` token holds the list's resourceVersion and the last key sent. Later pages show the objects as they
are then, under the first page's resourceVersion: a client that watches from there sees every later change (again), so the sum of
pages and watch is right. When the history no longer reaches back that far, 410 Expired sends the client to a fresh list.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from netlab.controlplane.bounds import read_json
from netlab.controlplane.selectors import selection
from netlab.controlplane.status import AnyResource, bad_request
from netlab.controlplane.store import Store, Stored, encode
from netlab.errors import ApiError


@dataclass(frozen=True)
class ListOptions:
    """The query of a list; limit 0 means unlimited."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    continue_token: str = ""


@dataclass(frozen=True)
class ListAnswer:
    """A page of objects; `remaining` are on the next ones, which `continue_token` asks for."""

    items: tuple[Stored, ...]
    version: int
    continue_token: str = ""
    remaining: int | None = None

    def render(self, resource: AnyResource) -> bytes:
        """Return the List object, of the items' own bytes."""
        meta: dict[str, object] = {"resourceVersion": str(self.version)}
        if self.continue_token:
            meta["continue"] = self.continue_token
            if self.remaining is not None:
                meta["remainingItemCount"] = self.remaining
        head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta}
        return encode(head)[:-1] + b',"items":[' + b",".join(stored.raw for stored in self.items) + b"]}\n"


@dataclass(frozen=True)
class _Token:
    version: int
    namespace: str
    name: str


def _token(version: int, last: Stored) -> str:
    return base64.urlsafe_b64encode(encode(_Token(version, *last.key))).decode().rstrip("=")


def _read_token(text: str) -> _Token:
    try:
        return msgspec.convert(read_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))), _Token)
    except (binascii.Error, msgspec.ValidationError, ApiError, ValueError) as error:
        raise bad_request("continue key is not valid: this server did not issue it") from error


def list_objects(store: Store, resource: AnyResource, namespace: str, options: ListOptions) -> ListAnswer:
    """Return one page of a collection."""
    chosen = selection(resource, options.labels, options.fields)
    items = [stored for stored in store.list(resource, namespace) if chosen is None or chosen(stored.body)]
    version = store.last_change(resource)
    if options.continue_token:
        token = _read_token(options.continue_token)
        version = token.version
        if version < store.history(resource).forgotten:
            raise ApiError(410, "Expired", "The provided continue parameter is too old to display a consistent list result."
                           " You can start a new list without the continue parameter.")  # fmt: skip
        items = [stored for stored in items if stored.key > (token.namespace, token.name)]
    if not options.limit or len(items) <= options.limit:
        return ListAnswer(tuple(items), version)
    page, rest = items[: options.limit], len(items) - options.limit
    return ListAnswer(tuple(page), version, _token(version, page[-1]), None if chosen else rest)
