"""Strict YAML with positions, for every YAML file the program reads (specs, kernel fragments).

Built from PyYAML's parse events rather than ``compose()``: no recursion in C on hostile nesting, and every refusal
is ours, with a place and a hint. What is refused: duplicate keys, keys that are not strings, tags, merge keys,
several documents, scalars that YAML readers disagree on, aliases that explode or contain themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, Problem, Where
from .scalars import DoubtfulScalarError, resolve
from .source import Source, read_source
from .words import shown

MAX_DEPTH = 32
MAX_SIZE = 50_000  # values, aliases expanded; each 64 characters of text count as one more

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Step = str | int
Steps = tuple[Step, ...]


@dataclass(slots=True)
class Node:
    """One value of the document. ``value`` is plain Python; ``raw`` the text of an unquoted scalar.

    ``broken``: a problem was already reported here, so nothing more should be said about the value.
    """

    where: Where
    value: Any = None
    raw: str | None = None
    broken: bool = False
    children: dict[Step, Node] = field(default_factory=dict)
    keys: dict[str, Where] = field(default_factory=dict)
    size: int = 1  # see MAX_SIZE


@dataclass(slots=True)
class Tree:
    """A YAML document: ``root`` with all positions, ``value`` as plain dicts, lists and scalars."""

    source: Source
    root: Node

    @property
    def value(self) -> Any:
        """The whole document as plain Python values."""
        return self.root.value

    def node(self, path: Sequence[Step]) -> Node:
        """The node at a path of keys and indices. Raises KeyError."""
        node = self.root
        for step in path:
            node = node.children[step]
        return node

    def has(self, path: Sequence[Step]) -> bool:
        """Whether something is written at this path."""
        node: Node | None = self.root
        for step in path:
            node = node.children.get(step) if node else None
        return node is not None

    def value_where(self, path: Sequence[Step]) -> Where:
        """Where the value at ``path`` starts; for a value left empty, its key. Missing: the nearest parent."""
        node = self.root
        for depth, step in enumerate(path):
            if step not in node.children:
                return self.key_where(path[:depth])
            node = node.children[step]
        if node.raw == "":
            return self.key_where(path)
        return node.where

    def key_where(self, path: Sequence[Step]) -> Where:
        """Where the key at ``path`` stands; for a list's item or the root, the value itself.

        Missing: the nearest parent.
        """
        node, where = self.root, self.root.where
        for step in path:
            if step not in node.children:
                return where
            child = node.children[step]
            where = node.keys[step] if isinstance(step, str) else child.where
            node = child
        return where


def load_yaml(path: Path) -> Tree:
    """Read a YAML file strictly. Raises InputError with every problem found."""
    tree, problems = parse(read_source(path))
    if problems:
        raise InputError.many(problems)
    return tree


def parse(source: Source) -> tuple[Tree, list[Problem]]:
    """Parse a YAML text; problems that do not stop the reading are returned beside what could be read.

    Raises InputError for what does: syntax, several documents, nesting or aliases past the limits, no content.
    """
    builder = _Builder(source)
    return Tree(source, builder.document()), builder.problems


class _Builder:
    """Turns parse events into nodes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._events = self._parse()
        self._anchors: dict[str, Node | None] = {}  # None: still open, so an alias to it is recursive
        self._depth = 0
        self._size = 0

    def document(self) -> Node:
        """The one document's root node."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._document_start(event, first=root is None)
                root = self._node(next(self._events))
        if root is None or root.raw == "":
            raise InputError("is empty: there is no YAML in it", where=Where(self.source.file))
        return root

    def _document_start(self, event: Any, *, first: bool) -> None:
        if not first:
            raise InputError(
                "a second document starts here; a file holds one", where=self._where(event), hint="remove the `---`"
            )
        if event.version not in (None, (1, 2)):
            version = ".".join(map(str, event.version))
            raise InputError(
                f"%YAML {version}: files are read as YAML 1.2", where=self._where(event), hint="remove the line"
            )

    def _parse(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self.source.text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            raise self._syntax_error(error) from error
        except yaml.YAMLError as error:
            raise InputError(f"is not YAML: {error}", where=Where(self.source.file)) from error

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> InputError:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            return InputError(f"is not YAML: {error.problem}", where=Where(self.source.file))
        where = Where(self.source.file, mark.line + 1, mark.column + 1)
        lines = self.source.lines
        line = lines[mark.line] if mark.line < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            column = line.index("\t") + 1
            return InputError(
                "a tab cannot indent YAML", where=Where(where.file, where.line, column), hint="use spaces"
            )
        hint = None
        if error.context and error.context_mark:
            hint = f"{error.context}, which starts at line {error.context_mark.line + 1}"
        return InputError(f"is not YAML: {error.problem}", where=where, hint=hint)

    def _where(self, event: Any) -> Where:
        return Where(self.source.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _problem(self, message: str, where: Where, hint: str | None = None) -> None:
        self.problems.append(Problem(message, where, hint))

    def _node(self, event: Any) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InputError(f"nested more than {MAX_DEPTH} levels deep", where=self._where(event))
        node = Node(self._where(event))
        if isinstance(event, yaml.ScalarEvent):
            node.size += len(event.value) // 64
        self._grow(node.size, node.where)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, node)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._sequence(node)
        else:
            self._mapping(node)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(f"the tag {tag} is not supported", node.where, "remove it; quote what is text")
            node.broken = True
        self._depth -= 1
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _grow(self, size: int, where: Where) -> None:
        self._size += size
        if self._size > MAX_SIZE:
            raise InputError(
                f"is too big: more than {MAX_SIZE:,} values, aliases expanded",
                where=where,
                hint="is it the right file?",
            )

    def _alias(self, event: Any) -> Node:
        where = self._where(event)
        if event.anchor not in self._anchors:
            self._problem(f"the alias *{event.anchor} has no anchor &{event.anchor} before it", where)
            return Node(where, broken=True)
        node = self._anchors[event.anchor]
        if node is None:
            raise InputError(f"the alias *{event.anchor} is part of what it stands for", where=where)
        self._grow(node.size, where)
        return node

    def _scalar(self, event: Any, node: Node) -> None:
        text: str = event.value
        bad = _CONTROL.search(text)
        if bad:
            self._problem(f"the control character U+{ord(bad.group()):04X} is not allowed", node.where, "remove it")
            node.broken = True
        elif event.style is not None and event.style != "":
            node.value = text
        else:
            node.raw = text
            try:
                node.value = resolve(text)
            except DoubtfulScalarError as error:
                self._problem(str(error), node.where, error.hint)
                node.broken = True

    def _sequence(self, node: Node) -> None:
        node.value = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            child = self._node(event)
            node.children[len(node.value)] = child
            node.value.append(child.value)
            node.size += child.size

    def _mapping(self, node: Node) -> None:
        node.value = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            child = self._node(next(self._events))
            node.size += child.size
            if key is None:
                continue
            name, where = key
            if name in node.keys:
                first = node.keys[name]
                self._problem(
                    f"the key {shown(name)} is already given at line {first.line}", where, "remove one of the two"
                )
                continue
            node.keys[name] = where
            node.children[name] = child
            node.value[name] = child.value

    def _key(self, event: Any) -> tuple[str, Where] | None:
        """A mapping's key and its place; None (and a problem) when it cannot be one."""
        where = self._where(event)
        before = len(self.problems)
        node = self._node(event)
        if len(self.problems) > before:
            return None
        if node.raw == "<<":
            self._problem(
                "merge keys (<<) are not supported",
                where,
                "write the keys out, or use an alias for the whole value",
            )
            return None
        if not isinstance(node.value, str):
            shown = node.raw if node.raw else "this"
            hint = f'quote it: "{node.raw}"' if node.raw else None
            self._problem(f"{shown} cannot be a key: keys are strings", where, hint)
            return None
        return node.value, where
