"""JSON Schema errors as problems with a place, in words a person would use: exactly one for each mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from ..errors import Problem
from ..resources import resource
from .suggest import did_you_mean
from .words import described, either, shorten, shown, type_hint, type_name
from .yamltree import Steps, Tree

Schema = Mapping[str, Any]


@cache
def load_schema(name: str) -> Schema:
    """The schema ``schemas/NAME.schema.json``. Raises FileNotFoundError."""
    schema: Schema = json.loads(resource("schemas", f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


def check(tree: Tree, schema: Schema) -> list[tuple[Steps, Problem]]:
    """Every way in which the document breaks the schema, in the order of the file.

    Each comes with the path (keys and indices) of the value that cannot be used because of it.
    """
    found: list[tuple[Steps, Problem]] = []
    for error in _validator(schema).iter_errors(tree.value):
        path = tuple(error.absolute_path)
        if not tree.node(path).broken:
            found += _Explainer(tree, schema, error, path).problems()
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda item: in_file_order(item[1]))


def in_file_order(problem: Problem) -> tuple[int, int, str]:
    """A sort key: line, column, message."""
    where = problem.where
    return (where.line, where.column, problem.message) if where else (0, 0, problem.message)


def matches(pattern: str, text: str) -> bool:
    """Whether a JSON Schema pattern matches; unlike Python's, its ``$`` does not also match before a last newline."""
    return re.search(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern, text) is not None


def _validator(schema: Schema) -> Any:
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(validator: Any, wanted: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not matches(wanted, instance):
            yield ValidationError(f"{instance!r} does not match {wanted!r}")

    def unique_items(validator: Any, wanted: bool, instance: Any, schema: Schema) -> Iterator[ValidationError]:
        # jsonschema's own compares each item with each other one: minutes for a long list of mixed types.
        if wanted and isinstance(instance, list) and len(set(map(json.dumps, instance))) < len(instance):
            yield ValidationError("has an item twice")

    # JSON Schema takes 1.0 for an integer; a person who writes 1.0 for a count should be told.
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    extend: Any = validators.extend  # its type stubs leave it untyped
    keywords = {"pattern": pattern, "uniqueItems": unique_items}
    return extend(Draft202012Validator, keywords, type_checker=checker)(schema)


class _Explainer:
    """Puts one jsonschema error into words."""

    def __init__(self, tree: Tree, schema: Schema, error: Any, path: Steps) -> None:
        self.tree, self.schema, self.error, self.path = tree, schema, error, path
        self.instance: Any = error.instance
        self.title: str | None = error.schema.get("title") if isinstance(error.schema, dict) else None

    def problems(self) -> Iterator[tuple[Steps, Problem]]:
        """The error's problems: one, or one for each unknown or missing key."""
        error = self.error
        if "propertyNames" in error.absolute_schema_path:
            key = (*self.path, self.instance)
            message = f"{shown(self.instance)} is not {self.title}"
            yield key, Problem(message, self.tree.key_where(key), self._key_hint())
            return
        explain: Callable[[], Iterator[tuple[Steps, Problem]]] | None = getattr(
            self, f"_explain_{error.validator}", None
        )
        if explain:
            yield from explain()
        else:
            yield self._here(f"expected {self.title}, got {self._shown()}" if self.title else error.message)

    @property
    def _raw(self) -> str | None:
        return self.tree.node(self.path).raw

    @property
    def _name(self) -> str:
        return ".".join(map(str, self.path)) or "the document"

    def _shown(self) -> str:
        return shown(self.instance, self._raw)

    def _here(self, message: str, hint: str | None = None) -> tuple[Steps, Problem]:
        return self.path, Problem(message, self.tree.value_where(self.path), hint)

    def _at_key(self, message: str, hint: str | None = None) -> tuple[Steps, Problem]:
        return self.path, Problem(message, self.tree.key_where(self.path), hint)

    def _key_hint(self) -> str | None:
        """The symbol that was meant, for a kernel option that lacks its prefix."""
        if not self.error.validator_value.startswith("^CONFIG_"):
            return None
        fixed = "CONFIG_" + re.sub("^CONFIG_", "", re.sub(r"\W", "_", self.instance), flags=re.IGNORECASE)
        return f"write {fixed}" if matches(self.error.validator_value, fixed) else None

    def _explain_type(self) -> Iterator[tuple[Steps, Problem]]:
        wanted = self.error.validator_value
        kinds = [wanted] if isinstance(wanted, str) else list(wanted)
        names = [type_name(kind) for kind in kinds if not (kind == "integer" and "number" in kinds)]
        hint = self._type_hint() or type_hint(kinds, self.instance, self._raw)
        yield self._here(f"expected {either(names)}, got {described(self.instance, self._raw)}", hint)

    def _type_hint(self) -> str | None:
        """What was meant by a string in the place of a tagged union or of a list of words."""
        if not isinstance(self.instance, str):
            return None
        if self.instance in branches(self.schema, self.error.schema):
            return f"write {{kind: {self.instance}}}"
        words = self.instance.split()
        pattern = self.error.schema.get("items", {}).get("pattern")
        if pattern and len(words) > 1 and all(matches(pattern, word) for word in words):
            return f"make it a list: [{shorten(', '.join(words))}]"
        return None

    def _explain_enum(self) -> Iterator[tuple[Steps, Problem]]:
        values = self.error.validator_value
        if not self._has_type():
            return
        hint = did_you_mean(self.instance, values) if isinstance(self.instance, str) else None
        choices = either([shown(value) for value in values])
        yield self._here(f"expected {choices}, got {self._shown()}", hint or self.title)

    def _explain_additionalProperties(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        known = self.error.schema.get("properties", {})
        for key in self.instance:
            if key not in known:
                path = (*self.path, key)
                yield (
                    path,
                    Problem(f"unknown key {shown(key)}", self.tree.key_where(path), self._unknown_hint(key, known)),
                )

    def _unknown_hint(self, key: str, known: Schema) -> str:
        homes = _homes(self.schema).get(key, [])
        here = f"{self._name} of kind "
        kinds = [home.removeprefix(here) for home in homes if home.startswith(here)]
        of_kinds = [kind for kind in kinds if "." not in kind]  # with a dot, it belongs to something inside
        if of_kinds:
            return f"it belongs to kind {either(of_kinds)}"
        match = did_you_mean(key, known)
        if match:
            return match
        if 0 < len(homes) <= 2:
            return f"it belongs to {either(homes)}"
        return f"known here: {', '.join(known)}"

    def _explain_required(self) -> Iterator[tuple[Steps, Problem]]:
        missing = [key for key in self.error.validator_value if key not in self.instance]
        # jsonschema reports each missing key by itself, its name first in the message.
        key = next(key for key in missing if self.error.message.startswith(repr(key)))
        yield self._at_key(f'{self._name} lacks "{key}"', self._example(key))

    def _example(self, key: str) -> str | None:
        sub = resolve_ref(self.schema, self.error.schema.get("properties", {}).get(key, {}))
        examples = sub.get("examples")
        return f"for example {key}: {json.dumps(examples[0])}" if examples else None

    def _explain_dependentRequired(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        for key, needed in self.error.validator_value.items():
            for other in needed:
                if key in self.instance and other not in self.instance:
                    where = self.tree.key_where((*self.path, key))
                    yield self.path, Problem(f'"{key}" needs "{other}" beside it', where, self._example(other))

    def _explain_oneOf(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        # Our schemas use oneOf for one thing only: exactly one of these keys.
        if not isinstance(self.instance, dict):
            return  # that it should have been a mapping is said already
        keys = [branch["required"][0] for branch in self.error.validator_value]
        given = [key for key in keys if key in self.instance]
        words = either([f'"{key}"' for key in keys])
        if given:
            where = self.tree.key_where((*self.path, given[-1]))
            yield self.path, Problem(f"{words}, not both", where, "remove one of the two")
        else:
            yield self._at_key(f"{self._name} lacks {words}")

    def _explain_minimum(self) -> Iterator[tuple[Steps, Problem]]:
        yield self._here(f"expected at least {self.error.validator_value}, got {self._shown()}")

    def _explain_maximum(self) -> Iterator[tuple[Steps, Problem]]:
        yield self._here(f"expected at most {self.error.validator_value}, got {self._shown()}")

    def _explain_exclusiveMinimum(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        yield self._here(f"expected more than {self.error.validator_value}, got {self._shown()}")

    def _explain_minItems(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        yield self._here("the list must not be empty")

    def _explain_minProperties(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        yield self._at_key(f"{self._name} must not be empty")

    def _explain_uniqueItems(self) -> Iterator[tuple[Steps, Problem]]:  # noqa: N802 -- a keyword's name
        seen = set()
        for index, item in enumerate(self.instance):
            text = json.dumps(item)
            if text in seen:
                path = (*self.path, index)
                message = f"{shown(item)} is in the list twice"
                yield self.path, Problem(message, self.tree.value_where(path), "remove one of the two")
            seen.add(text)

    def _has_type(self) -> bool:
        """Whether the instance has the schema's type; if not, `type` already says what is wrong."""
        kind = self.error.schema.get("type")
        return kind is None or bool(_validator({"type": kind}).is_valid(self.instance))


def resolve_ref(root: Schema, schema: Schema) -> Schema:
    """A subschema with its ``$ref`` (into ``$defs``) merged in; what stands beside the ``$ref`` wins."""
    ref = schema.get("$ref")
    if not ref:
        return schema
    return {**root["$defs"][ref.removeprefix("#/$defs/")], **{k: v for k, v in schema.items() if k != "$ref"}}


def branches(root: Schema, schema: Schema) -> dict[str, Schema]:
    """The branches of a tagged union: kind → subschema; empty when it is not one."""
    found = {}
    for part in schema.get("allOf", []):
        kind = part["if"]["properties"]["kind"]["const"]
        found[kind] = resolve_ref(root, part["then"])
    return found


@cache
def _homes_of(text: str) -> dict[str, list[str]]:
    root = json.loads(text)
    homes: dict[str, list[str]] = {}

    def walk(schema: Schema, path: str) -> None:
        for key, sub in schema.get("properties", {}).items():
            if key != "kind":
                homes.setdefault(key, []).append(path or "the top level")
            resolved = resolve_ref(root, sub)
            inner = f"{path}.{key}" if path else key
            walk(resolved, inner)
            for kind, branch in branches(root, resolved).items():
                walk(branch, f"{inner} of kind {kind}")

    walk(root, "")
    return homes


def _homes(schema: Schema) -> dict[str, list[str]]:
    """Where each key of the schema may stand, for a key that stands in the wrong place."""
    return _homes_of(json.dumps(schema))
