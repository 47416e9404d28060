"""Deployments, ReplicaSets and DaemonSets: the selector and the template must belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.lab import Networking
from netlab.api.meta import LabelSelector, LabelSelectorRequirement
from netlab.topology.problem import Problem, Steps, forbidden, invalid, required, unsupported
from netlab.topology.rules.pods import pod_spec_problems

SELECTOR = ("spec", "selector")
TEMPLATE = ("spec", "template")


def workload_problems(workload: Deployment | ReplicaSet | DaemonSet, _networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with an object that makes pods from a template."""
    selector, template = workload.spec.selector, workload.spec.template
    if not selector.match_labels and not selector.match_expressions:
        yield required(SELECTOR, "it says which pods are this object's own; repeat the template's labels in matchLabels")
    for index, requirement in enumerate(selector.match_expressions):
        yield from _requirement_problems(requirement, (*SELECTOR, "matchExpressions", index))
    if not selects(selector, template.metadata.labels):
        labels = dict(template.metadata.labels)
        yield invalid((*TEMPLATE, "metadata", "labels"), labels, "`selector` does not match template `labels`")
    if template.spec.restart_policy in {"OnFailure", "Never"}:
        yield unsupported((*TEMPLATE, "spec", "restartPolicy"), template.spec.restart_policy, ("Always",))
    yield from pod_spec_problems(template.spec, (*TEMPLATE, "spec"))


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches; an absent key satisfies NotIn and DoesNotExist."""
    return matches(selector.match_labels, labels) and all(_holds(r, labels) for r in selector.match_expressions)


def matches(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether labels hold all the wanted pairs."""
    return all(labels.get(key) == value for key, value in wanted.items())


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    return {
        "In": value in requirement.values or not requirement.values,  # no values is a problem of its own
        "NotIn": value not in requirement.values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(requirement.operator, True)  # as an unknown operator is


def _requirement_problems(requirement: LabelSelectorRequirement, at: Steps) -> Iterator[Problem]:
    if not requirement.key:
        yield required((*at, "key"))
    if not requirement.operator:
        yield required((*at, "operator"))
    elif requirement.operator in {"In", "NotIn"} and not requirement.values:
        yield required((*at, "values"), "must be specified when `operator` is 'In' or 'NotIn'")
    elif requirement.operator in {"Exists", "DoesNotExist"} and requirement.values:
        yield forbidden((*at, "values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
