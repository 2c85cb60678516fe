"""Reads a file of either kind: an OCI config.json, or Kubernetes manifests in YAML or JSON."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ..errors import InputError, Problem, Where
from ..spec.source import Source, read_source, split_lines
from ..spec.yamltree import Node, Tree, parse
from .size_json import parse_json
from .size_oci import read_oci
from .size_pod import read_pods
from .size_workload import Workload

_MARK = re.compile(r"---(?=\s|$)")
_END = re.compile(r"\.\.\.\s*$")
_NOTHING = re.compile(r"\s*(#.*)?")
MAX_BYTES = 4 << 20


def read_workloads(path: Path) -> list[Workload]:
    """All that becomes a VM in a file; - is a pipe. Raises InputError with every mistake."""
    source = _piped() if str(path) == "-" else read_source(path, max_bytes=MAX_BYTES)
    if not source.text.strip():
        raise InputError("is empty", where=Where(source.file))
    if source.text.lstrip()[0] in "{[":
        tree = parse_json(source)
        kubernetes = isinstance(tree.root.value, dict) and ("kind" in tree.root.value or "items" in tree.root.value)
        return read_pods([tree]) if kubernetes else [read_oci(tree)]
    if path.suffix == ".json":
        parse_json(source)  # tells where it is none
    return read_pods(_documents(source))


def _piped() -> Source:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES >> 20} MiB", where=Where("-"), hint="is it the right file?")
    try:
        return Source("-", data.decode("utf-8"), "")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8", where=Where("-")) from error


def _documents(source: Source) -> list[Tree]:
    """The documents of a YAML text, each with the places that it has in the whole."""
    lines = split_lines(source.text)
    starts = [number for number, line in enumerate(lines) if _MARK.match(line)]
    bounds = list(zip([0, *starts], [*starts, len(lines)], strict=True))
    trees = []
    for start, end in bounds:
        part = [_MARK.sub("   ", line) for line in lines[start : start + 1]] + lines[start + 1 : end]
        part = ["" if _END.match(line) or line.startswith("%") else line for line in part]
        if all(_NOTHING.fullmatch(line) for line in part):
            continue
        text = "\n" * start + "\n".join(part) + "\n"
        tree, problems = parse(Source(source.file, text, source.digest))
        # What YAML readers disagree on is no matter in what is not read here, such as the mode of a volume's files.
        doubtful = _doubtful(tree.root)
        problems = [problem for problem in problems if problem.where not in doubtful]
        if problems:
            raise InputError.many(problems)
        trees.append(tree)
    if not trees:
        raise InputError("is empty", where=Where(source.file))
    return trees


def _doubtful(node: Node) -> set[Where]:
    found = {node.where} if node.broken and node.raw is not None else set()
    for child in node.children.values():
        found |= _doubtful(child)
    return found


def read_files(paths: list[Path]) -> list[Workload]:
    """The workloads of several files. Raises InputError with the mistakes of all."""
    found: list[Workload] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found += read_workloads(path)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.many(problems)
    return found
