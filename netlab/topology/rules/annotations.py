"""Annotations whose values netlab or Kubernetes reads: as numbers, as JSON, as addresses.

An agent or a user writes such a value, another process reads it. What the table accepts, every
reader can read: the values are bounded, so that no reader meets 5,000 digits or 100,000 brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from netlab.api.coordination import LONGEST_VERSION, Health
from netlab.api.wellknown import (
    FLANNEL_BACKEND_DATA,
    FLANNEL_PUBLIC_IP,
    FLANNEL_PUBLIC_IP_OVERWRITE,
    LOAD_BALANCERS,
    POD_DELETION_COST,
    PROBLEMS,
    REVISION,
    SYNCED,
)
from netlab.topology.problem import Problem, Steps, invalid, too_long
from netlab.topology.syntax import UNICAST_ADDRESS

LONGEST_ANNOTATIONS: Final = 256 * 1024  # bytes of all keys and values of one object
LONGEST_DATA: Final = 4096  # characters of JSON that a node announces
LONGEST_PROBLEMS: Final = 32 * 1024  # characters: at most eight sentences of each part of a holder
LARGEST_VNI: Final = 2**24 - 1
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def _integer(bits: int) -> Callable[[str], str]:
    def fault(text: str) -> str:
        if _INTEGER.fullmatch(text) and -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
            return ""
        return f"must be a {bits}bit integer"

    return fault


def _json(text: str, form: Any, longest: int) -> Any:
    """Return the value of a JSON text, a sentence about what is wrong as a ValueError."""
    if len(text) > longest:
        raise ValueError(f"must have at most {longest} characters")
    try:
        return msgspec.json.decode(text, type=form)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"must be JSON: {error}") from error


def _synced(text: str) -> str:
    try:
        versions = _json(text, dict[str, str], LONGEST_DATA)
    except ValueError as error:
        return str(error)
    if all(v.isascii() and v.isdecimal() and len(v) <= LONGEST_VERSION for v in versions.values()):
        return ""
    return "must be a map of plurals to resourceVersions"


def _load_balancers(text: str) -> str:
    try:
        _json(text, Health, LONGEST_ANNOTATIONS)
    except ValueError as error:
        return str(error)
    return ""


def _problems(text: str) -> str:
    try:
        _json(text, dict[str, list[str]], LONGEST_PROBLEMS)
    except ValueError as error:
        return str(error)
    return ""


def _backend_data(text: str) -> str:
    """What flannel's backend needs of a node: of VXLAN, one that frames can be sent to (semantics 2.8)."""
    try:
        data = _json(text, dict[str, Any] | None, LONGEST_DATA) or {}
    except ValueError as error:
        return str(error)
    mac, vni = data.get("VtepMAC"), data.get("VNI")
    if mac is not None and not is_unicast_mac(mac):
        return "VtepMAC must be the MAC address of one device: not zero, not broadcast, not multicast"
    if vni is not None and (not isinstance(vni, int) or isinstance(vni, bool) or not 1 <= vni <= LARGEST_VNI):
        return f"VNI must be a number between 1 and {LARGEST_VNI}, inclusive"
    return ""


def is_unicast_mac(text: object) -> bool:
    """Return whether a text is the MAC address of one device."""
    if not isinstance(text, str) or not _MAC.fullmatch(text.lower()):
        return False
    octets = bytes.fromhex(text.replace(":", ""))
    return any(octets) and not octets[0] & 1


RULES: Final[Mapping[str, Mapping[str, Callable[[str], str]]]] = {  # kind -> annotation -> what is wrong with its value
    "Pod": {POD_DELETION_COST: _integer(32)},
    "Deployment": {REVISION: _integer(64)},
    "ReplicaSet": {REVISION: _integer(64)},
    "Lease": {SYNCED: _synced, LOAD_BALANCERS: _load_balancers, PROBLEMS: _problems},
    "Node": {
        FLANNEL_BACKEND_DATA: _backend_data,
        FLANNEL_PUBLIC_IP: UNICAST_ADDRESS.fault,
        FLANNEL_PUBLIC_IP_OVERWRITE: UNICAST_ADDRESS.fault,
    },
}


def annotation_problems(kind: str, annotations: Mapping[str, str], at: Steps) -> Iterator[Problem]:
    """Yield what is wrong with the annotations of an object of a kind."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for pair in annotations.items() for text in pair)
    if size > LONGEST_ANNOTATIONS:
        yield too_long(at, LONGEST_ANNOTATIONS)
    for name, fault_of in RULES.get(kind, {}).items():
        if name in annotations and (fault := fault_of(annotations[name])):
            yield invalid((*at, name), annotations[name], fault)
