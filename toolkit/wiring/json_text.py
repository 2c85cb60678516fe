"""JSON with the places of its parts, so that members can be put into a text and taken out of it, all else untouched."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, Where

_BLANK = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
_DEEPEST = 200
_BOM = "\ufeff"


@dataclass(slots=True)
class Node:
    """A value and where it stands: ``start`` and ``end`` are offsets into the text.

    ``members``: of an object, in order: key → the key's offset and the value. ``value``: of anything, as Python has it.
    """

    start: int
    end: int
    value: Any
    members: dict[str, tuple[int, Node]] = field(default_factory=dict)


class JsonText:
    """A JSON document as text. Raises InputError with the place of what is no JSON, duplicate keys included."""

    def __init__(self, text: str, file: Path) -> None:
        self.text = text
        self.file = file
        start = len(_BOM) if text.startswith(_BOM) else 0
        self.root = self._value(self._blank(start), 0)
        rest = self._blank(self.root.end)
        if rest != len(text):
            raise self._wrong("something stands behind the end of the document", rest)

    def where(self, offset: int) -> Where:
        """The line and column of an offset."""
        line = self.text.count("\n", 0, offset) + 1
        return Where(str(self.file), line, offset - (self.text.rfind("\n", 0, offset) + 1) + 1)

    def _wrong(self, message: str, offset: int) -> InputError:
        return InputError(f"not JSON: {message}", where=self.where(offset))

    def _blank(self, offset: int) -> int:
        found = _BLANK.match(self.text, offset)
        return found.end() if found else offset

    def _value(self, at: int, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self._wrong("nested too deeply", at)
        if self.text[at : at + 1] == "{":
            return self._object(at, depth)
        if self.text[at : at + 1] == "[":
            return self._array(at, depth)
        found = _SCALAR.match(self.text, at)
        if found is None:
            raise self._wrong("a value is missing" if at >= len(self.text) else "no value of JSON's", at)
        try:
            return Node(at, found.end(), json.loads(found[0]))
        except ValueError as error:
            raise self._wrong(str(error), at) from None

    def _object(self, start: int, depth: int) -> Node:
        members: dict[str, tuple[int, Node]] = {}
        at = self._blank(start + 1)
        while self.text[at : at + 1] != "}":
            if members:
                at = self._blank(self._past(",", at))
            key = self._value(at, depth)
            if not isinstance(key.value, str):
                raise self._wrong("a key is text in double quotes", at)
            if key.value in members:
                raise self._wrong(f'the key "{key.value}" is there twice', at)
            value = self._value(self._blank(self._past(":", self._blank(key.end))), depth + 1)
            members[key.value] = (at, value)
            at = self._blank(value.end)
        return Node(start, at + 1, {key: node.value for key, (_, node) in members.items()}, members)

    def _array(self, start: int, depth: int) -> Node:
        items: list[Any] = []
        at = self._blank(start + 1)
        while self.text[at : at + 1] != "]":
            if items:
                at = self._blank(self._past(",", at))
            node = self._value(at, depth + 1)
            items.append(node.value)
            at = self._blank(node.end)
        return Node(start, at + 1, items)

    def _past(self, sign: str, at: int) -> int:
        if self.text[at : at + 1] != sign:
            raise self._wrong(f"a {sign} is missing", at)
        return at + 1

    def indent(self) -> str:
        """How deep the document's own members stand; a tab or blanks."""
        for at, _ in self.root.members.values():
            before = self.text[self.text.rfind("\n", 0, at) + 1 : at]
            if before and not before.strip(" \t"):
                return before
        return "  "

    def with_member(self, node: Node, key: str, value: Any, depth: int) -> str:
        """The text with a member put last into an object that does not have it. ``depth``: how deep the object lies."""
        indent = self.indent()
        inner, outer = indent * (depth + 1), indent * depth
        written = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", f"\n{inner}")
        member = f"{json.dumps(key, ensure_ascii=False)}: {written}"
        if not node.members:
            return f"{self.text[: node.start]}{{\n{inner}{member}\n{outer}}}{self.text[node.end :]}"
        end = max(value.end for _, value in node.members.values())
        return f"{self.text[:end]},\n{inner}{member}{self.text[end:]}"

    def without_member(self, node: Node, key: str) -> str:
        """The text without one member of an object."""
        keys = list(node.members)
        number = keys.index(key)
        at, value = node.members[key]
        if len(keys) == 1:
            return f"{self.text[: node.start]}{{}}{self.text[node.end :]}"
        if number:
            return self.text[: node.members[keys[number - 1]][1].end] + self.text[value.end :]
        return self.text[:at] + self.text[node.members[keys[1]][0] :]

    def replaced(self, node: Node, value: Any, depth: int) -> str:
        """The text with another value in a node's place."""
        indent = self.indent()
        written = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", f"\n{indent * depth}")
        return self.text[: node.start] + written + self.text[node.end :]


def object_of(document: JsonText, node: Node, what: str) -> Mapping[str, tuple[int, Node]]:
    """The members of a node that must be an object. Raises InputError."""
    if not isinstance(node.value, dict):
        raise InputError(f"{what} is no object", where=document.where(node.start))
    return node.members
