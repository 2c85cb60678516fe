"""busybox for a guest of another architecture than this machine's, out of Debian's package."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .. import apt
from ..arch import arch_of
from ..download import Pool
from ..elf import read_program
from ..errors import InputError, ToolError
from ..pipeline.stage import Command, Inputs, Lookup, Missing, Recipe, Stage, Work
from ..rootfs.stage_files import APPLETS, BUSYBOX, BUSYBOX_PACKAGE, COPYRIGHT, FACTS, VERSION

_MEMBERS = ("bin/busybox", "usr/bin/busybox")  # before and after Debian merged /usr
_TEXT = f"usr/share/doc/{BUSYBOX_PACKAGE}/copyright"
_WITHOUT = "leave it out with rootfs: {kind: minimal, busybox: false}"


@dataclass(frozen=True)
class BusyboxStage(Stage):
    """Output: ``busybox``; ``applets``, the paths of its programs, one a line; ``version``; ``package.json``, where
    it is from, and the package's ``copyright``.
    """

    arch: str

    name: ClassVar[str] = "busybox"
    title: ClassVar[str] = "busybox"
    fetches: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = (
        "deb.py",
        "dpkg.py",
        "elf.py",
        "os_release.py",
        "rootfs/applets.py",
        "rootfs/stage_files.py",
        "stages/busybox.py",
    )

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError when Debian has none for that architecture, ToolError without apt or its lists."""
        found = self._found(inputs)
        return Recipe(
            commands=(Command("apt-get", "-q", "download", f"{found['package']}={found['version']}"),),
            options={"architecture": arch_of(self.arch).debian, "sha256": found["sha256"], "version": found["version"]},
            modules=self.module_digests(),
        )

    def missing(self, recipe: Recipe, inputs: Inputs) -> Iterable[Missing]:
        found = self._found(inputs)
        if not Pool(inputs.cache).has(found["sha256"]):
            yield Missing(self._what(found), found["sha256"], found["size"])

    def run(self, work: Work) -> None:
        from ..deb import control_fields
        from ..dpkg import source_of
        from ..rootfs.applets import applets_of, version_of

        wanted = self._found(work.inputs)
        what = self._what(wanted)

        def fetch(part: Path) -> None:
            if work.inputs.offline:
                there = f"{what} (sha256 {wanted['sha256']})"
                raise ToolError(f"offline, and this is not in the cache: {there}", hint="build once without --offline")
            self._apt(work.inputs).download(
                apt.found_again(what, lambda: self._package(work.inputs, wanted["version"])),
                part,
                work.log,
                lambda done, total: work.progress(done, total, "bytes", what),
            )

        package = Pool(work.inputs.cache).bring(wanted["sha256"], fetch, what)
        program, text = _taken(package, what)
        target = work.out / BUSYBOX
        target.write_bytes(program)
        target.chmod(0o755)
        found = read_program(target, what)
        if found.interpreter or found.machine != arch_of(self.arch).machine:
            raise InputError(f"{what} is not a static program for {self.arch}", hint=_WITHOUT)
        (work.out / APPLETS).write_bytes(b"".join(path + b"\n" for path in applets_of(program)))
        (work.out / VERSION).write_text(version_of(program) + "\n")
        (work.out / COPYRIGHT).write_bytes(text)
        fields = control_fields(package, what)
        source, version = source_of(fields)
        facts = {key: wanted[key] for key in ("package", "version", "architecture", "sha256")}
        facts |= {"source": source, "source_version": version, "built_using": fields.get("Built-Using", "")}
        (work.out / FACTS).write_text(json.dumps(facts) + "\n")

    def _found(self, inputs: Inputs) -> dict[str, Any]:
        """Which file the package is."""

        def find() -> dict[str, Any]:
            package = self._package(inputs, None)
            facts = {"version": package.version, "sha256": package.sha256, "size": package.size}
            return {"kind": "debian", "package": BUSYBOX_PACKAGE, "architecture": arch_of(self.arch).debian, **facts}

        request = {"package": BUSYBOX_PACKAGE, "architecture": arch_of(self.arch).debian}
        return dict(inputs.resolved(Lookup("rootfs.busybox", request, find)))

    def _what(self, found: dict[str, Any]) -> str:
        return f"{found['package']} {found['version']} for {self.arch}"

    def _package(self, inputs: Inputs, version: str | None) -> apt.Package:
        try:
            return self._apt(inputs).resolve(BUSYBOX_PACKAGE, version)
        except (InputError, ToolError) as error:
            message = f"busybox for {self.arch}: {error.problems[0].message}"
            raise type(error)(message, hint=_WITHOUT) from error

    def _apt(self, inputs: Inputs) -> apt.Apt:
        return apt.Apt(inputs.cache, offline=inputs.offline, arch=arch_of(self.arch).debian)


def _taken(package: Path, what: str) -> tuple[bytes, bytes]:
    """The program in the package, and its copyright file. Raises InputError when the program is not there."""
    from ..deb import members

    program, text = None, b""
    with members(package, what) as found:
        for path, _, content in found:
            if path in _MEMBERS and content is not None:
                program = content.read()
            elif path == _TEXT and content is not None:
                text = content.read()
    if program is None:
        raise InputError(f"{what} holds no busybox", hint=_WITHOUT)
    return program, text
