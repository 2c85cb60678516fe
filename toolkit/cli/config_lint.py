"""``kata-toolkit config lint``: what is wrong with a Kata configuration, before a runtime stumbles over it."""

from __future__ import annotations

import json as json_module
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..errors import Problem
    from ..kata.lint.files import Group
    from ..kata.lint.findings import Finding
    from ..kata.lint.lint import Options, Report

_DIALECTS = ("auto", "go", "rs", "both")


def lint(
    files: list[Path] = typer.Argument(
        ..., metavar="FILE…", readable=False, allow_dash=True, help="Kata configuration files; - reads one from stdin."
    ),
    dialect: str = typer.Option("auto", "--dialect", metavar="auto|go|rs|both", help="Which runtime reads the files."),
    kata: str = typer.Option(None, "--kata", metavar="VERSION", help="The Kata version; otherwise the newest known."),
    arch: str = typer.Option(None, "--arch", metavar="ARCH", help="The machine; otherwise what the file tells of it."),
    host: bool = typer.Option(False, "--host", help="Also look for the paths and programs on this host."),
    drop_ins: bool = typer.Option(True, "--drop-ins/--no-drop-ins", help="Read config.d beside each file, too."),
    strict: bool = typer.Option(False, "--strict", help="Status 1 for warnings, too."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
    sarif: bool = typer.Option(False, "--sarif", help="SARIF 2.1.0 on stdout, for code-scanning services."),
) -> None:
    """Find every mistake in Kata configuration files: each with its place, what the runtime does, and a remedy."""
    from ..errors import CheckError, InputError
    from ..kata.lint.lint import lint as lint_one
    from .shown import ShownError, shown

    if json and sarif:
        raise InputError("--json and --sarif exclude each other")
    options = _options(dialect, kata, arch, host)
    groups, unread = _groups(files, drop_ins)
    reports = [lint_one(group, options) for group in groups]
    findings = list(dict.fromkeys(finding for report in reports for finding in report.findings))
    if json:
        typer.echo(json_module.dumps(_document(reports, findings, unread), indent=2))
    elif sarif:
        from ..kata.lint.sarif import sarif as as_sarif

        typer.echo(json_module.dumps(as_sarif(findings, Path.cwd()), indent=2))
    else:
        _print(groups, reports, findings)
    if unread:
        error = InputError.many(unread)
        raise shown(error) if json else error
    bad = [finding for finding in findings if finding.level == "error" or (strict and finding.level == "warning")]
    if bad:
        raise ShownError.of(CheckError.exit_code, [_problem(finding) for finding in bad])


def _options(dialect: str, kata: str | None, arch: str | None, host: bool) -> Options:
    from typing import cast

    from ..arch import arch_of, arches
    from ..errors import InputError
    from ..kata.lint.lint import Options, Wanted
    from ..spec.suggest import did_you_mean

    if dialect not in _DIALECTS:
        hint = did_you_mean(dialect, _DIALECTS)
        raise InputError(f'--dialect: expected {", ".join(_DIALECTS)}, not "{dialect}"', hint=hint)
    if kata is not None and not re.fullmatch(r"\d+(\.\d+)+", kata, re.ASCII):
        raise InputError(f'--kata: expected a version like 4.1, not "{kata}"')
    name = None
    if arch is not None:
        if arch not in arches():
            hint = did_you_mean(arch, arches()) or f"there is: {', '.join(arches())}"
            raise InputError(f'--arch: there is no "{arch}"', hint=hint)
        name = arch_of(arch).uname
    return Options(cast(Wanted, dialect), kata, name, host)


def _groups(files: Sequence[Path], drop_ins: bool) -> tuple[list[Group], list[Problem]]:
    """What could be read, and the problems of what could not."""
    from ..errors import InputError
    from ..kata.lint.files import read_group, read_stdin

    groups: list[Group] = []
    unread: list[Problem] = []
    for file in dict.fromkeys(files):
        try:
            if str(file) == "-":
                groups.append(read_stdin(sys.stdin.buffer.read()))
            else:
                groups.append(read_group(file, drop_ins=drop_ins))
        except InputError as error:
            unread += error.problems
    return groups, unread


def _document(reports: Sequence[Report], findings: Sequence[Finding], unread: Sequence[Problem]) -> dict[str, Any]:
    return {
        "version": 1,
        "configurations": [
            {
                "file": report.file,
                "dialects": list(report.dialects),
                "because": report.because,
                "drop_ins": list(report.drop_ins),
            }
            for report in reports
        ],
        "findings": [finding.as_json() for finding in findings],
        "counts": {level: _count(findings, level) for level in ("error", "warning", "note")},
        "errors": [problem.as_json() for problem in unread],
    }


def _count(findings: Sequence[Finding], level: str) -> int:
    return sum(finding.level == level for finding in findings)


def _problem(finding: Finding) -> Problem:
    from ..errors import Problem, Where

    place = finding.where
    where = Where(place.file, place.line, place.column)
    details = [finding.does] if finding.does else []
    details += [f"{other.file}:{other.line}:{other.column}: {text}" for other, text in finding.related]
    return Problem(f"{finding.message} [{finding.rule}]", where, finding.hint, tuple(details))


def _print(groups: Sequence[Group], reports: Sequence[Report], findings: Sequence[Finding]) -> None:
    """The findings with their lines, then a line a configuration."""
    from ..kata.lint.lint import texts
    from .render_problems import render_labelled, wants_color

    sources = {file: text for group in groups for file, text in texts(group).items()}
    color = wants_color(sys.stdout)
    labelled = ((finding.level, _problem(finding)) for finding in findings)
    for text in render_labelled(labelled, sources, color=color):
        typer.echo(text, nl=False)
    for report in reports:
        counts = [(_count(report.findings, level), level) for level in ("error", "warning", "note")]
        told = ", ".join(f"{number} {level}{'s' if number > 1 else ''}" for number, level in counts if number)
        titles = " and ".join({"go": "Go", "rs": "Rust"}[dialect] for dialect in report.dialects)
        some = len(report.drop_ins)
        with_ = f", with {some} drop-in{'s' if some > 1 else ''}" if some else ""
        typer.echo(f"{report.file} ({titles} runtime{with_}): {told or 'ok'}")
