"""A kernel as a distribution packages it: taken out of its .deb, in both forms that a VMM may want."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

from ..arch import arch_of
from ..deb import control_fields, members
from ..dpkg import source_of
from ..elf import read_program
from ..errors import InputError, ToolError
from ..pipeline.given import given_file
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import GivenFile, PackagedKernel

PACKAGE = "package.json"
LICENCES = "licences"
_PARTS = {"vmlinuz": "vmlinuz", "config": "config", "System.map": "System.map"}  # in /boot, and in our output
_FILE = re.compile(r"(?:usr/)?boot/(vmlinuz|config|System\.map)-([A-Za-z0-9][A-Za-z0-9.+~_-]*)")
_COPYRIGHT = re.compile(r"usr/share/doc/([a-z0-9][a-z0-9.+-]+)/copyright")
_REAL_MAP = 1 << 16  # Debian packages a one-line System.map that says where the real one is


@dataclass(frozen=True)
class PackagedKernelStage(Stage):
    """Output: ``vmlinux``, ``vmlinuz``, ``config``, ``release``; ``package.json``: which package it was, and its
    licence; ``licences/PACKAGE/copyright``.
    """

    name: ClassVar[str] = "kernel"
    title: ClassVar[str] = "guest kernel"
    modules: ClassVar[tuple[str, ...]] = (
        "bzimage.py",
        "deb.py",
        "dpkg.py",
        "elf.py",
        "os_release.py",
        "sbom/dep5.py",
        "sbom/expression.py",
        "sbom/spdx_ids.py",
        "stages/kernel_package.py",
        "vmlinux.py",
    )

    source: PackagedKernel
    arch: str

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before the package is here, InputError for a missing file or a wrong digest."""
        _, digest = package_file(self.source, inputs)
        return Recipe(options={"arch": self.arch}, files={"package": digest}, modules=self.module_digests())

    def run(self, work: Work) -> None:
        package, digest = package_file(self.source, work.inputs)
        name = package_name(self.source)
        fields = control_fields(package, name)
        self._require_arch(fields, name)
        release = self._take(package, name, work)
        self._unpack(work, name, release)
        source, source_version = source_of(fields)
        facts = {
            "package": fields.get("Package", ""),
            "version": fields.get("Version", ""),
            "architecture": fields.get("Architecture", ""),
            "source": {"name": source, "version": source_version},
            "sha256": digest,
            "licence": _licence(work.out / LICENCES),
            "built_using": fields.get("Built-Using", ""),
        }
        (work.out / "release").write_text(release + "\n")
        (work.out / PACKAGE).write_text(json.dumps(facts, indent=1) + "\n")
        work.note(f"guest kernel: {facts['package']} {facts['version']} (sha256 {digest})")

    def _require_arch(self, fields: dict[str, str], name: str) -> None:
        wanted = arch_of(self.arch).debian
        if self.arch != "x86_64":
            raise InputError(
                f"a kernel package can be taken apart for x86_64 only, and the guest is {self.arch}",
                where=self.source.where,
                hint="give its files: kernel.source: {kind: prebuilt, vmlinux: …, config: …}",
            )
        if fields.get("Architecture") != wanted:
            raise InputError(
                f"{name} is for {fields.get('Architecture', 'no architecture')}, the guest is {self.arch} ({wanted})",
                where=self.source.where,
            )

    def _take(self, package: Path, name: str, work: Work) -> str:
        """Copy the kernel's files out of the package; the release they are of."""
        found: dict[str, str] = {}
        with members(package, name) as content:
            for path, _, source in content:
                match = _FILE.fullmatch(path)
                if match and source:
                    part, release = match.groups()
                    if part in found:
                        raise InputError(
                            f"{name} holds two kernels: {found[part]} and {release}", where=self.source.where
                        )
                    found[part] = release
                    _copy(source, work.out / _PARTS[part])
                elif source and (match := _COPYRIGHT.fullmatch(path)):
                    target = work.out / LICENCES / match.group(1) / "copyright"
                    target.parent.mkdir(parents=True)
                    _copy(source, target)
        for part in ("vmlinuz", "config"):
            if part not in found:
                raise InputError(
                    f"{name} has no boot/{part}-*, so it holds no kernel",
                    where=self.source.where,
                    hint="a package that only depends on another is followed by name: kernel.source.package",
                )
        if len(set(found.values())) > 1:
            raise InputError(f"{name} holds files of several kernels: {', '.join(sorted(set(found.values())))}")
        if "System.map" in found and (work.out / "System.map").stat().st_size < _REAL_MAP:
            (work.out / "System.map").unlink()
        return found["vmlinuz"]

    def _unpack(self, work: Work, name: str, release: str) -> None:
        """vmlinux out of vmlinuz, packed as one of our own."""
        from ..bzimage import kernel_version, unpack
        from ..vmlinux import compact

        data = (work.out / "vmlinuz").read_bytes()
        image = f"vmlinuz-{release} of {name}"
        kernel = unpack(data, image, work.scratch)
        said = kernel_version(data)
        if said != release:
            raise InputError(f"{image} says that it is {said or 'no release at all'}")
        try:
            (work.out / "vmlinux").write_bytes(compact(kernel))
        except ToolError as error:
            raise InputError(f"the kernel in {image} is damaged: it is no kernel's ELF file") from error
        if read_program(work.out / "vmlinux").machine != arch_of(self.arch).machine:
            raise InputError(f"the kernel in {image} is for another architecture than {self.arch}")


def package_file(source: PackagedKernel, inputs: Inputs) -> tuple[Path, str]:
    """The .deb and its sha256. Raises NotBuiltYet before it is here, InputError for a wrong digest."""
    return given_file(source.deb or GivenFile(), "kernel", inputs, "kernel.source.deb", source.where)


def package_name(source: PackagedKernel) -> str:
    """What messages call the package."""
    return source.package or (source.deb.name if source.deb else "the package")


def _licence(folder: Path) -> str:
    """What the package's copyright file says, as an SPDX expression; "" where it has none that says so."""
    from ..sbom.dep5 import licence_of

    texts = [path.read_text(errors="replace") for path in sorted(folder.glob("*/copyright"))]
    return licence_of(texts[0]) if len(texts) == 1 else ""


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
