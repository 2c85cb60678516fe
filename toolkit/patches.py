"""Applies patches to a source tree, in order and without fuzz, and says which hunk of which file did not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from . import run
from .errors import InputError, ToolError
from .pipeline.packages import install_hint

PATCH = ("patch", "-p1", "-N", "-F0", "--no-backup-if-mismatch")
_SHOWN = 60  # lines of a hunk
# Lines of a patch that name a file: of unified and context diffs, and of git's extensions (git-diff(1)).
_NAMES = re.compile(
    r"^(?:(?:\+\+\+|---|\*\*\*) (?P<plain>[^\t\n]+)|(?:rename|copy) (?:from|to) (?P<git>.+)|Index: (?P<index>.+))"
)
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NO_FILE = "/dev/null"


def require_inside(patch: Path) -> None:
    """Refuse a patch that names a file outside of the tree it is for. Raises InputError.

    patch(1) skips such names, and goes on with the rest: half a patch.
    """
    try:
        text = patch.read_text(errors="surrogateescape")
    except OSError as error:
        raise InputError(f"cannot read {patch}: {error.strerror}") from error
    if not text.strip():
        raise InputError(f"the patch {patch} is empty")
    for number, line in _outside_of_hunks(text):
        match = _NAMES.match(line)
        name = next((n for n in match.groups() if n), "").strip().strip('"') if match else ""
        if name and name != _NO_FILE and (name.startswith("/") or ".." in name.split("/")):
            raise InputError(
                f"the patch {patch} names a file outside of the tree, in line {number}: {name}",
                hint="nothing of it was used; do not trust this patch",
            )


def _outside_of_hunks(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a patch without those of its unified hunks, which may look like anything."""
    old = new = 0
    for number, line in enumerate(text.split("\n"), 1):
        if old > 0 or new > 0:
            old -= line[:1] in ("-", " ", "")
            new -= line[:1] in ("+", " ", "")
            continue
        header = _HUNK.match(line)
        if header:
            old, new = (int(count) if count else 1 for count in header.groups())
        yield number, line


def apply(patch: Path, tree: Path, scratch: Path) -> None:
    """Apply one patch. ``scratch``: a folder of ours, for the hunks that do not fit.

    Raises InputError when it does not apply to the last hunk; ToolError without patch(1).
    """
    require_inside(patch)
    if run.which("patch") is None:
        raise ToolError("patch is not installed", hint=install_hint("patch"))
    rejects = scratch / "rejects"
    result = run.run([*PATCH, "-r", str(rejects), "-d", str(tree), "-i", str(patch.absolute())], check=False)
    if result.status == 0:
        return
    hunks = rejects.read_text(errors="replace") if rejects.exists() else ""
    told = "\n".join(f"  {line}" for line in [*_said(result.output, str(rejects)), *_hunks(hunks)])
    raise InputError(
        f"the patch {patch} does not apply:\n{told}", hint="patches are applied in order, with patch -p1 and no fuzz"
    )


def _said(output: str, rejects: str) -> list[str]:
    """patch's own words, as far as they are about what went wrong."""
    lines, file = [], ""
    for line in output.splitlines():
        match = re.match(r"(?:checking|patching) (?:file|symbolic link) (.*?)(?: \(.*\))?$", line)
        if match:
            file = match.group(1)
            continue
        if rejects in line or re.fullmatch(r"Hunk #\d+ succeeded.*", line):
            continue  # the hunks are shown below
        lines.append(f"{file}: {line}" if line.startswith("Hunk #") else line)
    return lines


def _hunks(rejects: str) -> list[str]:
    lines = rejects.splitlines()
    more = [f"… and {len(lines) - _SHOWN} lines more"] if len(lines) > _SHOWN else []
    return [*lines[:_SHOWN], *more]
