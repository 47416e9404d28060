"""Label selectors as values: which objects an owner, a Service or a nodeSelector means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netlab.api.meta import LabelSelector

# What each operator of a matchExpression asks of the label's value (None: the label is missing).
OPERATORS: Mapping[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
}


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether all wanted labels are there: a Service's selector, a nodeSelector."""
    return wanted.items() <= labels.items()


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Return whether a selector matches. An empty one matches nothing; neither does one with an unknown operator."""
    if not selector.match_labels and not selector.match_expressions:
        return False
    return has_labels(labels, selector.match_labels) and all(
        e.operator in OPERATORS and OPERATORS[e.operator](labels.get(e.key), e.values) for e in selector.match_expressions
    )
