"""Label selectors: which objects an owner or a Service means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netlab.api.meta import LabelSelector

# What each operator of a matchExpression asks of the label's value (None: the label is missing).
OPERATORS: dict[str, Callable[[str | None, tuple[str, ...]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, values: value is not None,  # noqa: ARG005  (one signature for all rows)
    "DoesNotExist": lambda value, values: value is None,  # noqa: ARG005
}


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether all wanted labels are there: a Service's selector, a nodeSelector."""
    return wanted.items() <= labels.items()


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Tell whether a selector matches. An empty one matches nothing; neither does one with an unknown operator."""
    if not selector.match_labels and not selector.match_expressions:
        return False
    return has_labels(labels, selector.match_labels) and all(
        e.operator in OPERATORS and OPERATORS[e.operator](labels.get(e.key), e.values) for e in selector.match_expressions
    )
