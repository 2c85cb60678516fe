"""Finds the source of a Debian package, unprivileged: also where the host's apt has no source lists (deb-src).

apt is asked with lists of our own, made from the archives of Debian that the host's apt knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import run
from .apt import proxies
from .errors import InputError, ToolError
from .pipeline.packages import install_hint

# apt-get source --print-uris, one line a file: 'URI' NAME SIZE SHA256:HEX
_URI_LINE = re.compile(r"^'(?P<uri>\S+)' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")
_VERSION = re.compile(r"^Version: (\S+)$", re.MULTILINE)
_ORIGIN = "Debian"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source package; ``size`` in bytes."""

    name: str
    uri: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A source package, with its upstream tar and Debian's changes; the .dsc, which only lists them, is left out."""

    name: str
    version: str
    files: tuple[SourceFile, ...]


class AptSources:
    """``cache`` is the program's cache folder."""

    def __init__(self, cache: Path, *, offline: bool) -> None:
        self._state = cache / "apt" / "sources"
        self._offline = offline

    def resolve(self, name: str, version: str | None = None) -> SourcePackage:
        """The newest version of a source package, or the one asked for.

        Raises InputError when there is none, ToolError without apt, without a Debian archive in its sources, and
        without lists when offline.
        """
        if run.which("apt-get") is None:
            raise ToolError("apt-get is not installed, so no source can be found", hint=install_hint("apt-get"))
        if not self._lists():
            self._update(name)
        found = self._look_up(name, version)
        if found is None and not self._offline:
            self._update(name)
            found = self._look_up(name, version)
        if found is None:
            raise InputError(
                f"apt knows no source package {name}{f' {version}' if version else ''}", hint=self._known(name)
            )
        return found

    def _look_up(self, name: str, version: str | None) -> SourcePackage | None:
        wanted = f"{name}={version}" if version else name
        words = ("source", "--print-uris", "--only-source", "-o", "Acquire::ForceHash=SHA256", wanted)
        # Not where the user stands: of a file that lies there already, apt-get prints no line.
        result = run.run(["apt-get", "-q", *self._options(), *words], cwd=self._state / "parts", check=False)
        matches = [match for line in result.output.splitlines() if (match := _URI_LINE.match(line))]
        description = next((m for m in matches if m["name"].endswith(".dsc")), None)
        if description is None:
            return None
        files = [SourceFile(m["name"], m["uri"], int(m["size"]), m["sha256"]) for m in matches if m is not description]
        return SourcePackage(name, version or self._version(name, description["name"]), tuple(files))

    def _version(self, name: str, description: str) -> str:
        """The version whose .dsc this is: its file name lacks the epoch."""
        plain = description.removesuffix(".dsc").partition("_")[2]
        versions = [v for v in self._versions(name) if v.partition(":")[2] == plain or v == plain]
        return versions[0] if versions else plain

    def _versions(self, name: str) -> list[str]:
        shown = run.run(["apt-cache", *self._options(), "showsrc", "--only-source", name], check=False)
        return list(dict.fromkeys(_VERSION.findall(shown.output)))

    def _known(self, name: str) -> str:
        versions = self._versions(name)
        return f"there are: {', '.join(versions)}" if versions else "are the apt sources those of a Debian release?"

    def _lists(self) -> bool:
        folder = self._state / "lists"
        return folder.is_dir() and any("_Sources" in path.name for path in folder.iterdir())

    def _update(self, name: str) -> None:
        if self._offline:
            raise ToolError(
                f"there are no source lists yet, so {name} cannot be found offline", hint="build once without --offline"
            )
        parts = self._state / "parts"
        parts.mkdir(parents=True, exist_ok=True)
        (self._state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (parts / "debian.list").write_text("".join(self._archives()))
        run.run(["apt-get", "-q", *self._options(), "update"], env=proxies())

    @staticmethod
    def _archives() -> list[str]:
        """The host's Debian archives as lines for sources. Raises ToolError when it has none."""
        words = ["--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)|", "Created-By: Packages"]
        shown = run.run(["apt-get", "indextargets", *words], check=False).output
        lines = []
        for line in shown.splitlines():
            origin, uri, release, component, key, *_ = [*line.split("|"), "", "", "", "", ""]
            if origin == _ORIGIN:
                signed = f"[signed-by={key}] " if key.startswith("/") else ""
                lines.append(f"deb-src {signed}{uri} {release} {component}\n")
        if not lines:
            raise ToolError(
                "apt knows no archive of Debian, so no source can be found",
                hint="apt-get update, with Debian's sources",
            )
        return list(dict.fromkeys(lines))

    def _options(self) -> list[str]:
        settings: dict[str, Any] = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": self._state / "parts",
            "Dir::State::Lists": self._state / "lists",
            "Dir::Cache": self._state / "cache",
            "APT::Sandbox::User": "",
            "Acquire::Retries": 2,
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
