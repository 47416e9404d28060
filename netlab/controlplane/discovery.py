"""Discovery: the documents about what this server has (`/api`, `/apis`, `/api/v1`, `/version`, ...).

kubectl asks for the aggregated form first; when the answer's Content-Type is plain JSON it takes the documents here.
All of them follow from the table of kinds, so they are made once.
"""

from __future__ import annotations

import platform
from typing import Any, Final

from netlab.api.resources import RESOURCES, Json
from netlab.controlplane.kinds.kind import Kind, Subresource
from netlab.controlplane.kinds.table import KINDS
from netlab.controlplane.status import AnyResource

KUBERNETES_MINOR: Final = 33  # the release whose behavior is reproduced
VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def _entries(kind: Kind) -> list[Json]:
    resource = kind.resource
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    return [entry, *(_subresource(resource, subresource) for subresource in kind.subresources)]


def _subresource(resource: AnyResource, subresource: Subresource) -> Json:
    return {
        "name": f"{resource.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": subresource.kind,
        "verbs": list(subresource.verbs),
    }


def _resource_list(group_version: str) -> Json:
    kinds = [kind for kind in KINDS if kind.resource.api_version == group_version]
    entries = [entry for kind in kinds for entry in _entries(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _group(name: str) -> Json:
    versions = sorted({r.version for r in RESOURCES if r.group == name})
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def documents() -> dict[str, Any]:
    """Return every discovery document by its path."""
    groups = sorted({r.group for r in RESOURCES if r.group})
    pages: dict[str, Any] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]},
        "/version": {
            "major": "1",
            "minor": str(KUBERNETES_MINOR),
            "gitVersion": f"v1.{KUBERNETES_MINOR}.0+netlab",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": platform.python_implementation().lower(),
            "platform": f"linux/{platform.machine()}",
        },
    }
    for name in groups:
        pages[f"/apis/{name}"] = {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}
    for version in sorted({r.api_version for r in RESOURCES}):
        pages[f"/apis/{version}" if "/" in version else f"/api/{version}"] = _resource_list(version)
    pages["/"] = {"paths": sorted([*pages, "/healthz", "/livez", "/readyz"])}
    return pages
