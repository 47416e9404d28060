"""Topology files of other programs, recognized so that a mix-up ends in one clear sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HERE = "this netlab is k8s-netlab and reads a document of kind Lab (netlab/v1alpha1) followed by Kubernetes manifests"
# Top-level keys that only that program's files have, and the message. First match wins.
_FOREIGN: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"topology"}), f"this is a containerlab topology; {_HERE}"),
    (
        frozenset({"nodes", "links", "provider", "module", "addressing", "groups", "plugin"}),
        f"this is a topology of ipspace netlab (PyPI networklab), another program of the same name; {_HERE}",
    ),
    (frozenset({"services"}), f"this is a Docker Compose file; {_HERE}"),
)
_KIND_CLUSTER = "kind.x-k8s.io/"


def foreign_sentence(value: Any) -> str:
    """Return the message about a file of another program, empty for all other files."""
    if not isinstance(value, Mapping):
        return ""
    if str(value.get("apiVersion", "")).startswith(_KIND_CLUSTER):
        return f"this is a configuration of kind (Kubernetes in Docker); {_HERE}"
    if "apiVersion" in value or "kind" in value:
        return ""
    if isinstance(value.get("topology"), Mapping) and "nodes" not in value["topology"]:
        return ""
    return next((sentence for keys, sentence in _FOREIGN if keys & value.keys()), "")
