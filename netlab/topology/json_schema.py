"""The JSON Schema (2020-12) of topology files, for completion and checking in an editor.

It is generated from the same types and the same table of fields that `load` uses, so the two cannot disagree.
A YAML file of several documents is checked document by document: the schema is one `oneOf` over the kinds.
"""

from __future__ import annotations

import inspect as python_inspect
from typing import Any

from msgspec import inspect

from netlab.api import lab
from netlab.api.meta import Struct
from netlab.api.resources import LABS, Json, Resource
from netlab.topology.decoding import is_inert
from netlab.topology.fields import RULES, Rule, required_fields
from netlab.topology.loading import MANIFEST_RESOURCES
from netlab.topology.rules.labs import MOST_NODES
from netlab.topology.syntax import LAB_NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"
INERT = {"description": "Accepted; has no effect on the network."}
_SCALARS: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
}


def schema() -> Json:
    """Return the schema of all documents a topology may hold."""
    definitions: Json = {}
    kinds = (LABS, *MANIFEST_RESOURCES)
    for resource in kinds:
        _struct(inspect.type_info(resource.type), definitions)
        definitions[resource.kind] = _document(resource, definitions[resource.kind])
    return {
        "$schema": DIALECT,
        "title": "netlab topology",
        "description": "A Lab (first document) and Kubernetes manifests.",
        "oneOf": [{"$ref": f"#/$defs/{resource.kind}"} for resource in kinds],
        "$defs": dict(sorted(definitions.items())),
    }


def _document(resource: Resource[Any], definition: Json) -> Json:
    properties = {
        **definition["properties"],
        "apiVersion": {"const": resource.api_version},
        "kind": {"const": resource.kind},
    }
    if resource is LABS:
        name = {"type": "string", "maxLength": LAB_NAME.longest}
        properties["metadata"] = {"allOf": [{"$ref": "#/$defs/ObjectMeta"}, {"properties": {"name": name}, "required": ["name"]}]}
    names = dict.fromkeys(("apiVersion", "kind", "metadata", *definition.get("required", ())))
    return {**definition, "properties": properties, "required": list(names)}


def _struct(info: Any, definitions: Json) -> Json:
    """Define a struct once and return the reference to it."""
    name = info.cls.__name__
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = {
            **_description(info.cls),
            "type": "object",
            "properties": {f.encode_name: _field(info.cls, f, definitions) for f in info.fields},
            "additionalProperties": False,
        }
        needed = [*required_fields(info.cls), *(f.encode_name for f in info.fields if f.required)]
        if needed:
            definitions[name]["required"] = needed
    return {"$ref": f"#/$defs/{name}"}


def _description(struct: type) -> Json:
    """Use a type's own docstring; inherited ones describe another type."""
    text = struct.__dict__.get("__doc__") or ""
    return {"description": python_inspect.cleandoc(text)} if text and issubclass(struct, Struct) else {}


def _field(struct: type, known: inspect.Field, definitions: Json) -> Json:
    rule = RULES.get((struct, known.encode_name), Rule())
    described = _type(known.type, rule, definitions)
    if (struct, known.encode_name) == (lab.LabSpec, "nodes"):
        count = {"type": "integer", "minimum": 1, "maximum": MOST_NODES, "description": "As many nodes, called node1, node2, ..."}
        described = {"oneOf": [count, described]}
    default = known.default
    if isinstance(default, str | int) and default != "" and not isinstance(described.get("$ref"), str):
        described = {**described, "default": default}
    return described


def _type(info: inspect.Type, rule: Rule, definitions: Json) -> Json:
    match info:
        case inspect.AnyType():
            return {}
        case inspect.Metadata():
            inert = INERT if is_inert(info) else {}
            return {**_type(info.type, rule, definitions), **inert}
        case inspect.StructType():
            found = _struct(info, definitions)
        case inspect.DictType():
            found = {"type": "object", "additionalProperties": _type(info.value_type, rule, definitions)}
        case inspect.VarTupleType():
            found = {"type": "array", "items": _type(info.item_type, rule, definitions)}
        case inspect.UnionType():
            found = _union(info, rule, definitions)
        case _:
            found = {"type": _SCALARS[type(info)], **_constraints(info, rule)}
    return found


def _union(info: inspect.UnionType, rule: Rule, definitions: Json) -> Json:
    """A null is an absent field; it is allowed where Kubernetes' own tools write it."""
    choices = [_type(t, rule, definitions) for t in info.types if not isinstance(t, inspect.NoneType)]
    nullable = any(isinstance(t, inspect.NoneType) for t in info.types)
    if len(choices) == 1 and "$ref" in choices[0]:
        return choices[0]
    return {"anyOf": [*choices, *([{"type": "null"}] if nullable else [])]}


def _constraints(info: inspect.Type, rule: Rule) -> Json:
    found: Json = {}
    if isinstance(info, inspect.IntType):
        if rule.low is not None:
            found["minimum"] = 0 if rule.zero else rule.low
        if rule.high is not None:
            found["maximum"] = rule.high
        return found
    if not isinstance(info, inspect.StrType):
        return found
    if rule.values:
        return {"enum": list(rule.values)}
    if rule.syntax and rule.syntax.pattern:
        found["pattern"] = f"^({rule.syntax.pattern})$"
    if rule.syntax and rule.syntax.longest:
        found["maxLength"] = rule.syntax.longest
    return found
