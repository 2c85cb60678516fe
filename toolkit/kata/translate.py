"""Turns a configuration of one runtime into one of the other: every key, its comments, and a list of what got lost."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path as File
from typing import Any

from ..errors import InputError, Where
from ..spec.model import Dialect
from .keys import tables
from .lint.positions import Path
from .lint.structure import Item
from .render import compare
from .rules import Values, broken
from .settings import NoCounterpartError
from .translate_read import Source, read_file
from .translate_result import Added, Changed, Lost, Translation
from .translate_text import Piece, Row, Section, Sheet, quoted, split_before, take_pieces, toml_text
from .translate_values import Carried, carry, homes, idle, replaced, same, silent_defaults, useless


def translate(
    file: File | None,
    data: bytes | None = None,
    *,
    source: Dialect | None = None,
    target: Dialect | None = None,
    hypervisor: str | None = None,
    drop_ins: bool = False,
) -> Translation:
    """Translate a file, or ``data`` from a pipe. The dialects are found out where they are not given.

    Raises InputError for a file that its own runtime would refuse, CheckError for one whose VMM the other lacks.
    """
    read = read_file(file, data, source, target, hypervisor, drop_ins)
    work = _Work(read)
    for index in range(len(read.read)):
        work.document(index)
    if not read.fragment:
        work.complete()
    return work.result()


_RUST_NAMES = {
    "runtime.name": "the only kind of sandbox",
    "runtime.hypervisor_name": "the hypervisor table in use",
    "runtime.agent_name": "the agent table in use",
}
"""Keys that the Rust runtime wants and the Go one has no use for, and what they name."""


class _Work:
    """One translation under way."""

    def __init__(self, read: Source) -> None:
        self.read = read
        self.subject = read.subject
        base = read.read[0][0]
        subject = read.subject
        self.done = Translation(base.file, subject.source, subject.target, read.why_dialect, subject.hypervisor)
        self.sheet = Sheet("")
        self.homes = homes(subject.source, subject.target)
        self.written: set[str] = set()  # names of settings that the old file states
        self.rows: dict[tuple[Any, ...], tuple[Section, Row]] = {}  # the old file's keys, for drop-ins to replace
        self.moved: list[tuple[tuple[Any, ...], Section, Row]] = []  # rows for another table than the one they are from

    def document(self, index: int) -> None:
        """Every piece of one document; those of drop-ins take the place of what they override."""
        document = self.read.read[index][0]
        items = self.read.items(index)
        try:
            pieces, rest = take_pieces(document.text.replace("\r\n", "\n"))
        except ValueError as error:
            raise InputError(f"cannot be taken apart: {error}", where=Where(document.file)) from error
        if index:
            self._drop_lists(items)
        homes = self._sections(pieces, first=index == 0)
        if index == 0:
            (homes or self.sheet.sections)[-1].tail += rest
        for piece, section in zip(pieces, homes, strict=True):
            if piece.text is not None:
                self._pair(piece, items, section, index)
        for identity, section, row in self.moved:  # behind what stands there already
            self._put(identity, section, row)
        self.moved = []
        self._check_complete(pieces, items, document.file)

    def _check_complete(self, pieces: list[Piece], items: dict[Path, Item], file: str) -> None:
        """Every key that the runtime reads must have been seen, whatever the file's form."""
        seen = {piece.path for piece in pieces if piece.text is not None}
        for path, item in items.items():
            if isinstance(item.value, dict) or (item.match and item.match.side.type == "tables"):
                continue
            if not any(path[:depth] in seen for depth in range(1, len(path) + 1)):
                place = Where(file, item.where.line, item.where.column)
                raise InputError(f"{item.key} stands in a form that is not understood", where=place)

    def _drop_lists(self, items: dict[Path, Item]) -> None:
        """A drop-in's list of tables replaces the whole list."""
        for item in items.values():
            if item.match and item.match.side.type == "tables":
                path = self._target_path(f"{item.table}.{item.match.side.key}")
                gone = [s for s in self.sheet.sections if s.element is not None and s.path == path]
                self.sheet.sections = [s for s in self.sheet.sections if not any(s is one for one in gone)]
                self.rows = {k: v for k, v in self.rows.items() if not any(v[0] is one for one in gone)}

    def _sections(self, pieces: list[Piece], *, first: bool) -> list[Section]:
        """For each piece the table of the new file where it, or what stays of it, goes; headers make theirs."""
        last = self.sheet.sections[0]
        homes = []
        for number, piece in enumerate(pieces):
            if piece.text is None:
                above, before = split_before(piece.before)
                if first:
                    last.tail += above if number else self._retitled(above)
                last = self._header(piece, before)
            homes.append(last)
        return homes

    def _header(self, piece: Piece, before: str) -> Section:
        table, element = _table_of(piece.path, self.read.known.any_case)
        path = self._target_path(table) if self._kept(piece.path) else None
        if path is None:
            names = tuple(step for step in piece.path if isinstance(step, str))
            self.sheet.sections.append(Section(names, element, live=False, before=before, after=piece.after))
            return self.sheet.sections[-1]
        found = self.sheet.find(path, element)
        if found is None:
            found = self.sheet.section(path, element)
            found.before, found.after = before, piece.after
        return found

    def _retitled(self, text: str) -> str:
        """The heading of a file of ours names the runtime."""
        here, there = (tables().title(d) for d in (self.subject.source, self.subject.target))
        return re.sub(rf"\A(# Kata Containers [0-9.]+: ){re.escape(here)}\b", rf"\g<1>{there}", text)

    def _kept(self, path: Path) -> bool:
        """Whether a table is one that the new file can have: of the VMM in question, of the agent that there is."""
        if len(path) < 2 or not isinstance(path[0], str):
            return True
        top = path[0].lower() if self.read.known.any_case else path[0]
        if top == "hypervisor":
            return path[1] == self.subject.hypervisor
        return top != "agent" or path[1] == tables().dialects[self.subject.target]["agent_table"]

    def _target_path(self, table: str) -> tuple[str, ...] | None:
        home = self.homes.get(table)
        return tables().table_path(home, self.subject.target, self.subject.hypervisor) if home else None

    def _pair(self, piece: Piece, items: dict[Path, Item], section: Section, index: int) -> None:
        item = items.get(piece.path)
        if item is None or (item.match and item.match.side.type == "table"):
            inside = _within(piece.path, items)
            for inner in inside:
                self._pair(Piece(inner.path, "", "", toml_text(inner.value)), items, section, index)
            if inside:
                return
        where = self._where(piece.path, index)
        self._forget(self._name(piece.path))
        if item is None or item.match is None or item.match.shadow or not self._kept(piece.path):
            why, matters, hint = self._unread(piece, item)
            self._leave_out(
                piece, section, Lost(self._name(piece.path), _value(piece), why, matters, where, hint), item
            )
            return
        self.written.add(item.match.setting.name)
        if item.match.setting.name in _RUST_NAMES and self.subject.target == "go":
            rest = split_before(piece.before)[0]
            if rest.strip():
                section.rows.append(Row("", None, "", rest))
            why = f"the {self.subject.title('go')} needs no such key"
            self.done.lost.append(Lost(self._name(piece.path), item.value, why, False, where))
            return
        try:
            carried = carry(item.match.setting, item.value, self.subject)
        except NoCounterpartError as error:
            nothing = idle(item.value, item.match.side, self.subject.hypervisor)
            lost = Lost(self._name(piece.path), item.value, str(error), nothing is None, where)
            self._leave_out(piece, section, lost, item)
            return
        self._place(piece, item, carried, section, where)

    def _forget(self, key: str) -> None:
        """What was told of a key that a drop-in gives anew."""
        done = self.done
        done.lost = [entry for entry in done.lost if entry.key != key]
        done.inert = [entry for entry in done.inert if entry.key != key]
        done.changed = [entry for entry in done.changed if entry.key != key]

    def _unread(self, piece: Piece, item: Item | None) -> tuple[str, bool, str | None]:
        """Why a key has no meaning to carry over."""
        title = self.read.known.title
        if not self._kept(piece.path):
            told = f"the {title} would not use this table with {self.subject.hypervisor}"
            return told, self.subject.source == "go" and item is not None and item.match is not None, None
        if item and item.match and item.match.shadow:
            return f"the {title} reads {item.match.side.key} in its place", False, None
        near = self.read.known.near(item.table, item.key) if item else None
        return f"the {title} does not know it", False, f"did you mean {near}?" if near else None

    def _leave_out(self, piece: Piece, section: Section, lost: Lost, item: Item | None) -> None:
        self.done.lost.append(lost)
        text, key = piece.text or "", str(piece.path[-1])
        row = Row(key, lost.value, text, piece.before, piece.after, piece.separator, lost.why)
        identity: tuple[Any, ...] = ("lost", lost.key)
        side = item.match.setting.side(self.subject.target) if item and item.match else None
        if side:  # a drop-in may take back what the base file says
            _, element = _table_of(piece.path, self.read.known.any_case)
            path = tables().table_path(side.table, self.subject.target, self.subject.hypervisor)
            identity = (path, element, side.key) if (path, element, side.key) in self.rows else identity
        self._put(identity, section, row)

    def _place(self, piece: Piece, item: Item, carried: Carried, section: Section, where: Where) -> None:
        side, value = carried.side, carried.value
        _, element = _table_of(piece.path, self.read.known.any_case)
        path = tables().table_path(side.table, self.subject.target, self.subject.hypervisor)
        home = section if section.live and (section.path, section.element) == (path, element) else None
        before, text = piece.before, (piece.text or "") if same(value, item.value) else toml_text(value)
        identity = (path, element, side.key)
        if home is None:
            home = self.sheet.section(path, element, behind=section if section.path else None)
            rest, before = split_before(before)
            if rest.strip():  # commented-out keys above it stay where they are
                section.rows.append(Row("", None, "", rest))
            row = Row(side.key, value, text, f"\n{before}", piece.after, piece.separator)
            self.moved.append((identity, home, row))
        else:
            self._put(identity, home, Row(side.key, value, text, before, piece.after, piece.separator))
        index = () if element is None else (element,)
        old, new = self._name(piece.path), self._name((*path, *index, side.key))
        if old.lower() != new.lower() or not same(value, item.value):
            self.done.changed.append(Changed(old, item.value, new, value, where, carried.rounded))
        source = item.match.side if item.match else side
        nothing, other = useless(side, self.subject), replaced(value, side, self.subject)
        if nothing:
            done_anyway = same(value, side.default_of(self.subject.hypervisor))
            matters = not done_anyway and idle(item.value, source, self.subject.hypervisor) is None
            self.done.inert.append(Lost(old, item.value, nothing, matters, where))
        elif other:
            self.done.inert.append(Lost(old, item.value, other, True, where))

    def _put(self, identity: tuple[Any, ...], section: Section, row: Row) -> None:
        """Add a row, or have it take the place of the one with its name."""
        before = self.rows.get(identity)
        if before is None:
            section.rows.append(row)
            self.rows[identity] = (section, row)
            return
        home, old = before
        if isinstance(row.value, list) and isinstance(old.value, list) and row.key == "experimental":
            value = list(dict.fromkeys([*old.value, *row.value]))
            row = Row(row.key, value, toml_text(value), row.before, row.after, row.separator)
        kept = row if "#" in row.before else replace(row, before=old.before)
        home.rows[home.rows.index(old)] = kept
        self.rows[identity] = (home, kept)

    def _where(self, path: Path, index: int) -> Where:
        place = self.read.read[index][0].key_place(path)
        return Where(place.file, place.line, place.column)

    @staticmethod
    def _name(path: Path) -> str:
        return ".".join(quoted(step) if isinstance(step, str) else str(step) for step in path)

    def complete(self) -> None:
        """What the other runtime needs besides, and what the two take differently for keys that are left out."""
        if self.subject.target == "rs":
            values = ("virt_container", self.subject.hypervisor, "kata")
            for position, (name, value) in enumerate(zip(_RUST_NAMES, values, strict=True)):
                why = f"the {self.subject.title('rs')} wants it: {_RUST_NAMES[name]}"
                self._add(self._home("runtime"), name.removeprefix("runtime."), value, why, position)
            section = self._home("runtime")
            if section.rows[len(values) :] and not section.rows[len(values)].before.startswith("\n"):
                section.rows.insert(len(values), Row("", None, "", "\n"))
            self._home("agent")
        own = self.subject.title(self.subject.source)
        for setting, carried in silent_defaults(self.subject, self.written):
            if setting.name == "disable_image_nvdimm" and not self.subject.facts.get("image"):
                continue
            side = setting.side(self.subject.source)
            name = side.key if side else setting.name
            other = replaced(carried.value, carried.side, self.subject)
            why = f"what the {own} takes when {name} is left out" + (f"; {other}" if other else "")
            self._add(self._home(carried.side.table), carried.side.key, carried.value, why)

    def _home(self, table: str) -> Section:
        return self.sheet.section(tables().table_path(table, self.subject.target, self.subject.hypervisor))

    def _add(self, section: Section, key: str, value: Any, why: str, position: int | None = None) -> None:
        if any(row.key == key and row.reason is None for row in section.rows):
            return
        row = Row(key, value, toml_text(value), f"\n# {why[:1].upper()}{why[1:]}.\n")
        section.rows.insert(len(section.rows) if position is None else position, row)
        self.done.added.append(Added(".".join((*section.path, key)), value, why))

    def result(self) -> Translation:
        """The text, read back and compared with what was meant, and held to the rules that the old one kept."""
        text = self.sheet.render()
        compare(text, self.sheet.tree())
        self.done.text = text
        given = self._given()
        if not self.read.fragment:
            before = {b.rule for b in broken(self._values(self.subject.source, dict(self.subject.facts)))}
            found = [b for b in broken(self._values(self.subject.target, given)) if b.rule not in before]
            self.done.warnings = [f"{b.message} ({b.hint})" if b.hint else b.message for b in found]
        return self.done

    def _values(self, dialect: Dialect, given: dict[str, Any]) -> Values:
        boot = "image" if given.get("image") else "initrd"
        return Values(dialect, self.subject.hypervisor, self.subject.arch or "x86_64", boot, given)

    def _given(self) -> dict[str, Any]:
        """The new file's values by setting name."""
        tree = self.sheet.tree()
        found: dict[str, Any] = {}
        for setting in tables().settings:
            side = setting.side(self.subject.target)
            table: Any = tree
            for step in tables().table_path(side.table, self.subject.target, self.subject.hypervisor) if side else ():
                table = table.get(step, {}) if isinstance(table, dict) else {}
            if side and isinstance(table, dict) and side.key in table:
                found[setting.name] = table[side.key]
        return found


def _within(path: Path, items: dict[Path, Item]) -> list[Item]:
    """The keys of an inline table, those of tables in it included."""
    below = [(inner[len(path) :], item) for inner, item in items.items() if inner[: len(path)] == path]
    whole = [(rest, item) for rest, item in below if rest and not isinstance(item.value, dict)]
    return [item for rest, item in whole if not any(isinstance(step, int) for step in rest)]


def _table_of(path: Path, any_case: bool) -> tuple[str, int | None]:
    """Our name of the table that a header or key lies in or is, and the index in a list of tables."""
    indexes = [step for step in path if isinstance(step, int)]
    names = [step for step in path if isinstance(step, str)]
    top, *rest = [names[0].lower(), *names[1:]] if any_case and names else names or [""]
    if top in ("hypervisor", "agent"):
        rest = rest[1:]
    return ".".join([top, *rest]), indexes[0] if indexes else None


def _value(piece: Piece) -> Any:
    import tomllib

    return tomllib.loads(f"value = {piece.text}")["value"]
