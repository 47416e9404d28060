"""Deployments, ReplicaSets and DaemonSets: the selector and the template must belong together."""

from __future__ import annotations

from collections.abc import Iterator

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.lab import Networking
from netlab.api.meta import LabelSelector, LabelSelectorRequirement
from netlab.api.selection import OPERATORS, selects
from netlab.topology.problem import Problem, Steps, forbidden, invalid, required, unsupported
from netlab.topology.rules.annotations import annotation_problems
from netlab.topology.rules.pods import pod_spec_problems

SELECTOR = ("spec", "selector")
TEMPLATE = ("spec", "template")


def workload_problems(workload: Deployment | ReplicaSet | DaemonSet, _networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with an object that makes pods from a template."""
    selector, template = workload.spec.selector, workload.spec.template
    if not selector.match_labels and not selector.match_expressions:
        yield required(SELECTOR, "it selects the pods of this object; repeat the template's labels in matchLabels")
    sound = []
    for index, requirement in enumerate(selector.match_expressions):
        problems = list(_requirement_problems(requirement, (*SELECTOR, "matchExpressions", index)))
        yield from problems
        sound += [requirement] if not problems and requirement.operator in OPERATORS else []
    readable = LabelSelector(match_labels=selector.match_labels, match_expressions=tuple(sound))
    if readable != LabelSelector() and not selects(readable, template.metadata.labels):
        labels = dict(template.metadata.labels)
        yield invalid((*TEMPLATE, "metadata", "labels"), labels, "`selector` does not match template `labels`")
    if template.spec.restart_policy in {"OnFailure", "Never"}:
        yield unsupported((*TEMPLATE, "spec", "restartPolicy"), template.spec.restart_policy, ("Always",))
    yield from annotation_problems("Pod", template.metadata.annotations, (*TEMPLATE, "metadata", "annotations"))
    yield from pod_spec_problems(template.spec, (*TEMPLATE, "spec"))


def _requirement_problems(requirement: LabelSelectorRequirement, at: Steps) -> Iterator[Problem]:
    if not requirement.key:
        yield required((*at, "key"))
    if not requirement.operator:
        yield required((*at, "operator"))
    elif requirement.operator in {"In", "NotIn"} and not requirement.values:
        yield required((*at, "values"), "must be specified when `operator` is 'In' or 'NotIn'")
    elif requirement.operator in {"Exists", "DoesNotExist"} and requirement.values:
        yield forbidden((*at, "values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
