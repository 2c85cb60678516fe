"""debian: packages, resolved and fetched by digest, installed by mmdebstrap from nothing but those."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..arch import Arch, arch_of
from ..download import Pool
from ..dpkg import control_values, source_of
from ..errors import InputError, Problem, ToolError
from ..pipeline.stage import Command, Inputs, Lookup, Missing, Recipe, Stage, Work
from ..rootfs.debian_apt import PrivateApt, Wish
from ..rootfs.debian_place import working_place
from ..rootfs.debian_pool import fetch, local_file, missing, repository
from ..rootfs.debian_preflight import require_able
from ..rootfs.debian_sources import AptSource, host_sources, host_suite, keyring_problems, named_source
from ..rootfs.stage_files import DEBIAN_INFO, DEBIAN_TAR
from ..spec.model import DebianRootfs

KEY = "rootfs.packages"

# Which folders of the root are links into /usr, beside bin, sbin and lib: where the architecture's libraries may lie.
_LIBRARIES = {"amd64": ("lib32", "lib64", "libx32"), "ppc64el": ("lib64",), "s390x": ("lib32",)}
_SYSTEMD = "systemd-sysv"
_STATUS = b"var/lib/dpkg/status"
_INSTALLED = "install ok installed"
_SKIPS = "W: skipping"  # a mount that was not possible
_STEP = re.compile(r"^(Unpacking|Setting up) (\S+) ")


@dataclass(frozen=True)
class DebianStage(Stage):
    """Output: ``debian.tar``, the root file system with all that packages put into it; ``debian.json``, its packages
    with version, architecture, digest, origin and source package."""

    rootfs: DebianRootfs
    arch: str

    name: ClassVar[str] = "debian"
    title: ClassVar[str] = "Debian packages"
    fetches: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("dpkg.py", "os_release.py", "rootfs/debian_pool.py", "stages/debian.py")

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError for packages that are not to be had, ToolError when this machine cannot do it."""
        answer = self._answer(inputs)
        packages = [_as_option(package) for package in answer["packages"]]
        return Recipe(
            commands=(self._command(packages),),
            options={"packages": packages, "sources": list(answer["sources"]), "arch": self._arch.debian},
            tools={
                "apt-get": inputs.tool("apt-get"),
                "dpkg-deb": inputs.tool("dpkg-deb"),
                "mmdebstrap": inputs.tool("mmdebstrap"),
                "tar": inputs.tool("tar"),
            },
            modules=self.module_digests(),
        )

    def missing(self, recipe: Recipe, inputs: Inputs) -> Iterable[Missing]:
        return missing(self._answer(inputs)["packages"], Pool(inputs.cache))

    def run(self, work: Work) -> None:
        require_able(self._arch)
        packages: Sequence[Mapping[str, Any]] = self._answer(work.inputs)["packages"]
        pool = Pool(work.inputs.cache)
        absent = missing(packages, pool) if work.inputs.offline else []
        if absent:
            raise ToolError.many(
                Problem(f"offline, and this is not in the cache: {m}", None, "build once without --offline")
                for m in absent
            )
        self._fetch(work, packages, pool)
        with working_place(work.scratch, work.inputs.cache) as place:
            fields = repository(packages, pool, place / "repository")
            self._install(work, place, len(packages))
        _require_installed(work.out / DEBIAN_TAR, packages)
        info = {
            "version": 1,
            "sources": work.recipe.options["sources"],
            "packages": [_described(p, f) for p, f in zip(work.recipe.options["packages"], fields, strict=True)],
        }
        (work.out / DEBIAN_INFO).write_text(json.dumps(info, indent=1) + "\n")

    def fetch(self, work: Work) -> None:
        """Nothing is installed, so that any machine can fetch."""
        self._fetch(work, self._answer(work.inputs)["packages"], Pool(work.inputs.cache))

    # -- what is wished --------------------------------------------------------------------------------------

    @property
    def _arch(self) -> Arch:
        return arch_of(self.arch)

    def _answer(self, inputs: Inputs) -> dict[str, Any]:
        rootfs = self.rootfs
        request = {
            "suite": rootfs.suite,
            "components": list(rootfs.components),
            "packages": [package.text for package in rootfs.packages],
            "variant": rootfs.variant,
            "mirrors": [mirror.text for mirror in rootfs.mirrors],
            "systemd": rootfs.init == "systemd",
            "arch": self.arch,
        }
        found: dict[str, Any] = inputs.resolved(
            Lookup(
                KEY,
                request,
                lambda: self.find(inputs),
                lambda earlier, names: renewed(earlier, self.find(inputs), names),
            )
        )
        return found

    def find(self, inputs: Inputs) -> dict[str, Any]:
        """Today's answer, from the lists; see `PrivateApt.resolve`. Raises InputError, ToolError."""
        wish = self._wish()
        apt = PrivateApt(inputs.cache, wish, offline=inputs.offline, shared=not self.rootfs.mirrors)
        known = apt.remembered()
        if known:
            return known
        require_able(self._arch)  # before anything is fetched
        problems = [Problem(p.message, self.rootfs.where, p.hint) for p in keyring_problems(wish.sources)]
        if problems:
            raise InputError.many(problems)
        return apt.resolve()

    def _wish(self) -> Wish:
        packages = [(package.text, package.where) for package in self.rootfs.packages]
        if self.rootfs.init == "systemd" and not any(text.partition("=")[0] == _SYSTEMD for text, _ in packages):
            packages.append((_SYSTEMD, self.rootfs.where))
        where = self.rootfs.mirrors[0].where if self.rootfs.mirrors else self.rootfs.where
        return Wish(tuple(packages), self._sources(), self._arch.debian, self.rootfs.variant, where)

    def _sources(self) -> tuple[AptSource, ...]:
        rootfs = self.rootfs
        try:
            suite = rootfs.suite or host_suite()
            if rootfs.mirrors:
                return tuple(named_source(m.text, suite, rootfs.components, rootfs.keyring) for m in rootfs.mirrors)
            return host_sources(suite, rootfs.components, self._arch.debian, rootfs.keyring)
        except InputError as error:
            raise InputError.many(Problem(p.message, rootfs.where, p.hint) for p in error.problems) from error

    def _fetch(self, work: Work, packages: Sequence[Mapping[str, Any]], pool: Pool) -> None:
        """Bring what is not here yet. A lock file may name places that no source of this machine does."""
        cache, offline = work.inputs.cache, work.inputs.offline
        scratch = work.scratch / "fetched"
        scratch.mkdir()
        carrier = PrivateApt(cache, Wish((), (), self._arch.debian), offline=offline, shared=False)
        try:
            fetch(
                packages,
                pool,
                carrier,
                scratch,
                work.log,
                lambda done, total, what: work.progress(done, total, "bytes", what),
            )
        except ToolError:
            with contextlib.suppress(InputError):  # our own lists may promise what is gone
                PrivateApt(cache, self._wish(), offline=offline, shared=not self.rootfs.mirrors).forget()
            raise

    # -- installing ------------------------------------------------------------------------------------------

    def _command(self, packages: Sequence[Mapping[str, Any]]) -> Command:
        folders = ("bin", "sbin", "lib", *_LIBRARIES.get(self._arch.debian, ()))
        links = f'set -eu; for d in {" ".join(folders)}; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done'
        # What mmdebstrap copied from this machine, or wrote for itself.
        own = "etc/resolv.conf etc/hostname etc/apt/sources.list etc/dpkg/dpkg.cfg.d/99mmdebstrap"
        return Command(
            "mmdebstrap",
            "--verbose",
            "--mode=@mode@",
            "--variant=essential",
            "--format=tar",
            f"--architectures={self._arch.debian}",
            "--include=" + ",".join(f"{package['name']}={package['version']}" for package in packages),
            "--dpkgopt=force-unsafe-io",  # what is lost in a crash is made again
            f"--setup-hook={links}",
            f'--customize-hook=cd "$1" && rm -f {own}',
            "",
            "@out@",
            "deb [trusted=yes] copy:@repository@ ./",
            env={"SOURCE_DATE_EPOCH": "0", "TMPDIR": "@scratch@"},
        )

    def _install(self, work: Work, place: Path, count: int) -> None:
        unpacked = 0
        lacking: list[str] = []

        def on_line(line: str) -> None:
            nonlocal unpacked
            if line.startswith(_SKIPS):
                lacking.append(line.removeprefix("W: "))
            match = _STEP.match(line)
            if match:
                unpacked += match[1] == "Unpacking"
                work.progress(min(unpacked, count), count, "packages", f"{match[1].lower()} {match[2]}")

        work.progress(0, count, "packages", "unpacking")
        work.run(
            work.recipe.commands[0],
            cwd=place,
            on_line=on_line,
            mode="root" if os.geteuid() == 0 else "unshare",
            repository=place / "repository",
            out=work.out / DEBIAN_TAR,
            scratch=place,
        )
        if lacking:
            raise ToolError(
                f"mmdebstrap could not give the packages' scripts what they have elsewhere: {'; '.join(lacking[:5])}",
                hint="as a user with user namespaces, or as root outside a container, it can",
            )


def renewed(earlier: Mapping[str, Any], today: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Today's answer for the packages named; all else as it was, and what is needed anew comes in."""
    before = {(package["name"], package["architecture"]): package for package in earlier["packages"]}
    kept = [
        package if package["name"] in names else before.get((package["name"], package["architecture"]), package)
        for package in today["packages"]
    ]
    return {**today, "packages": kept}


def _as_option(package: Mapping[str, Any]) -> dict[str, Any]:
    """What of a package has a say in the output; the place of a file on this machine has none."""
    origin = {} if local_file(package) else {"origin": package["uri"]}
    return {key: package[key] for key in ("name", "version", "architecture", "sha256")} | origin


def _described(package: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    source, version = source_of(fields)
    more = {"built_using": fields["Built-Using"]} if "Built-Using" in fields else {}
    return {**package, "source": source, "source_version": version, **more}


def _require_installed(tar: Path, packages: Sequence[Mapping[str, Any]]) -> None:
    """Every package is installed, whole, and no other. Raises ToolError: mmdebstrap had said that it was so."""
    from ..rootfs.tar import open_tar
    from ..rootfs.tree import read_padded

    with open_tar(tar) as opened:
        node = opened.tree().get(_STATUS)
        content = read_padded(node.content, 0, node.size) if node and node.content else b""
    stanzas = [control_values(text) for text in content.decode(errors="replace").split("\n\n") if text.strip()]
    wanted = {(p["name"], p["version"], p["architecture"]) for p in packages}
    found = {
        (f.get("Package"), f.get("Version"), f.get("Architecture")) for f in stanzas if f.get("Status") == _INSTALLED
    }
    if found != wanted or len(stanzas) != len(wanted):
        odd = sorted(str(item) for item in found ^ wanted) or ["a package that is not installed"]
        raise ToolError(
            f"mmdebstrap made a root file system that does not hold the packages it should: {'; '.join(odd[:5])}",
            hint="see the build log",
        )
