"""JSON with positions, as the nodes that YAML becomes: json decides what it is, this reader only where it stands."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import InputError, Where
from ..spec.source import Source
from ..spec.yamltree import Node, Tree

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]}]+")
_DEEPEST = 200


def parse_json(source: Source) -> Tree:
    """The tree of a JSON text. Raises InputError with the place of a mistake."""
    try:
        value = json.loads(source.text, parse_constant=_refuse_constant, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}", where=Where(source.file, error.lineno, error.colno)) from error
    except (RecursionError, ValueError) as error:
        told = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"is not JSON: {told}", where=Where(source.file)) from error
    return Tree(source, _Reader(source).node(value, 0))


class _Object(dict[str, Any]):
    """A JSON object that remembers its members as they stand, those that are there twice included."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.members = members


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


class _Reader:
    def __init__(self, source: Source) -> None:
        self.text = source.text
        self.file = source.file
        self.at = 0

    def node(self, value: Any, depth: int) -> Node:
        """The node of a value, which stands next in the text."""
        if depth > _DEEPEST:
            raise InputError("is not JSON: nested too deeply", where=self._here())
        self._skip()
        node = Node(self._here(), value)
        if isinstance(value, _Object):
            self._members(node, value, depth)
        elif isinstance(value, list):
            self._elements(node, depth)
        else:
            pattern = _STRING if isinstance(value, str) else _SCALAR
            start = self.at
            self._take(pattern)
            node.raw = None if isinstance(value, str) else self.text[start : self.at]
        return node

    def _members(self, node: Node, value: _Object, depth: int) -> None:
        self.at += 1
        for key, member in value.members:
            self._closed("}")
            where = self._here()
            self._take(_STRING)
            self._skip()
            self.at += 1  # the colon
            if key in node.keys:
                told = f'the key "{key}" is already given at line {node.keys[key].line}'
                raise InputError(told, where=where, hint="remove one of the two")
            node.keys[key] = where
            node.children[key] = self.node(member, depth + 1)
        self._closed("}")

    def _elements(self, node: Node, depth: int) -> None:
        self.at += 1
        index = 0
        while not self._closed("]"):
            node.children[index] = self.node(node.value[index], depth + 1)
            index += 1

    def _closed(self, end: str) -> bool:
        """Skip to the next member or element; whether there is none."""
        self._skip()
        if self.text[self.at] == ",":
            self.at += 1
            self._skip()
        if self.text[self.at] != end:
            return False
        self.at += 1
        return True

    def _take(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else len(self.text)

    def _skip(self) -> None:
        self._take(_SPACE)

    def _here(self) -> Where:
        line = self.text.count("\n", 0, self.at) + 1
        return Where(self.file, line, self.at - self.text.rfind("\n", 0, self.at))
