"""Brings everything that is not on this machine yet: the kernel or its source, an agent given by url."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import apt
from ..arch import arch_of
from ..download import Pool, copy_file, download
from ..errors import InputError, ToolError
from ..pipeline.stage import Command, Inputs, Lookup, Missing, Recipe, Stage, Work
from ..spec.model import (
    DebianKernel,
    GitKernel,
    GivenFile,
    KernelSource,
    OciRootfs,
    PackagedKernel,
    PrebuiltKernel,
    TarballKernel,
)

IMAGE = "image"
_PREBUILT = ("vmlinux", "config", "bzimage")


@dataclass(frozen=True)
class SourcesStage(Stage):
    """``kernel`` None: no kernel is wanted. ``agent``, ``rootfs``: those that are given by url, or None. ``image``: a
    container image in a registry, or None, and for which ``arch``. ``extensions``: those by url, by the names of their
    stages.

    Output: ``kernel`` (a .deb or a tarball; for a prebuilt kernel ``kernel-vmlinux`` and so on), ``agent``, ``rootfs``,
    ``image/`` (an OCI image layout).
    Of a commit, ``kernel.json`` says which tree it has; the files themselves stay in the cache's repository.
    """

    name: ClassVar[str] = "sources"
    title: ClassVar[str] = "sources"
    fetches: ClassVar[bool] = True

    kernel: KernelSource | None
    agent: GivenFile | None = None
    rootfs: GivenFile | None = None
    image: OciRootfs | None = None
    arch: str = "x86_64"
    extensions: tuple[tuple[str, GivenFile], ...] = ()

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError when the package or its pinned version or digest is unknown, ToolError without apt."""
        items = {name: _as_item(artifact) for name, artifact in self._artifacts().items()}
        commands: list[Command] = []
        if isinstance(self.kernel, GitKernel):
            items["kernel"] = _as_commit(self.kernel)
            commands.append(Command("git", "fetch", "--depth=1", self.kernel.repository, self.kernel.commit))
        elif isinstance(self.kernel, DebianKernel | PackagedKernel) and self.kernel.package:
            found = self._debian(self.kernel, self.kernel.package, inputs)
            items["kernel"] = {key: found[key] for key in ("kind", "package", "version", "sha256")}
            if found["kind"] == "debian":
                commands.append(Command("apt-get", "-q", "download", f"{found['package']}={found['version']}"))
        if self.image:
            items[IMAGE] = found = self._image_item(self.image, inputs)
            commands.append(Command(*self._copy_command(found)))
        return Recipe(commands=tuple(commands), options=items)

    def run(self, work: Work) -> None:
        for name, item in work.recipe.options.items():
            target = work.out / name
            if item["kind"] == "installed":
                self._take_installed(item, target, work)
            elif item["kind"] == "debian":
                self._fetch_debian(item, target, work)
            elif item["kind"] == "git":
                self._fetch_commit(work)
            elif item["kind"] == "oci":
                self._fetch_image(item, target, work)
            else:
                self._fetch_url(item, target, work)

    def missing(self, recipe: Recipe, inputs: Inputs) -> Iterable[Missing]:
        pool = Pool(inputs.cache)
        for item in recipe.options.values():
            if item["kind"] == "git":
                from .. import git_source

                if isinstance(self.kernel, GitKernel) and not git_source.is_here(self.kernel, inputs.cache):
                    yield Missing(f"commit {self.kernel.commit} of {self.kernel.repository}")
            elif item["kind"] == "oci":
                from ..registry import missing

                what = f"a blob of {item['reference']}"
                yield from (Missing(what, name) for name in missing(item["reference"], item["digest"], inputs.cache))
            elif pool.has(item["sha256"]):
                continue
            elif item["kind"] == "url" and not item["url"].startswith("file:"):
                yield Missing(item["url"], item["sha256"])
            elif item["kind"] == "debian" and isinstance(self.kernel, DebianKernel | PackagedKernel):
                size = self._debian(self.kernel, self.kernel.package or "", inputs).get("size")
                yield Missing(f"{item['package']} {item['version']}", item["sha256"], size)
            elif item["kind"] == "installed" and not _is_installed(item, inputs):
                what = f"{item['package']} {item['version']}, which is not installed here"
                yield Missing(what, item["sha256"])

    @property
    def needed(self) -> bool:
        """Whether there is anything to bring."""
        packaged = isinstance(self.kernel, PackagedKernel) and self.kernel.package is not None
        image = self.image is not None
        return packaged or image or isinstance(self.kernel, DebianKernel | GitKernel) or bool(self._artifacts())

    def _artifacts(self) -> dict[str, GivenFile]:
        """What is to be fetched by url, by its name in the output."""
        named: dict[str, GivenFile | None] = {"agent": self.agent, "rootfs": self.rootfs, **dict(self.extensions)}
        if isinstance(self.kernel, TarballKernel):
            named["kernel"] = self.kernel.archive
        elif isinstance(self.kernel, PackagedKernel):
            named["kernel"] = self.kernel.deb
        elif isinstance(self.kernel, PrebuiltKernel):
            named |= {f"kernel-{part}": getattr(self.kernel, part) for part in _PREBUILT}
        return {name: artifact for name, artifact in named.items() if artifact and artifact.url}

    def _debian(self, kernel: DebianKernel | PackagedKernel, name: str, inputs: Inputs) -> dict[str, Any]:
        """Which file the package is, as far as it is not pinned in the spec."""
        pins = {key: value for key, value in (("version", kernel.version), ("sha256", kernel.sha256)) if value}
        found = inputs.resolved(
            Lookup("kernel.source", {"package": name, **pins}, lambda: self._find(kernel, name, inputs))
        )
        return dict(found)

    def _find(self, kernel: DebianKernel | PackagedKernel, name: str, inputs: Inputs) -> dict[str, Any]:
        """Where the package comes from: the installed one if it fits, else the apt sources."""
        present = apt.installed(name)
        if present and kernel.version in (None, present.version):
            digest = inputs.file_digest(present.tarball)
            if kernel.sha256 in (None, digest):
                return {
                    "kind": "installed",
                    "package": present.name,
                    "version": present.version,
                    "sha256": digest,
                }
        if kernel.version and kernel.sha256:
            pool = Pool(inputs.cache)
            if pool.has(kernel.sha256):  # a full pin needs no lists: nothing is left to be found out
                size = (pool.folder / kernel.sha256).stat().st_size
                return _debian_item(name, kernel.version, kernel.sha256, size)
        tool = apt.Apt(inputs.cache, offline=inputs.offline)
        package = _resolve(tool, name, kernel.version)
        if kernel.sha256 not in (None, package.sha256):
            raise InputError(
                f"{package.name} {package.version} has the sha256 {package.sha256}, "
                f"not {kernel.sha256} as kernel.source.sha256 says",
                where=kernel.where if isinstance(kernel, PackagedKernel) else None,
                hint="pin kernel.source.version as well, or update the digest",
            )
        return _debian_item(package.name, package.version, package.sha256, package.size)

    def _take_installed(self, item: dict[str, Any], target: Path, work: Work) -> None:
        """The tarball of an installed package; where it is not installed, the same one out of the package."""
        present = apt.installed(item["package"])
        if present is None or not _is_installed(item, work.inputs):
            self._fetch_tarball(item, target, work)
            return
        if not apt.undamaged(present):
            raise InputError(
                f"{present.tarball} is not what its package installed",
                hint=f"apt-get install --reinstall {present.name}",
            )
        copy_file(present.tarball, target)
        work.note(f"kernel source: {present.name} {present.version}, as installed in {present.tarball.parent}")

    def _fetch_tarball(self, item: dict[str, Any], target: Path, work: Work) -> None:
        """What `apt.installed` would find, out of the package: so a lock from where it is installed holds elsewhere."""
        what = f"{item['package']} {item['version']}"

        def fetch(part: Path) -> None:
            _refuse_offline(work, f"{what} (its tarball has the sha256 {item['sha256']})")
            package = part.with_name(part.name + ".deb")
            try:
                self._download(item, package, work)
                _extract(package, apt.tarball_of(item["package"]), part, what)
            finally:
                package.unlink(missing_ok=True)

        copy_file(Pool(work.inputs.cache).bring(item["sha256"], fetch, f"the tarball in {what}"), target)
        work.note(f"kernel source: {what}, from the apt sources")

    def _fetch_debian(self, item: dict[str, Any], target: Path, work: Work) -> None:
        what = f"{item['package']} {item['version']}"

        def fetch(part: Path) -> None:
            _refuse_offline(work, f"{what} (sha256 {item['sha256']})")
            self._download(item, part, work)

        copy_file(Pool(work.inputs.cache).bring(item["sha256"], fetch, what), target)
        work.note(f"kernel source: {what}, from the apt sources")

    def _download(self, item: dict[str, Any], target: Path, work: Work) -> None:
        """Bring the package in exactly that version."""
        what = f"{item['package']} {item['version']}"
        tool = apt.Apt(work.inputs.cache, offline=work.inputs.offline)
        package = apt.found_again(what, lambda: tool.resolve(item["package"], item["version"]))
        if package.private:
            work.note("this machine has no apt package lists: fetched lists of our own into the cache")
        tool.download(package, target, work.log, lambda done, total: work.progress(done, total, "bytes", what))

    def _fetch_commit(self, work: Work) -> None:
        from .. import git_source

        assert isinstance(self.kernel, GitKernel)  # noqa: S101 -- the item was made from it
        work.progress(0, 0, "", f"fetching {self.kernel.commit[:12]}")
        folder = git_source.fetched(self.kernel, work.inputs.cache, offline=work.inputs.offline, log=work.log)
        facts = {"commit": self.kernel.commit, "tree": git_source.tree_id(folder, self.kernel.commit)}
        (work.out / git_source.FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        work.note(f"kernel source: commit {self.kernel.commit} of {self.kernel.repository}")

    def _image_item(self, image: OciRootfs, inputs: Inputs) -> dict[str, Any]:
        """Which manifest it is: as the spec says, or as the registry does."""
        from ..registry import manifest_digest

        reference = image.reference
        assert reference is not None  # noqa: S101 -- an image by path needs no fetching
        wish = {"reference": reference, "arch": self.arch, "sha256": image.sha256}
        go = arch_of(self.arch).go

        def find() -> dict[str, Any]:
            digest = image.sha256 or manifest_digest(reference, go, inputs.cache, offline=inputs.offline)
            return {"kind": "oci", "reference": reference, "digest": digest}

        return dict(inputs.resolved(Lookup("rootfs.image", wish, find)))

    def _copy_command(self, item: dict[str, Any]) -> tuple[str, ...]:
        from ..registry import copy_command

        return copy_command(item["reference"], item["digest"], arch_of(self.arch).go, "@scratch@/image")

    def _fetch_image(self, item: dict[str, Any], target: Path, work: Work) -> None:
        from ..registry import lay_out

        what = item["reference"]
        lay_out(
            what, item["digest"], arch_of(self.arch).go, work.inputs.cache, target, offline=work.inputs.offline,
            log=work.log, progress=lambda done, total: work.progress(done, total, "blobs", what),
        )  # fmt: skip
        work.note(f"root file system: {what}, manifest sha256:{item['digest']}")

    def _fetch_url(self, item: dict[str, Any], target: Path, work: Work) -> None:
        url, what = item["url"], Path(item["url"]).name

        def fetch(part: Path) -> None:
            if not url.startswith("file:"):
                _refuse_offline(work, f"{url} (sha256 {item['sha256']})")
            download(url, part, lambda done, total: work.progress(done, total, "bytes", what))

        copy_file(Pool(work.inputs.cache).bring(item["sha256"], fetch, url), target)


def _as_item(artifact: GivenFile) -> dict[str, Any]:
    return {"kind": "url", "url": artifact.url, "sha256": artifact.sha256}


def _as_commit(kernel: GitKernel) -> dict[str, Any]:
    """Without the place of a repository on this machine: it does not matter to what comes out."""
    place = {} if kernel.local else {"repository": kernel.repository}
    return {"kind": "git", **place, "commit": kernel.commit}


def _resolve(tool: apt.Apt, name: str, version: str | None) -> apt.Package:
    """The package with the kernel: one that only depends on it leads there."""
    return tool.resolve_image(name, version) if name.startswith("linux-image-") else tool.resolve(name, version)


def _debian_item(package: str, version: str, sha256: str, size: int) -> dict[str, Any]:
    return {"kind": "debian", "package": package, "version": version, "sha256": sha256, "size": size}


def _is_installed(item: dict[str, Any], inputs: Inputs) -> bool:
    """Whether an installed package has the very tarball."""
    present = apt.installed(item["package"])
    return (
        present is not None
        and present.version == item["version"]
        and inputs.file_digest(present.tarball) == item["sha256"]
    )


def _extract(package: Path, path: Path, target: Path, what: str) -> None:
    """One file out of a Debian package. Raises InputError when it is not in there."""
    from ..deb import members

    found = False
    with members(package, what) as inside:
        for name, _, content in inside:
            if name == str(path.relative_to("/")) and content is not None:
                with target.open("wb") as out:
                    shutil.copyfileobj(content, out)
                found = True
    if not found:
        raise InputError(f"{what} holds no {path}")


def _refuse_offline(work: Work, what: str) -> None:
    if work.inputs.offline:
        raise ToolError(f"offline, and this is not in the cache: {what}", hint="build once without --offline")
