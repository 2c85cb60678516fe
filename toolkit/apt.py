"""Finds and fetches a Debian package unprivileged, with the host's own apt and its sources."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote

from . import run
from .errors import InputError, ToolError
from .pipeline.files import read_json, write_atomically
from .pipeline.packages import install_hint
from .spec.suggest import did_you_mean

LISTS = Path("/var/lib/apt/lists")
_SOURCES = (Path("/etc/apt"), Path("/etc/apt/sources.list.d"), Path("/etc/apt/preferences.d"))
_DPKG_STATUS = Path("/var/lib/dpkg/status")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy")  # of either case
# apt-get download --print-uris, one line a package: 'URI' NAME SIZE SHA256:HEX
_URI_LINE = re.compile(r"^'(?P<uri>\S+)' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")

# How a package without a kernel of its own depends on the one with it: on exactly one version.
_META = re.compile(r"(?:^|[, ])(linux-image-[a-z0-9.+-]+)(?::any)? \(= ([^)]+)\)")
_MAX_STEPS = 4
_NO_KERNEL = re.compile(r"-(dbg|unsigned|template)$")
_STALE = "are the apt lists up to date?"


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package, as the apt lists describe it. ``size`` in bytes.

    ``private``: it was found in lists of our own, fetched because the host has none.
    """

    name: str
    version: str
    uri: str
    size: int
    sha256: str
    private: bool


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed linux-source package: its version and the tarball it put into /usr/src."""

    name: str
    version: str
    tarball: Path


class Apt:
    """The host's apt, asked without root. ``cache`` is the program's cache folder.

    ``arch``: Debian's name of another architecture than this machine's; its lists are always our own.
    """

    def __init__(self, cache: Path, *, offline: bool, arch: str | None = None) -> None:
        self._state = cache / "apt" / arch if arch else cache / "apt"
        self._arch = arch
        self._offline = offline

    def resolve(self, name: str, version: str | None) -> Package:
        """The package's newest version, or the one asked for.

        Remembered until the host's lists or sources change. Raises InputError when there is no such package or
        version, ToolError without apt, or without lists when offline.
        """
        memo = self._state / "resolved" / f"{self._key(name, version)}.json"
        known = read_json(memo, {})
        if known:
            return Package(**known)
        package = self._look_up(name, version)
        write_atomically(memo, json.dumps(asdict(package)).encode())
        return package

    def resolve_image(self, name: str, version: str | None) -> Package:
        """As `resolve`, for a package with a kernel; one that only depends on such a package leads to it.

        Remembered like `resolve`'s answers. Raises also InputError when it leads nowhere.
        """
        package = self.resolve(name, version)
        for _ in range(_MAX_STEPS):
            following = self._kernel_behind(package)
            if following is None:
                return package
            package = self.resolve(*following)
        raise InputError(f"{name} depends on package after package, and none holds a kernel")

    def _kernel_behind(self, package: Package) -> tuple[str, str] | None:
        """The package, with its version, that a package stands for; None when it stands for itself."""
        memo = self._state / "resolved" / f"{self._key(f'{package.name} depends', package.version)}.json"
        known = read_json(memo, {})
        if not known:
            words = ("show", f"{package.name}={package.version}")
            lines = self._apt_cache(*words, private=package.private)
            depends = next((line.partition(":")[2] for line in lines if line.startswith("Depends:")), "")
            match = _META.search(depends)
            known = {"behind": list(match.groups()) if match else None}
            write_atomically(memo, json.dumps(known).encode())
        behind = known["behind"]
        return (behind[0], behind[1]) if behind else None

    def download(self, package: Package, target: Path, log: run.Log, progress: Callable[[int, int], None]) -> None:
        """Fetch a package that `resolve` found. Raises ToolError when the network fails."""
        folder = target.with_name(target.name + ".apt")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            with _Watch(folder, package.size, progress):
                self._apt("download", f"{package.name}={package.version}", private=package.private, cwd=folder, log=log)
            fetched = list(folder.glob("*.deb"))
            if len(fetched) != 1:
                raise ToolError(f"apt-get fetched no {package.name}", hint="see the build log")
            fetched[0].replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    # -- finding ---------------------------------------------------------------------------------------------

    def _key(self, name: str, version: str | None) -> str:
        """Changes whenever the answer may: lists, sources and preferences by name, size and time."""
        places = [LISTS, *_SOURCES, self._state / "state" / "lists"]
        seen = [[str(p), *_stamps(p)] for p in places]
        return hashlib.sha256(json.dumps([name, version, seen]).encode()).hexdigest()[:32]

    def _look_up(self, name: str, version: str | None) -> Package:
        private = self._arch is not None or not _has_lists(LISTS)
        if private and not _has_lists(self._state / "state" / "lists"):
            self._update(name)
        package = self._print_uris(name, version, private)
        if package is None and private and not self._offline:
            self._update(name)
            package = self._print_uris(name, version, private)
        if package is None:
            raise self._unknown(name, version, private)
        return package

    def _print_uris(self, name: str, version: str | None, private: bool) -> Package | None:
        wanted = f"{name}={version}" if version else name
        options = ("--print-uris", "-o", "Acquire::ForceHash=SHA256")
        result = self._apt("download", *options, wanted, private=private, check=False)
        for line in result.output.splitlines():
            match = _URI_LINE.match(line)
            if match and match["name"].startswith(f"{name}_"):
                found = unquote(match["name"]).removesuffix(".deb").split("_")[1]
                return Package(name, found, match["uri"], int(match["size"]), match["sha256"], private)
        return None

    def _update(self, name: str) -> None:
        if self._offline:
            of = f" of {self._arch}" if self._arch else ""
            raise ToolError(
                f"this machine has no apt package lists{of}, so {name} cannot be found offline",
                hint="run `apt-get update` once, install the package, or give kernel.source as a tarball",
            )
        self._apt("update", private=True)

    def _unknown(self, name: str, version: str | None, private: bool) -> InputError:
        if version:
            known = self._apt_cache("madison", name, private=private)
            versions = [fields[1].strip() for fields in (line.split("|") for line in known) if len(fields) > 2]
            if versions:
                there = ", ".join(dict.fromkeys(versions))
                return InputError(f"apt knows no version {version} of {name}", hint=f"there are: {there}")
        return InputError(f"apt knows no package {name}", hint=self._similar(name, private))

    def _similar(self, name: str, private: bool) -> str:
        if name.startswith("linux-image-"):
            known = [
                n for n in self._apt_cache("pkgnames", "linux-image-", private=private) if not _NO_KERNEL.search(n)
            ]
            # Those that lead to the newest kernel name no version of their own.
            newest = sorted(n for n in known if not re.search(r"-\d+\.\d+\.\d", n))
            return did_you_mean(name, known) or (f"there are: {', '.join(newest)}" if newest else _STALE)
        stem = re.sub(r"[\d.]+$", "", name)
        others = [n for n in self._apt_cache("pkgnames", stem, private=private) if re.search(r"\d$", n)]
        return f"there are: {', '.join(sorted(others))}" if others else _STALE

    # -- running ---------------------------------------------------------------------------------------------

    def _apt_cache(self, *words: str, private: bool) -> Iterable[str]:
        return run.run(["apt-cache", *self._options(private), *words], check=False).output.splitlines()

    def _apt(
        self, *words: str, private: bool, cwd: Path | None = None, log: run.Log | None = None, check: bool = True
    ) -> run.Result:
        if run.which("apt-get") is None:
            raise ToolError(
                "apt-get is not installed, so a kernel cannot be fetched as a package",
                hint=f"{install_hint('apt-get')}, or give kernel.source as a tarball or a .deb file",
            )
        argv = ["apt-get", "-q", *self._options(private), *words]
        return run.run(argv, env=proxies(), cwd=cwd, log=log, check=check)

    def _options(self, private: bool) -> list[str]:
        """Everything apt writes goes below our own folder; with ``private``, the lists too."""
        cache = self._state / "cache"
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        settings = [f"Dir::Cache={cache}", "APT::Sandbox::User=", "Acquire::Retries=2"]
        if private:
            state = self._state / "state"
            (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
            status = Path("/dev/null") if self._arch else _DPKG_STATUS  # nothing of another architecture is installed
            settings += [f"Dir::State={state}", f"Dir::State::status={status}"]
        if self._arch:
            settings += [f"APT::Architecture={self._arch}", f"APT::Architectures={self._arch}"]
        return [word for setting in settings for word in ("-o", setting)]


def _has_lists(folder: Path) -> bool:
    try:
        return any("_Packages" in path.name for path in folder.iterdir())
    except OSError:
        return False


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if e.is_file()), key=lambda e: e.name)
            return [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries]
    except OSError:
        return []


def found_again(what: str, find: Callable[[], Package]) -> Package:
    """Where a package that was found before is now. Raises InputError when archives have moved on since."""
    try:
        return find()
    except InputError as error:
        now = error.problems[0].hint
        raise InputError(
            f"{what} is in none of the apt sources any more" + (f" ({now})" if now else ""),
            hint="a snapshot archive may have it: add one to the apt sources; or take what there is today: "
            "kata-toolkit lock SPEC --update",
        ) from error


def proxies() -> dict[str, str]:
    """The environment that says how apt gets out; it changes no byte of what has a digest."""
    return {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}


def tarball_of(name: str) -> Path:
    """Where a linux-source package puts its tarball."""
    return Path(f"/usr/src/{name}.tar.xz")


def installed(name: str) -> Installed | None:
    """The package, if dpkg says that it is installed and its tarball is there."""
    tarball = tarball_of(name)
    if not tarball.is_file() or run.which("dpkg-query") is None:
        return None
    result = run.run(["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", name], check=False)
    status, _, version = result.output.partition(" ")
    return Installed(name, version, tarball) if status == "installed" and version else None


def undamaged(package: Installed) -> bool:
    """Whether the installed tarball still has the md5 that its package recorded."""
    wanted = str(package.tarball.relative_to("/"))
    try:
        sums = Path(f"/var/lib/dpkg/info/{package.name}.md5sums").read_text()
        with package.tarball.open("rb") as stream:
            got = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return False
    return any(line.split(maxsplit=1) == [got, wanted] for line in sums.splitlines())


class _Watch:
    """Tells how much of a package has arrived, while apt-get is busy fetching it."""

    def __init__(self, folder: Path, total: int, progress: Callable[[int, int], None]) -> None:
        self._folder, self._total, self._progress = folder, total, progress
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._done.wait(0.5):
            size = 0
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                try:
                    size = max(size, path.stat().st_size)
                except OSError:  # renamed in between
                    continue
            self._progress(size, self._total)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
