"""Parameters and results of the API's verbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netlab.controlplane.admission import Mode
from netlab.controlplane.registry import BACKGROUND
from netlab.controlplane.status import AnyResource
from netlab.controlplane.store import Stored


@dataclass(frozen=True)
class ApiSettings:
    """The lab's ranges."""

    service_subnet: str = "10.96.0.0/16"
    node_port_range: str = "30000-32767"


@dataclass(frozen=True)
class WriteOptions:
    """How to write: dryRun=All goes all the way but for the commit; fieldValidation is Strict, Warn or Ignore.

    `duplicates` are the fields that the text of the body names twice, which its value does not show.
    """

    dry_run: bool = False
    field_validation: Mode = "Strict"
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeleteOptions:
    """Kubernetes' DeleteOptions. The preconditions: delete only that object, in that version."""

    grace: int | None = None
    propagation: str = BACKGROUND
    dry_run: bool = False
    uid: str = ""
    resource_version: str = ""


STORE_IT: Final = WriteOptions()
DELETE_IT: Final = DeleteOptions()


@dataclass(frozen=True)
class Target:
    """The object or collection that a request names."""

    resource: AnyResource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(frozen=True)
class Written:
    """The answer to a write. `gone`: a delete has removed the object at once."""

    stored: Stored
    warnings: tuple[str, ...] = ()
    created: bool = False
    gone: bool = False
