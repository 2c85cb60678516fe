"""The scan of a kernel tree, kept in the cache: 1,700 files need not be read again for one symbol.

CACHE/kconfig/KEY.tree, where the key is made of what the source is, the architecture, and the code that reads
it. It is only a cache: one that is damaged or from another version is made again without a word.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .. import resources
from ..pipeline.files import write_atomically
from .scan import scan
from .symbols import Choice, Condition, Default, Definition, Range, Select, Tree

_T = TypeVar("_T")
_CODE = ("kconfig/index.py", "kconfig/scan.py", "kconfig/symbols.py")


def load_tree(root: Path, srcarch: str, identity: str, cache: Path) -> Tree:
    """The scan of the tree at ``root``, from the cache if it is there.

    ``identity`` is whatever names the source with its patches for good, such as the digest of kernel_source's
    source.json. A tree that is in the cache needs not exist.
    """
    file = _file(srcarch, identity, cache)
    with contextlib.suppress(OSError, ValueError):
        return _unpacked(file.read_bytes())
    tree = scan(root, srcarch)
    with contextlib.suppress(OSError):
        write_atomically(file, _packed(tree))
    return tree


def help_text(root: Path, definition: Definition) -> str:
    """The help text of a definition, unindented; empty when it has none, or when the file is gone."""
    if definition.help is None:
        return ""
    first, last = definition.help
    try:
        lines = (root / definition.file).read_text(encoding="utf-8", errors="replace").split("\n")[first - 1 : last]
    except OSError:
        return ""
    lines = [line.expandtabs().rstrip() for line in lines]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[indent:] for line in lines).strip("\n")


def _file(srcarch: str, identity: str, cache: Path) -> Path:
    hasher = hashlib.sha256(json.dumps([srcarch, identity]).encode())
    package = Path(resources.__file__).parent
    for module in _CODE:
        hasher.update((package / module).read_bytes())
    return cache / "kconfig" / f"{hasher.hexdigest()[:32]}.tree"


def _packed(tree: Tree) -> bytes:
    """A digest of the rest, a line of what is read at once, and a line for each symbol, read when it is asked for."""
    choices = [tree.choices[number] for number in sorted(tree.choices)]
    head = {
        "modules": tree.modules,
        "choices": [[*c.place.rsplit(":", 1), c.title, c.optional, c.members, _defaults(c.defaults)] for c in choices],
    }
    lines = [_dump(head)]
    for name, definitions in tree.definitions.items():
        lines.append(f"d{name}\t{_dump([_definition(d) for d in definitions])}")
    for letter, selects in (("s", tree.selects), ("i", tree.implies)):
        for target, found in selects.items():
            lines.append(f"{letter}{target}\t{_dump([[s.by, _condition(s.condition)] for s in found])}")
    body = "\n".join(lines).encode(errors="replace")
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _condition(condition: Condition | None) -> list[Any] | None:
    return [condition.text, condition.file, condition.line] if condition else None


def _defaults(given: list[Default]) -> list[list[Any]]:
    return [[d.value, _condition(d.condition)] for d in given]


def _definition(d: Definition) -> list[Any]:
    conditions = [[_condition(c) for c in part] for part in (d.depends, d.visible)]
    ranges = [[r.low, r.high, _condition(r.condition)] for r in d.ranges]
    facts = [d.type, d.title, _condition(d.prompt), d.choice, d.menus]
    return [d.name, d.file, d.line, *conditions, *facts, _defaults(d.defaults), ranges, d.help]


def _unpacked(data: bytes) -> Tree:
    """Raises ValueError when the data are not what `_packed` made."""
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("damaged")
    head, *lines = body.decode().split("\n")
    facts = json.loads(head)
    rows: dict[str, dict[str, str]] = {"d": {}, "s": {}, "i": {}}
    for line in lines:
        name, _, row = line.partition("\t")
        rows[name[0]][name[1:]] = row
    choices = {
        number: Choice(number, file, int(line), title, optional, members, _read_defaults(defaults))
        for number, (file, line, title, optional, members, defaults) in enumerate(facts["choices"], 1)
    }
    return Tree(
        _Rows(rows["d"], _read_definition),
        _Rows(rows["s"], _read_select),
        _Rows(rows["i"], _read_select),
        choices,
        facts["modules"],
    )


class _Rows(Mapping[str, list[_T]]):
    """By symbol, what its line says; a line is parsed when its symbol is asked for."""

    def __init__(self, rows: dict[str, str], read: Callable[[list[Any]], _T]) -> None:
        self._rows, self._read = rows, read
        self._known: dict[str, list[_T]] = {}

    def __getitem__(self, name: str) -> list[_T]:
        if name not in self._known:
            self._known[name] = [self._read(row) for row in json.loads(self._rows[name])]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows


def _read_defaults(rows: list[Any]) -> list[Default]:
    return [Default(value, Condition(*condition)) for value, condition in rows]


def _read_definition(row: list[Any]) -> Definition:
    name, file, line, depends, visible, type_, title, prompt, choice, menus, defaults, ranges, help_ = row
    return Definition(
        name,
        file,
        line,
        [Condition(*c) for c in depends],
        [Condition(*c) for c in visible],
        type_,
        title,
        Condition(*prompt) if prompt else None,
        choice,
        tuple(menus),
        _read_defaults(defaults),
        [Range(low, high, Condition(*c)) for low, high, c in ranges],
        tuple(help_) if help_ else None,
    )


def _read_select(row: list[Any]) -> Select:
    return Select(row[0], Condition(*row[1]))
