"""Writes a configuration as commented TOML, then reads it back and compares it with what was meant."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import resources
from ..errors import InternalError
from ..spec.model import Dialect
from .flavours import flavour
from .keys import Setting, Side, tables
from .settings import shown
from .tree import TEMPLATE

_WIDTH = 105
_SECTIONS = {
    "go": ("hypervisor", "hypervisor.guest_extension_images", "factory", "agent", "runtime"),
    "rs": (
        "hypervisor",
        "hypervisor.guest_extension_images",
        "hypervisor.factory",
        "agent",
        "agent.mem_agent",
        "runtime",
    ),
}
_EMPTY = {"boolean": False, "integer": 0, "float": 0, "string": "", "strings": [], "integers": []}
_HOST = {"cpus": "the host's CPUs", "ram": "the host's memory"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its comment; ``optional`` ones are commented out and show the runtime's own default."""

    key: str
    value: str
    comment: tuple[str, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Entries under a heading (none: the table has only one group)."""

    title: str | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file; ``listed``: one of several of that name."""

    header: str
    groups: tuple[Group, ...]
    listed: bool = False


def toml_value(value: Any) -> str:
    """A value as TOML. Raises InternalError for what the settings cannot hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(c) or _printable(c) for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise InternalError(f"no TOML for {value!r}")


def _printable(char: str) -> str:
    return char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}"


def render(
    dialect: Dialect, flavour_name: str, kata: str, arch: str, tree: Mapping[str, Any], about: Sequence[str]
) -> str:
    """The file's text for a tree of tables (see ``tree.config_tree``). ``about``: lines for its heading.

    Raises InternalError when the text would not say exactly what the tree does.
    """
    import jinja2

    vmm = flavour(flavour_name).vmm
    sections = [section for table in _SECTIONS[dialect] for section in _sections(table, dialect, vmm, kata, arch, tree)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.resource("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 -- the output is TOML, not HTML; every value goes through toml_value
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    file = {"title": f"Kata Containers {kata}: {tables().title(dialect)}, {flavour_name}", "about": list(about)}
    try:
        text = environment.get_template(TEMPLATE).render(file=file, sections=sections)
    except jinja2.TemplateError as error:
        raise InternalError(f"the template {TEMPLATE} is wrong: {error}") from error
    compare(text, tree)
    return text


def compare(text: str, tree: Mapping[str, Any]) -> None:
    """Raises InternalError unless the TOML text holds exactly this tree, types included."""
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InternalError(f"the configuration written is not TOML: {error}") from error
    for missing, other, what in ((tree, read, "lacks"), (read, tree, "has besides, or in another form,")):
        lost = sorted(_flat(missing) - _flat(other))
        if lost:
            raise InternalError(f"the configuration written {what} {', '.join(f'{k} = {v}' for k, v in lost[:3])}")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> set[tuple[str, str]]:
    """Every leaf as (dotted key, JSON): JSON tells 1 from 1.0 and from true."""
    leaves: set[tuple[str, str]] = set()
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        else:
            leaves.add((prefix + key, json.dumps(value)))
    return leaves


def _sections(
    table: str, dialect: Dialect, hypervisor: str, kata: str, arch: str, tree: Mapping[str, Any]
) -> Iterator[Section]:
    """The table, if it is written, or each of its entries, if it is a list of tables."""
    path = tables().table_path(table, dialect, hypervisor)
    written: Any = tree
    for part in path:
        written = written.get(part, {})
    listed = isinstance(written, list)
    for entries in written if listed else [written]:
        if entries:
            yield Section(".".join(path), _groups(table, dialect, hypervisor, kata, arch, entries), listed)


def _groups(
    table: str, dialect: Dialect, hypervisor: str, kata: str, arch: str, written: Mapping[str, Any]
) -> tuple[Group, ...]:
    groups: dict[str, list[Entry]] = {}
    shown_keys: set[str] = set()
    for setting in tables().settings:
        side = setting.side(dialect)
        # Two settings may be one key (the Rust runtime's list `experimental`); the first one describes it.
        if side is None or side.table != table or side.type in ("table", "tables") or side.key in shown_keys:
            continue
        shown_keys.add(side.key)
        if side.key in written:
            entry = _entry(setting, side, written[side.key], hypervisor, arch, optional=False)
        elif _offered(side, hypervisor, kata):
            default = side.default_of(hypervisor)
            value = _EMPTY[side.type] if default is None else default
            entry = _entry(setting, side, value, hypervisor, arch, optional=True)
        else:
            continue
        groups.setdefault(setting.group, []).append(entry)
    titled = len(groups) > 1
    return tuple(Group(tables().group_title(g) if titled else None, tuple(e)) for g, e in groups.items())


def _offered(side: Side, hypervisor: str, kata: str) -> bool:
    """Whether a key that is not written is worth showing, commented out."""
    if side.internal or side.inert or side.deprecated or side.needs:
        return False
    choices = side.choices(hypervisor, None)
    return side.heeded_by(hypervisor) and side.exists_in(kata) and (choices is None or len(choices) > 1)


def _entry(setting: Setting, side: Side, value: Any, hypervisor: str, arch: str, *, optional: bool) -> Entry:
    facts = _facts(side, hypervisor, arch)
    meaning = side.meaning or setting.meaning
    together = f"{meaning} {facts}".rstrip()
    paragraphs = [together] if len(together) <= _WIDTH else [meaning, facts]
    if side.note:
        paragraphs.append(side.note)
    if side.deprecated:
        paragraphs.append(f"Deprecated: {side.deprecated}.")
    lines = [line for text in paragraphs for line in textwrap.wrap(text, _WIDTH)]
    return Entry(side.key, toml_value(value), tuple(lines), optional)


def _facts(side: Side, hypervisor: str, arch: str) -> str:
    """Unit, values and default in one line."""
    words = []
    if side.unit:
        words.append(f"Unit: {side.unit}.")
    choices = side.choices(hypervisor, arch)
    if choices and side.type != "boolean":
        words.append(f"One of: {', '.join(shown(c) for c in choices)}.")
    least = side.low.at(hypervisor, arch) if side.low else None
    most = side.high.at(hypervisor, arch) if side.high else None
    if least is not None:
        words.append(f"At least {least}.")
    if most is not None:
        words.append(f"At most {most}.")
    zero = side.zero_means(hypervisor)
    if zero is not None:
        words.append(f"0 means {_HOST[zero['host']] if isinstance(zero, Mapping) else zero}.")
    host = side.default_host(hypervisor)
    default = side.default_of(hypervisor)
    if host:
        words.append(f"Default: {_HOST[host]}.")
    elif default is not None and default not in ("", []):
        words.append(f"Default: {toml_value(default)}.")
    return " ".join(words)
