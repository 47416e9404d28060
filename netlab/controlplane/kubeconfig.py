"""The kubeconfig of a lab, for kubectl and every other client of Kubernetes."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from netlab.api.resources import Json
from netlab.files import PRIVATE, write_whole


def kubeconfig(lab: str, server: str, certificate_authority: bytes, token: str, *, user: str = "admin") -> Json:
    """Return a kubeconfig whose cluster and context are named after the lab."""
    login = f"{lab}-{user}"
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(certificate_authority).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": lab, "cluster": cluster}],
        "users": [{"name": login, "user": {"token": token}}],
        "contexts": [{"name": lab, "context": {"cluster": lab, "user": login, "namespace": "default"}}],
        "current-context": lab,
        "preferences": {},
    }


def write_kubeconfig(path: Path, content: Json) -> None:
    """Write a kubeconfig, readable by its owner only: it holds the admin's token."""
    write_whole(path, yaml.safe_dump(content, sort_keys=False), mode=PRIVATE)
