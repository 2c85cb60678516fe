"""Files damaged at random: lint says something about them, always with a place, and never falls over."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from kata_toolkit.kata.lint.document import parse
from kata_toolkit.kata.lint.files import Group
from kata_toolkit.kata.lint.lint import Options, lint
from kata_toolkit.kata.lint.sarif import sarif
from lint_files import dump, tree_of

VALUES = [b"[]", b"{}", b"true", b"-1", b"1.5", b'"x"', b"[[1]]", b"[{a = 1}]", b"{a = {b = 1}}", b"nan", b"inf"]
VALUES += [b"1979-05-27", b"99999999999999999999", b'""', b'["a", 1]', b"[{name = 1}]", b'[{name = "x"}, {}]', b"[1]"]
TABLES = [b"[hypervisor.qemu.factory]", b"[factory]", b"[runtime.x]", b"[[hypervisor.qemu.guest_extension_images]]"]
TABLES += [b"[agent]", b"hypervisor = 1", b"[runtime.shared_mounts]", b"[agent.kata.mem_agent]", b"[[agent.kata]]"]
TABLES += [b"[[hypervisor]]", b"[hypervisor.clh]", b"runtime = []", b"factory.x = 1"]


def damaged(text: bytes, chance: random.Random) -> bytes:
    lines = text.split(b"\n")
    for _ in range(chance.randint(1, 6)):
        at, kind = chance.randrange(len(lines)), chance.randrange(7)
        if kind <= 2 and b"=" in lines[at]:
            lines[at] = lines[at].split(b"=")[0] + b"= " + chance.choice(VALUES)
        elif kind == 3:
            lines.insert(at, chance.choice(lines))
        elif kind == 4 and lines[at]:
            line = bytearray(lines[at])
            line[chance.randrange(len(line))] = chance.randrange(256)
            lines[at] = bytes(line)
        elif kind == 5:
            lines[at] = chance.choice(TABLES)
        elif kind == 6:
            lines[at] = lines[at].replace(b"=", b".a =")
    return b"\n".join(lines)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_damaged(seed: int, dialect: str) -> None:
    chance = random.Random(f"{dialect} {seed}")
    texts = [dump(tree_of("qemu", d, "x86_64"))[0].encode() for d in ("go", "rs")]  # type: ignore[arg-type]  # both are
    read = 0
    for _ in range(40):
        document = parse("f.toml", damaged(chance.choice(texts), chance))
        read += document.tree is not None
        wanted = Options(dialect, host=chance.random() < 0.2)  # type: ignore[arg-type]  # a word of the command line
        findings = list(lint(Group(document), wanted).findings)
        assert document.tree is not None or findings
        assert all(finding.where.line >= 1 and finding.where.column >= 1 for finding in findings)
        json.dumps([finding.as_json() for finding in findings] + [sarif(findings, Path("/"))])
    assert read > 5, "what is no TOML at all says little"


@pytest.mark.parametrize("line", ["k{} = {}\n", "[k{}]\na = {}\n"])
@pytest.mark.parametrize("table", ["", "[hypervisor.qemu]\n"])
def test_a_file_full_of_unknown_keys_takes_no_minutes(table: str, line: str) -> None:
    many = 5000
    text = table + "".join(line.format(number, number) for number in range(many))
    began = time.process_time()
    findings = lint(Group(parse("f.toml", text.encode())), Options("go")).findings
    assert time.process_time() - began < 8, "the nearest key is looked up for the first ones only"
    assert sum(finding.rule.startswith("unknown-") for finding in findings) == many
