"""The table of verdicts: what each runtime makes of a line, and what lint says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kata_toolkit.kata.keys import DIALECTS
from kata_toolkit.kata.lint.catalogue import RULES
from kata_toolkit.kata.lint.findings import Finding
from kata_toolkit.kata.lint.known import known
from kata_toolkit.spec.model import Dialect
from lint_files import at, found_in

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "data" / "lint-verdicts.yaml").read_text())


def _has_table(table: str, dialect: Dialect) -> bool:
    """Whether the dialect has that table; a foreign one is told as such, not by its keys."""
    first, *rest = table.split(".")
    ours = ".".join([first, *rest[1:]]) if first in ("hypervisor", "agent") else table
    return ours in known(dialect).by_table


BOTH = [
    pytest.param(case, dialect, id=f"{dialect}-{number}-{case['line'][:40]}")
    for number, case in enumerate(CASES)
    for dialect in DIALECTS
    if _has_table(case["in"], dialect)
]


def file_of(case: dict[str, Any], dialect: Dialect) -> str:
    """A good file with the case's lines in their table, in place of what it says about the same keys."""
    vmm = case["in"].split(".")[1] if case["in"].startswith("hypervisor") else "qemu"
    hypervisor = {"kernel": '"/k"', "image": '"/i"', "path": '"/p"'}
    if vmm == "dragonball":
        del hypervisor["path"]
    runtime = {"create_container_timeout": "60"} if dialect == "go" else {}
    runtime |= {"hypervisor_name": f'"{vmm}"', "agent_name": '"kata"'} if dialect == "rs" else {}
    tables: dict[str, dict[str, str]] = {f"hypervisor.{vmm}": hypervisor, "agent.kata": {}, "runtime": runtime}
    table = tables.setdefault(case["in"], {})
    for line in (case.get("with"), case["line"]):
        if line:
            key, value = line.split(" = ", 1)
            table[key] = value
    return "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in tables.items())


def said(findings: list[Finding]) -> str:
    return ", ".join(f"{finding.rule} {finding.level}" for finding in findings) or "ok"


@pytest.mark.parametrize(("case", "dialect"), BOTH)
def test_verdict(case: dict[str, Any], dialect: Dialect) -> None:
    text = file_of(case, dialect)
    line = next(n for n, one in enumerate(text.splitlines(), 1) if one.strip() == case["line"])
    findings = at(found_in(text, dialect), line)
    verdict, *parts = [part.strip() for part in case[dialect].split("|")]
    assert said(findings) == verdict
    if findings:
        does, hint = [*parts, "", ""][:2]
        assert does in (findings[-1].does or ""), findings[-1]
        assert hint in (findings[-1].hint or ""), findings[-1]


def test_the_table_is_large_and_covers_the_rules() -> None:
    rules = {word.split()[0] for case in CASES for d in ("go", "rs") for word in case[d].split("|")[0].split(", ")}
    assert len(CASES) >= 100
    assert rules - {"ok"} <= set(RULES)
    assert len(rules) > 15
