"""Selectors: which objects of a list or a watch a client wants to see.

A selector is text on the wire and a predicate over stored JSON inside. An empty text selects everything and parses to
None, so that the common case costs nothing. Label selectors are Kubernetes' full grammar (equality and sets); field
selectors accept exactly the fields that the kind lists as `selectable`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from netlab.api.resources import Json
from netlab.controlplane.bounds import whole_number
from netlab.controlplane.kinds.table import kind_of
from netlab.controlplane.status import AnyResource, bad_request
from netlab.topology.problem import quoted

Predicate = Callable[[Json], bool]
LabelTest = Callable[[dict[str, str]], bool]

_KEY = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_CLAUSE = re.compile(
    rf"\s*(?:!\s*(?P<absent>{_KEY})"
    rf"|(?P<key>{_KEY})(?:\s*(?P<operator>==|=|!=|>|<)\s*(?P<value>[A-Za-z0-9._-]*)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?P<end>,|$)"
)

COMMON_FIELDS = ("metadata.name", "metadata.namespace")  # what every kind can be selected by


def _label_test(match: re.Match[str]) -> LabelTest:
    key, operator, value = match["key"], match["operator"], match["value"]
    if absent := match["absent"]:
        return lambda labels: absent not in labels
    if operator in {">", "<"}:
        return _comparison(key, operator, value)
    if operator or match["set"]:
        values = {text.strip() for text in match["values"].split(",")} if match["set"] else {value}
        if operator == "!=" or match["set"] == "notin":
            return lambda labels: labels.get(key) not in values
        return lambda labels: key in labels and labels[key] in values
    return lambda labels: key in labels


def _comparison(key: str, operator: str, value: str) -> LabelTest:
    bound, sign = whole_number(value), 1 if operator == ">" else -1
    if bound is None:
        words = f"is not a whole number of at most 64 bits, as {operator!r} needs"
        raise bad_request(f"unable to parse requirement: {quoted(value)} {words}")

    def test(labels: dict[str, str]) -> bool:
        number = whole_number(labels.get(key, ""))
        return number is not None and (number - bound) * sign > 0

    return test


def label_predicate(text: str) -> Predicate | None:
    """Parse a labelSelector such as `app=blue,tier in (web, api),!canary`; None selects everything."""
    if not text.strip():
        return None
    tests: list[LabelTest] = []
    position, more = 0, True
    while more:
        match = _CLAUSE.match(text, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: found {text[position:]!r} in labelSelector {text!r}")
        tests.append(_label_test(match))
        position, more = match.end(), match["end"] == ","

    def selects(body: Json) -> bool:
        labels = body["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return selects


def field_value(body: Json, path: str) -> str:
    """Return a field as field selectors compare it: text, empty when absent, booleans as true and false."""
    value: Any = body
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def field_predicate(resource: AnyResource, text: str) -> Predicate | None:
    """Parse a fieldSelector such as `spec.nodeName=node1,status.phase!=Failed`; None selects everything."""
    if not text.strip():
        return None
    selectable = (*COMMON_FIELDS, *kind_of(resource).selectable)
    tests: list[tuple[str, str, bool]] = []
    for clause in text.split(","):
        path, operator, value = _field_clause(clause)
        if path not in selectable:
            asked = f'label selector "", field selector "{text}"'
            where = f'"{resource.api_version}, Resource={resource.plural}"'
            raise bad_request(f"Unable to find {where} that match {asked}: field label not supported: {path}")
        tests.append((path, value, operator != "!="))
    return lambda body: all((field_value(body, path) == value) is equal for path, value, equal in tests)


def _field_clause(clause: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        path, found, value = clause.partition(operator)
        if found:
            return path.strip(), operator, value.strip()
    raise bad_request(f"invalid selector: {clause!r}; can't understand {clause!r}")


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """Return the conjunction of two selections."""
    if first is None or second is None:
        return first or second
    return lambda body: first(body) and second(body)


def selection(resource: AnyResource, labels: str, fields: str) -> Predicate | None:
    """Parse both selectors of a request."""
    return both(label_predicate(labels), field_predicate(resource, fields))
