"""Configuration files for lint's tests: those that the toolkit writes, as trees that a test can change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kata_toolkit.errors import InputError
from kata_toolkit.kata.flavours import flavours
from kata_toolkit.kata.lint.document import parse
from kata_toolkit.kata.lint.files import Group
from kata_toolkit.kata.lint.findings import Finding
from kata_toolkit.kata.lint.lint import Options, lint
from kata_toolkit.kata.render import render, toml_value
from kata_toolkit.kata.request import Built, Request
from kata_toolkit.kata.tree import config_tree
from kata_toolkit.kata.values import config_values
from kata_toolkit.spec.model import Dialect, Hypervisor

Tree = dict[str, Any]
Path = tuple[str, ...]
VERITY = "root_hash=00,salt=00,data_blocks=1,data_block_size=4096,hash_block_size=4096"


def every_file() -> list[tuple[str, Dialect, str]]:
    """(flavour, dialect, architecture) of all that the toolkit can write."""
    return [
        (name, dialect, arch)
        for name, flavour in flavours().items()
        for dialect in ("go", "rs")
        for arch in flavour.arches.get(dialect, ())
    ]


@cache
def _values(flavour: str, dialect: Dialect, arch: str) -> Mapping[str, Any]:
    known = flavours()[flavour]
    boots = known.boots.get(dialect) or ("image",)
    # On some architectures the Go runtime cannot boot from an image: then the file is one for an initrd.
    for boot in boots:
        hypervisor = Hypervisor(flavour, boot=boot, dialects=(dialect,))
        wanted = Request("guest", "/opt/guest", arch, "4.1", hypervisor, dax=arch in known.nvdimm)
        try:
            return config_values(wanted, Built("6.12.48"))[dialect]
        except InputError:
            if boot == boots[-1]:
                raise
    raise AssertionError


def tree_of(flavour: str, dialect: Dialect, arch: str) -> Tree:
    """What a file says; the caller may change it."""
    return config_tree(dialect, flavours()[flavour].vmm, _values(flavour, dialect, arch))


def text_of(flavour: str, dialect: Dialect, arch: str) -> str:
    """The file, as the toolkit writes it."""
    return render(dialect, flavour, "4.1", arch, tree_of(flavour, dialect, arch), ["About."])


def dump(tree: Tree) -> tuple[str, dict[Path, int]]:
    """A tree as plain TOML, and the line of each key and table."""
    lines: list[str] = []
    places: dict[Path, int] = {}

    def table(path: Path, values: Tree) -> None:
        for key, value in values.items():
            if not isinstance(value, dict):
                lines.append(f"{key} = {_toml(value)}")
                places[(*path, key)] = len(lines)
        for key, value in values.items():
            if isinstance(value, dict):
                lines.append(f"[{'.'.join((*path, key))}]")
                places[(*path, key)] = len(lines)
                table((*path, key), value)

    table((), tree)
    return "\n".join(lines) + "\n", places


def _toml(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"[{', '.join('{' + ', '.join(f'{k} = {_toml(v)}' for k, v in one.items()) + '}' for one in value)}]"
    return toml_value(value)


def found_in(text: str, dialect: Dialect, arch: str | None = None, file: str = "configuration.toml") -> list[Finding]:
    """All findings about a text."""
    return list(lint(Group(parse(file, text.encode())), Options(dialect, arch=arch)).findings)


def at(findings: list[Finding], line: int) -> list[Finding]:
    """Those of one line."""
    return [finding for finding in findings if finding.where.line == line]
