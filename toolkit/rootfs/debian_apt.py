"""Which packages a wish for some becomes: asked of apt, in a tree of its own where nothing is installed.

Neither the host's configuration of apt nor its installed packages have a say, and nothing of the host is written to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .. import run
from ..apt import LISTS, proxies
from ..errors import InputError, Problem, ToolError, Where
from ..locks import locked
from ..pipeline.files import read_json, sha256_of, write_atomically
from ..pipeline.packages import install_hint
from ..spec.suggest import did_you_mean
from .debian_sources import AptSource

HELPER = "/usr/lib/apt/apt-helper"
# Which packages come without being named, as patterns of apt (apt-patterns(7)).
VARIANTS = {
    "essential": ("?essential",),
    "required": ("?or(?essential,?priority(required))",),
    "important": ("?or(?essential,?priority(required),?priority(important))",),
    "standard": ("?or(?essential,?priority(required),?priority(important),?priority(standard))",),
}
# The folders /bin, /lib and so on are links into /usr from the start; the package that would make them so, with all of
# perl, is not needed then. This one only says that it is so.
_MERGED = "usr-is-merged"

_URI_LINE = re.compile(r"^'(?P<uri>\S+)' (?P<name>\S+)\.deb (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")
_UNSIGNED = re.compile(r"^'\S+' \S+\.deb \d+ (?!SHA256:)")
_NO_VERSION = re.compile(r"Version '([^']+)' for '([^']+)' was not found")
_KEEP_LINE = re.compile(r"^(?!Reading|Building|E: Unable to correct|Some packages could not|requested an impossible)")
_MAX_LINES = 12
_BAD = ("E: ", "W: Failed", "W: GPG")
_ECHO = "E: Some index files failed"  # those that the lines before it name
_GONE = "a mirror keeps its newest versions only: take those (kata-toolkit lock --update), or name a snapshot"


@dataclass(frozen=True, slots=True)
class Wish:
    """Packages by name, or ``NAME=VERSION``, with the place in the spec of each (None: of ours).

    ``variant``: a key of `VARIANTS`; ``arch``: Debian's name of the architecture.
    """

    packages: tuple[tuple[str, Where | None], ...]
    sources: tuple[AptSource, ...]
    arch: str
    variant: str = "essential"
    where: Where | None = None

    def request(self) -> str:
        """All that apt's answer depends on beside the lists themselves."""
        stanzas = "\n".join(source.stanza() for source in self.sources)
        return json.dumps([stanzas, self.arch, self.variant, [name for name, _ in self.packages]])


class PrivateApt:
    """apt with sources, lists and state below ``cache``. ``shared``: the sources are the host's, and so may the lists
    be."""

    def __init__(self, cache: Path, wish: Wish, *, offline: bool, shared: bool) -> None:
        text = "\n".join(source.stanza() for source in wish.sources)
        key = hashlib.sha256(json.dumps([text, wish.arch]).encode()).hexdigest()[:16]
        self._wish, self._text, self._offline, self._shared = wish, text, offline, shared
        self._folder = cache / "apt" / f"debian-{key}"
        self._own = self._folder / "lists"

    def remembered(self) -> dict[str, Any]:
        """What `resolve` answered before, if nothing has changed since; else nothing."""
        return read_json(self._memo(), {})

    def resolve(self) -> dict[str, Any]:
        """``packages``: all that would be installed, each with name, version, architecture, uri, size and sha256;
        ``releases``: the signed lists that say so; ``sources``: lines for the guest's own apt.

        Remembered until lists or wish change. Raises InputError at the place of a package that cannot be had, ToolError
        without lists when offline, or when they cannot be fetched.
        """
        if run.which("apt-get") is None:
            raise ToolError("apt-get, which finds Debian packages, is not installed", hint=install_hint("apt-get"))
        try:
            (self._own / "partial").mkdir(parents=True, exist_ok=True)
            (self._folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
            with locked(self._folder / "lock"):
                write_atomically(self._folder / "sources.d" / "set.sources", self._text.encode())
                return self._resolve()
        except OSError as error:
            raise ToolError(f"cannot use {self._folder}: {error.strerror}") from error

    def forget(self) -> None:
        """Drop our own lists, so that they are fetched again: what they promised is not there any more."""
        for file in self._own.glob("*_*"):
            file.unlink(missing_ok=True)

    def fetch(self, wanted: Sequence[tuple[str, Path, str]], log: run.Log) -> None:
        """Fetch (uri, target, sha256) each with apt's own transports, proxies and credentials. Raises ToolError."""
        for folder in (self._own / "partial", self._folder / "cache" / "archives" / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        words = [word for uri, target, sha256 in wanted for word in (uri, str(target), f"SHA256:{sha256}")]
        with self._configured(self._own) as env:
            done = run.run([HELPER, "download-file", *words], env=env, log=log, check=False)
        if done.status:
            failed = [line.removeprefix("E: ") for line in done.output.splitlines() if line.startswith("E: Failed")]
            raise ToolError.many(
                Problem(line, None, _GONE if "not found" in line.lower() else None)
                for line in failed or ["apt cannot fetch packages"]
            )

    # -- resolving -------------------------------------------------------------------------------------------

    def _resolve(self) -> dict[str, Any]:
        known = self.remembered()
        if known:
            return known
        lists, fresh = self._lists()
        try:
            answer = self._ask(lists)
        except InputError:
            if fresh or lists == LISTS or self._offline:
                raise
            self._update()  # a package may have appeared since
            answer = self._ask(lists)
        write_atomically(self._memo(), json.dumps(answer).encode())
        return answer

    def _memo(self) -> Path:
        """Where the answer is kept: another place whenever the lists, or what is wished, are others."""
        seen = []
        for folder in (LISTS, self._own) if self._shared else (self._own,):
            for file in sorted(folder.glob("*_*")):
                info = file.stat()
                seen.append([str(file), info.st_size, info.st_mtime_ns])
        key = hashlib.sha256(json.dumps([self._wish.request(), seen]).encode()).hexdigest()[:32]
        return self._folder / "resolved" / f"{key}.json"

    def _lists(self) -> tuple[Path, bool]:
        """A folder with lists of every source, and whether they were fetched just now."""
        if self._shared and self._complete(LISTS):
            return LISTS, False
        if self._complete(self._own):
            return self._own, False
        if self._offline and not all(source.local for source in self._wish.sources):
            raise ToolError(
                "offline, and the package lists are not in the cache: what "
                f"{', '.join(source.line for source in self._wish.sources)} offers is not known",
                hint="build once without --offline, or with a lock file",
            )
        self._update()
        return self._own, True

    def _complete(self, lists: Path) -> bool:
        """Whether the folder has the lists of every source, as far as apt knows."""
        targets = list(self._targets(lists))
        return len({target[:2] for target in targets}) >= len({(s.uri, s.suite) for s in self._wish.sources}) and all(
            os.access(file, os.R_OK) and (release or self._trusted()) for _, _, file, release in targets
        )

    def _trusted(self) -> bool:
        return any(source.fields.get("Trusted") == "yes" for source in self._wish.sources)

    def _targets(self, lists: Path) -> Iterator[tuple[str, str, Path, Path | None]]:
        """Address, suite, list of packages and signed list of releases, of each source's components."""
        words = ("indextargets", "--format", "$(REPO_URI) $(RELEASE) $(FILENAME)", "Created-By: Packages")
        releases = [p for p in lists.glob("*Release") if p.name.endswith(("InRelease", "_Release"))]
        for line in self._apt("apt-get", *words, lists=lists).output.splitlines():
            fields = line.split(" ")
            if len(fields) == 3:
                file = Path(fields[2])
                over = [p for p in releases if file.name.startswith(re.sub("(In)?Release$", "", p.name))]
                yield fields[0], fields[1], file, max(over, key=lambda p: len(p.name), default=None)

    def _update(self) -> None:
        done = self._apt("apt-get", "-q", "update", lists=self._own)
        failed = [line for line in done.output.splitlines() if line.startswith(_BAD) and not line.startswith(_ECHO)]
        if done.status or failed:
            self.forget()
            lines = [line[3:] for line in failed] or done.output.splitlines()[-3:]
            raise ToolError.many(
                Problem(f"apt cannot read the sources of rootfs: {line}", self._wish.where, None)
                for line in lines[:_MAX_LINES]
            )

    def _ask(self, lists: Path) -> dict[str, Any]:
        names = set(self._apt("apt-cache", "pkgnames", lists=lists).output.split())
        self._require_known(names, lists)
        words = [*VARIANTS[self._wish.variant], *(name for name, _ in self._wish.packages)]
        if _MERGED in names and _MERGED not in words:
            words.append(_MERGED)
        install = ("install", "-y", "--print-uris", "-o", "Acquire::ForceHash=SHA256", *words)
        done = self._apt("apt-get", "-qq", *install, lists=lists)
        if done.status:
            raise self._explained(done.output, self._apt("apt-get", "-q", *install, lists=lists).output, lists)
        return {
            "packages": sorted(self._packages(done.output), key=lambda found: (found["name"], found["architecture"])),
            "releases": list(self._releases(lists)),
            "sources": [source.line for source in self._wish.sources if not source.local],
        }

    def _packages(self, output: str) -> Iterator[dict[str, Any]]:
        found = 0
        for line in output.splitlines():
            match = _URI_LINE.match(line)
            if match:
                found += 1
                name, version, arch = unquote(match["name"]).split("_")
                yield {
                    "name": name,
                    "version": version,
                    "architecture": arch,
                    "uri": match["uri"],
                    "size": int(match["size"]),
                    "sha256": match["sha256"],
                }
            elif _UNSIGNED.match(line):
                raise InputError(f"a mirror gives no sha256 for a package: {line}", where=self._wish.where)
        if not found:
            raise ToolError("apt finds no packages to install", hint="are the mirrors those of a Debian?")

    def _releases(self, lists: Path) -> Iterator[dict[str, str]]:
        seen = set()
        for uri, suite, _, release in self._targets(lists):
            if release and release not in seen:
                seen.add(release)
                yield {"uri": uri, "suite": suite, "file": release.name, "sha256": sha256_of(release)}

    # -- explaining ------------------------------------------------------------------------------------------

    def _require_known(self, names: set[str], lists: Path) -> None:
        problems = []
        for word, where in self._wish.packages:
            name = word.partition("=")[0]
            if name in names:
                continue
            providers = self._providers(name, lists)
            if providers:
                message = f"{name} is no package of its own, but what others provide"
                problems.append(Problem(message, where, f"name one of these: {', '.join(providers)}"))
            else:
                hint = did_you_mean(name, names) or "another component may have it: components: [main, contrib, …]"
                problems.append(Problem(f"there is no package {name} in {self._suites()}", where, hint))
        if problems:
            raise InputError.many(problems)

    def _suites(self) -> str:
        return ", ".join(dict.fromkeys(f"{s.suite} {' '.join(s.components)}".strip() for s in self._wish.sources))

    def _explained(self, short: str, long: str, lists: Path) -> InputError:
        places = {word.partition("=")[0]: where for word, where in self._wish.packages}
        version = _NO_VERSION.search(short)
        if version:
            rows = self._apt("apt-cache", "madison", version[2], lists=lists).output.splitlines()
            there = dict.fromkeys(row.split("|")[1].strip() for row in rows if row.count("|") == 2)
            hint = f"there are: {', '.join(there)}" if there else None
            return InputError(
                f"{version[2]} has no version {version[1]} in {self._suites()}", where=places.get(version[2]), hint=hint
            )
        lines = [line for line in long.splitlines() if line.strip() and _KEEP_LINE.match(line)]
        start = next((i + 1 for i, line in enumerate(lines) if line.startswith("The following packages have unmet")), 0)
        said = [line.strip().removeprefix("E: ") for line in lines[start:] if not line.startswith("'")]
        where = next((place for name, place in places.items() if any(name in line.split() for line in said)), None)
        return InputError(
            f"these packages do not go together: {'; '.join(said[:_MAX_LINES])}", where=where or self._wish.where
        )

    def _providers(self, name: str, lists: Path) -> list[str]:
        """The packages that provide a name which is none of a package."""
        lines = self._apt("apt-cache", "showpkg", name, lists=lists).output.partition("Reverse Provides:")[2]
        return sorted({line.split()[0] for line in lines.splitlines() if line.strip()})[:_MAX_LINES]

    # -- running ---------------------------------------------------------------------------------------------

    def _apt(self, *argv: str, lists: Path) -> run.Result:
        with self._configured(lists) as env:
            return run.run(list(argv), env=env, check=False)

    @contextmanager
    def _configured(self, lists: Path) -> Iterator[Mapping[str, str]]:
        """The environment in which apt knows this tree only.

        A file says it, not options: what apt reads before it reads its options is of the host otherwise.
        """
        folder = self._folder
        arch = self._wish.arch
        config = folder / ("apt.conf" if lists == self._own else "apt-shared.conf")
        settings = {
            "Dir::State": folder / "state",
            "Dir::State::lists": lists,
            "Dir::State::status": "/dev/null",
            "Dir::State::extended_states": "/dev/null",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": folder / "sources.d",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Default-Release": "",
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
            "APT::Sandbox::User": "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
            "pkgCacheGen::ForceEssential": ",",  # apt takes itself for essential
        }
        clear = (
            "APT::Update::Post-Invoke",
            "APT::Update::Post-Invoke-Success",
            "APT::Update::Pre-Invoke",
            "APT::Architectures",
        )
        text = "".join(f"#clear {name};\n" for name in clear)
        text += "".join(f'{key} "{value}";\n' for key, value in settings.items())
        (folder / "state").mkdir(exist_ok=True)
        write_atomically(config, text.encode())
        yield {**proxies(), "APT_CONFIG": str(config)}
