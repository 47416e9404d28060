"""Plain data against a type: everything that does not fit, with its path, in one walk.

msgspec's own decoder stops at the first fault and names no position; this walk continues. It follows the types of
`netlab.api` as `msgspec.inspect` shows them, applies the rows of `netlab.topology.fields` on the way, and returns

- `body`: the same data without unknown fields, nulls and empty texts that mean "the default", with a harmless
  placeholder where a value had the wrong type, so that later rules can always read it as a typed object;
- `unknown`, `types`, `values`: the three sorts of problem, which the API server answers differently;
- `inert`: the fields that are accepted and have no effect on the network (`netlab.api.meta.Inert`).

A wrong value has consequences (a list element without its name, ...); `excused` filters those out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import inspect

from netlab.api.resources import Json, Resource
from netlab.api.structs import fields_of, type_of
from netlab.topology import fields
from netlab.topology.problem import REQUIRED, TYPE_INVALID, UNKNOWN, Problem, Steps, quoted, required, suggestion

LARGEST_NUMBER = 2**31 - 1
LONG_NUMBERS = frozenset({"generation", "observedGeneration", "sizeBytes"})  # the others of Kubernetes have 32 bits
_TYPE_NAMES: dict[type, str] = {
    inspect.StrType: "text",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.DictType: "a map of names to values",
    inspect.StructType: "a map of fields",
    inspect.VarTupleType: "a list",
}
_MOST_LISTED = 12
_STAND_INS: dict[type, Any] = {inspect.StrType: "", inspect.IntType: 0, inspect.FloatType: 0, inspect.BoolType: False}


@dataclass(frozen=True)
class Decoded:
    """What the walk found."""

    body: Any
    unknown: tuple[Problem, ...] = ()
    types: tuple[Problem, ...] = ()
    values: tuple[Problem, ...] = ()
    inert: tuple[Steps, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All faults of all sorts, consequences left out."""
        return (*self.unknown, *self.types, *self.excused(self.values))

    def excused(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Return the problems that do not result from an unknown field or a wrong type."""
        roots = {p.steps for p in self.types} | {(*p.steps[:-1], p.meant) for p in self.unknown if p.meant}
        absent = {p.steps for p in self.values if p.reason == REQUIRED}  # what is not there has no faults inside
        return tuple(
            p
            for p in problems
            if not any(p.steps[:n] in roots for n in range(len(p.steps) + 1))
            and not any(p.steps[:n] in absent for n in range(len(p.steps)))
        )


def decode(body: Any, struct: type, at: Steps = ()) -> Decoded:
    """Walk plain data (as JSON or YAML gives it) along a type; never raises for what the data holds."""
    walk = _Walk()
    clean = walk.value(body, type_of(struct), at)
    return Decoded(clean, tuple(walk.unknown), tuple(walk.types), tuple(walk.values), tuple(walk.inert))


def type_problems(body: Any, resource: Resource[Any]) -> tuple[Problem, ...]:
    """Return the values of the wrong type: what Kubernetes answers with 400 BadRequest."""
    return decode(body, resource.type).types


def unknown_fields(body: Any, resource: Resource[Any]) -> tuple[str, ...]:
    """Return the fields no such object has, in the words of Kubernetes' strict decoder: `unknown field "spec.foo"`."""
    return tuple(f'unknown field "{p.path}"' for p in decode(body, resource.type).unknown)


def pruned(body: Json, resource: Resource[Any]) -> Json:
    """Return the object without unknown fields and nulls: what Kubernetes stores when validation is not strict."""
    clean: Json = decode(body, resource.type).body
    return clean


def is_inert(info: inspect.Type) -> bool:
    """Return whether a field's type is `netlab.api.meta.Inert`."""
    return isinstance(info, inspect.Metadata) and bool(info.extra and info.extra.get("inert"))


def described(value: Any) -> str:
    """Return a value with the name of its type, for `expected a whole number, got text "80"`."""
    for python_type, name in ((str, "text"), (bool, ""), (int, "the number"), (float, "the number")):
        if isinstance(value, python_type):
            return f"{name} {quoted(value)}".strip()
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a map"


@dataclass
class _Walk:
    unknown: list[Problem] = field(default_factory=list)
    types: list[Problem] = field(default_factory=list)
    values: list[Problem] = field(default_factory=list)
    inert: list[Steps] = field(default_factory=list)

    def value(self, value: Any, info: inspect.Type, steps: Steps) -> Any:
        return _WALKERS[type(info)](self, value, info, steps)

    def marked(self, value: Any, info: inspect.Metadata, steps: Steps) -> Any:
        if is_inert(info) and value not in (None, {}, [], ""):
            self.inert.append(steps)
        return self.value(value, info.type, steps)

    def wrong_type(self, value: Any, expected: str, steps: Steps) -> None:
        hint = ""
        if expected == "text" and isinstance(value, bool | int | float):
            hint = "; write it in quotes"
        elif expected == "a list" and value is not None:
            hint = '; begin each element with "- "'
        self.types.append(Problem(steps, f"expected {expected}, got {described(value)}{hint}", TYPE_INVALID))

    def any(self, value: Any, _info: inspect.Type, _steps: Steps) -> Any:
        return value

    def scalar(self, value: Any, info: inspect.Type, steps: Steps) -> Any:
        if not _fits(value, info):
            self.wrong_type(value, _TYPE_NAMES[type(info)], steps)
            return _STAND_INS[type(info)]
        if isinstance(info, inspect.IntType) and abs(value) > LARGEST_NUMBER and steps[-1] not in LONG_NUMBERS:
            self.types.append(Problem(steps, f"expected a whole number of at most 32 bits, got {quoted(value)}", TYPE_INVALID))
            return 0
        return value

    def union(self, value: Any, info: inspect.UnionType, steps: Steps) -> Any:
        choices = [t for t in info.types if not isinstance(t, inspect.NoneType)]
        chosen = next((t for t in choices if _fits(value, t)), None)
        if chosen is None and len(choices) > 1:
            self.wrong_type(value, " or ".join(_TYPE_NAMES[type(t)] for t in choices), steps)
            return _STAND_INS[type(choices[0])]
        return self.value(value, chosen or choices[0], steps)

    def mapping(self, value: Any, info: inspect.DictType, steps: Steps) -> Any:
        if not isinstance(value, dict):
            self.wrong_type(value, _TYPE_NAMES[inspect.DictType], steps)
            return {}
        text = isinstance(info.value_type, inspect.StrType)
        return {  # Kubernetes reads `key:` in a map of texts as an empty text
            key: "" if item is None and text else self.value(item, info.value_type, (*steps, key)) for key, item in value.items()
        }

    def sequence(self, value: Any, info: inspect.VarTupleType, steps: Steps) -> Any:
        if not isinstance(value, list):
            self.wrong_type(value, _TYPE_NAMES[inspect.VarTupleType], steps)
            return []
        return [self.value(item, info.item_type, (*steps, index)) for index, item in enumerate(value)]

    def struct(self, value: Any, info: inspect.StructType, steps: Steps) -> Any:
        if not isinstance(value, dict):
            self.wrong_type(value, _TYPE_NAMES[inspect.StructType], steps)
            return dict(_form_of(info).stand_in)
        form = _form_of(info)
        clean: dict[str, Any] = {}
        for key, item in value.items():
            known = form.fields.get(key)
            if known is None:
                self.unknown.append(_unknown(key, form.fields, value, steps))
            elif item is not None:
                held = self.field(item, known, (*steps, key))
                if held not in known.unset:
                    clean[key] = held
        self.values += [required((*steps, name), form.fields[name].least) for name in form.required if name not in clean]
        return {**form.stand_in, **clean}

    def field(self, item: Any, known: _Field, steps: Steps) -> Any:
        faults = len(self.types)
        clean = self.value(item, known.type, steps)
        if known.rule and len(self.types) == faults:
            self.values += fields.field_problems(known.rule, clean, steps)
        return clean


_WALKERS: dict[type, Callable[[_Walk, Any, Any, Steps], Any]] = {
    inspect.AnyType: _Walk.any,
    inspect.StrType: _Walk.scalar,
    inspect.IntType: _Walk.scalar,
    inspect.FloatType: _Walk.scalar,
    inspect.BoolType: _Walk.scalar,
    inspect.DictType: _Walk.mapping,
    inspect.VarTupleType: _Walk.sequence,
    inspect.StructType: _Walk.struct,
    inspect.UnionType: _Walk.union,
    inspect.Metadata: _Walk.marked,
}
_PYTHON_TYPES: dict[type, tuple[type, ...]] = {
    inspect.StrType: (str,),
    inspect.IntType: (int,),
    inspect.FloatType: (int, float),
    inspect.BoolType: (bool,),
    inspect.DictType: (dict,),
    inspect.StructType: (dict,),
    inspect.VarTupleType: (list,),
}


def _fits(value: Any, info: inspect.Type) -> bool:
    return isinstance(value, _PYTHON_TYPES[type(info)]) and isinstance(value, bool) <= isinstance(info, inspect.BoolType)


@dataclass(frozen=True)
class _Field:
    """The properties of one field. `unset`: values that only mean "use the default"."""

    type: inspect.Type
    rule: fields.Rule | None
    unset: tuple[Any, ...]

    @property
    def least(self) -> str:
        """The message for a missing value."""
        return self.rule.least if self.rule else ""


@dataclass(frozen=True)
class _Form:
    """The properties of one struct, by wire names. `stand_in`: the least that a typed object needs, fields without a default."""

    fields: dict[str, _Field]
    required: tuple[str, ...]
    stand_in: dict[str, Any]


_forms: dict[type, _Form] = {}


def _form_of(info: inspect.StructType) -> _Form:
    """Return the properties of a struct, collected when its first value occurs."""
    if info.cls not in _forms:
        rules = {name: fields.RULES.get((info.cls, name)) for name in fields_of(info)}
        bare = {name: known for name, known in fields_of(info).items() if known.required}
        _forms[info.cls] = _Form(
            {name: _Field(known.type, rules[name], _unset(known, rules[name])) for name, known in fields_of(info).items()},
            (*fields.required_fields(info.cls), *bare),
            {name: _STAND_INS[type(known.type)] for name, known in bare.items()},
        )
    return _forms[info.cls]


def _unset(known: inspect.Field, rule: fields.Rule | None) -> tuple[Any, ...]:
    """Return what only means "use the default": empty text, as in Kubernetes, and 0 in some fields."""
    if isinstance(known.default, str) and known.default:
        return ("",)
    return (0,) if rule and rule.zero and isinstance(known.default, int) and known.default else ()


def _unknown(key: str, known: Collection[str], present: Container[str], steps: Steps) -> Problem:
    meant = suggestion(key, known)
    names = sorted(known)
    listed = f"; known fields: {', '.join(names)}" if len(names) <= _MOST_LISTED else ""
    hint = f' (did you mean "{meant}"?)' if meant else listed
    return Problem((*steps, key), f"unknown field{hint}", UNKNOWN, at_key=True, meant="" if meant in present else meant)


def typed(decoded: Decoded, struct: type) -> Any:
    """Return the typed object of a decoded body."""
    return msgspec.convert(decoded.body, struct)
