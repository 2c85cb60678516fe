"""busybox for a guest of another architecture than this machine's, out of Debian's package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import apt
from ..arch import arch_of
from ..download import Pool
from ..elf import read_program
from ..errors import InputError, ToolError
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work

PROGRAM, APPLETS, VERSION = "busybox", "applets", "version"
PACKAGE = "busybox-static"
_MEMBERS = ("bin/busybox", "usr/bin/busybox")  # before and after Debian merged /usr
_WITHOUT = "leave it out with rootfs: {kind: minimal, busybox: false}"


@dataclass(frozen=True)
class BusyboxStage(Stage):
    """Output: ``busybox``; ``applets``, the paths of its programs, one a line; and ``version``."""

    arch: str

    name: ClassVar[str] = "busybox"
    title: ClassVar[str] = "busybox"
    modules: ClassVar[tuple[str, ...]] = ("deb.py", "elf.py", "rootfs/applets.py", "stages/busybox.py")

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError when Debian has none for that architecture, ToolError without apt or its lists."""
        package = self._package(inputs)
        return Recipe(
            commands=(Command("apt-get", "-q", "download", f"{package.name}={package.version}"),),
            options={"architecture": arch_of(self.arch).debian, "sha256": package.sha256, "version": package.version},
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..rootfs.applets import applets_of, version_of

        package = self._package(work.inputs)
        what = f"{package.name} {package.version} for {self.arch}"

        def fetch(part: Path) -> None:
            if work.inputs.offline:
                wanted = f"{what} (sha256 {package.sha256})"
                raise ToolError(f"offline, and this is not in the cache: {wanted}", hint="build once without --offline")
            self._apt(work.inputs).download(
                package, part, work.log, lambda done, total: work.progress(done, total, "bytes", what)
            )

        program = _busybox_in(Pool(work.inputs.cache).bring(package.sha256, fetch, what), what)
        target = work.out / PROGRAM
        target.write_bytes(program)
        target.chmod(0o755)
        found = read_program(target, what)
        if found.interpreter or found.machine != arch_of(self.arch).machine:
            raise InputError(f"{what} is not a static program for {self.arch}", hint=_WITHOUT)
        (work.out / APPLETS).write_bytes(b"".join(path + b"\n" for path in applets_of(program)))
        (work.out / VERSION).write_text(version_of(program) + "\n")

    def _package(self, inputs: Inputs) -> apt.Package:
        try:
            return self._apt(inputs).resolve(PACKAGE, None)
        except (InputError, ToolError) as error:
            message = f"busybox for {self.arch}: {error.problems[0].message}"
            raise type(error)(message, hint=_WITHOUT) from error

    def _apt(self, inputs: Inputs) -> apt.Apt:
        return apt.Apt(inputs.cache, offline=inputs.offline, arch=arch_of(self.arch).debian)


def _busybox_in(package: Path, what: str) -> bytes:
    """The program in the package. Raises InputError when it is not there."""
    from ..deb import members

    program = None
    with members(package, what) as found:
        for path, _, content in found:
            if path in _MEMBERS and content is not None:
                program = content.read()
    if program is None:
        raise InputError(f"{what} holds no busybox", hint=_WITHOUT)
    return program
