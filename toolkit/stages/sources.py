"""Brings everything that is not on this machine yet: the kernel or its source, an agent given by url."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import apt
from ..download import Pool, copy_file, download
from ..errors import InputError, ToolError
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..spec.model import Artifact, DebianKernel, GitKernel, KernelSource, PackagedKernel, PrebuiltKernel, TarballKernel

_PREBUILT = ("vmlinux", "config", "bzimage")


@dataclass(frozen=True)
class SourcesStage(Stage):
    """``kernel`` None: no kernel is wanted. ``agent``, ``rootfs``: those that are given by url, or None.

    Output: ``kernel`` (a .deb or a tarball; for a prebuilt kernel ``kernel-vmlinux`` and so on), ``agent``, ``rootfs``.
    Of a commit, ``kernel.json`` says which tree it has; the files themselves stay in the cache's repository.
    """

    name: ClassVar[str] = "sources"
    title: ClassVar[str] = "sources"

    kernel: KernelSource | None
    agent: Artifact | None = None
    rootfs: Artifact | None = None

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError when the package or its pinned version or digest is unknown, ToolError without apt."""
        items = {name: _as_item(artifact) for name, artifact in self._artifacts().items()}
        commands: list[Command] = []
        if isinstance(self.kernel, GitKernel):
            items["kernel"] = _as_commit(self.kernel)
            commands.append(Command("git", "fetch", "--depth=1", self.kernel.repository, self.kernel.commit))
        elif isinstance(self.kernel, DebianKernel | PackagedKernel) and self.kernel.package:
            found = self._debian(self.kernel, self.kernel.package, inputs)
            items["kernel"] = found
            if found["kind"] == "debian":
                commands.append(Command("apt-get", "-q", "download", f"{found['package']}={found['version']}"))
        return Recipe(commands=tuple(commands), options=items)

    def run(self, work: Work) -> None:
        for name, item in work.recipe.options.items():
            target = work.out / name
            if item["kind"] == "installed":
                self._copy_installed(item, target, work)
            elif item["kind"] == "debian":
                self._fetch_debian(item, target, work)
            elif item["kind"] == "git":
                self._fetch_commit(work)
            else:
                self._fetch_url(item, target, work)

    @property
    def needed(self) -> bool:
        """Whether there is anything to bring."""
        packaged = isinstance(self.kernel, PackagedKernel) and self.kernel.package is not None
        return packaged or isinstance(self.kernel, DebianKernel | GitKernel) or bool(self._artifacts())

    def _artifacts(self) -> dict[str, Artifact]:
        """What is to be fetched by url, by its name in the output."""
        named: dict[str, Artifact | None] = {"agent": self.agent, "rootfs": self.rootfs}
        if isinstance(self.kernel, TarballKernel):
            named["kernel"] = self.kernel.archive
        elif isinstance(self.kernel, PackagedKernel):
            named["kernel"] = self.kernel.deb
        elif isinstance(self.kernel, PrebuiltKernel):
            named |= {f"kernel-{part}": getattr(self.kernel, part) for part in _PREBUILT}
        return {name: artifact for name, artifact in named.items() if artifact and artifact.url}

    def _debian(self, kernel: DebianKernel | PackagedKernel, name: str, inputs: Inputs) -> dict[str, Any]:
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
            pooled = Pool(inputs.cache).folder / kernel.sha256
            if pooled.is_file():  # a full pin needs no lists: nothing is left to be found out
                return _debian_item(name, kernel.version, kernel.sha256)
        tool = apt.Apt(inputs.cache, offline=inputs.offline)
        package = _resolve(tool, name, kernel.version)
        if kernel.sha256 not in (None, package.sha256):
            raise InputError(
                f"{package.name} {package.version} has the sha256 {package.sha256}, "
                f"not {kernel.sha256} as kernel.source.sha256 says",
                where=kernel.where if isinstance(kernel, PackagedKernel) else None,
                hint="pin kernel.source.version as well, or update the digest",
            )
        return _debian_item(name, package.version, package.sha256)

    def _copy_installed(self, item: dict[str, Any], target: Path, work: Work) -> None:
        present = apt.installed(item["package"])
        if present is None or present.version != item["version"]:
            raise ToolError(f"{item['package']} {item['version']} was removed while the build ran", hint="build again")
        if not apt.undamaged(present):
            raise InputError(
                f"{present.tarball} is not what its package installed",
                hint=f"apt-get install --reinstall {present.name}",
            )
        copy_file(present.tarball, target)
        work.note(f"kernel source: {present.name} {present.version}, as installed in {present.tarball.parent}")

    def _fetch_debian(self, item: dict[str, Any], target: Path, work: Work) -> None:
        what = f"{item['package']} {item['version']}"
        tool = apt.Apt(work.inputs.cache, offline=work.inputs.offline)

        def fetch(part: Path) -> None:
            _refuse_offline(work, f"{what} (sha256 {item['sha256']})")
            package = _resolve(tool, item["package"], item["version"])
            if package.private:
                work.note("this machine has no apt package lists: fetched lists of our own into the cache")
            tool.download(package, part, work.log, lambda done, total: work.progress(done, total, "bytes", what))

        copy_file(Pool(work.inputs.cache).bring(item["sha256"], fetch, what), target)
        work.note(f"kernel source: {what}, from the apt sources")

    def _fetch_commit(self, work: Work) -> None:
        from .. import git_source

        assert isinstance(self.kernel, GitKernel)  # noqa: S101 -- the item was made from it
        work.progress(0, 0, "", f"fetching {self.kernel.commit[:12]}")
        folder = git_source.fetched(self.kernel, work.inputs.cache, offline=work.inputs.offline, log=work.log)
        facts = {"commit": self.kernel.commit, "tree": git_source.tree_id(folder, self.kernel.commit)}
        (work.out / git_source.FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        work.note(f"kernel source: commit {self.kernel.commit} of {self.kernel.repository}")

    def _fetch_url(self, item: dict[str, Any], target: Path, work: Work) -> None:
        url, what = item["url"], Path(item["url"]).name

        def fetch(part: Path) -> None:
            if not url.startswith("file:"):
                _refuse_offline(work, f"{url} (sha256 {item['sha256']})")
            download(url, part, lambda done, total: work.progress(done, total, "bytes", what))

        copy_file(Pool(work.inputs.cache).bring(item["sha256"], fetch, url), target)


def _as_item(artifact: Artifact) -> dict[str, Any]:
    return {"kind": "url", "url": artifact.url, "sha256": artifact.sha256}


def _as_commit(kernel: GitKernel) -> dict[str, Any]:
    """Without the place of a repository on this machine: it does not matter to what comes out."""
    place = {} if kernel.local else {"repository": kernel.repository}
    return {"kind": "git", **place, "commit": kernel.commit}


def _resolve(tool: apt.Apt, name: str, version: str | None) -> apt.Package:
    """The package with the kernel: one that only depends on it leads there."""
    return tool.resolve_image(name, version) if name.startswith("linux-image-") else tool.resolve(name, version)


def _debian_item(package: str, version: str, sha256: str) -> dict[str, Any]:
    return {"kind": "debian", "package": package, "version": version, "sha256": sha256}


def _refuse_offline(work: Work, what: str) -> None:
    if work.inputs.offline:
        raise ToolError(f"offline, and this is not in the cache: {what}", hint="build once without --offline")
