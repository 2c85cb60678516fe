"""A lean QEMU: one target, the devices and features that Kata uses, compiled from Debian's source."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import patches, run
from ..arch import arch_of
from ..archive import unpack
from ..components import Component
from ..errors import InputError, ToolError
from ..pipeline.files import sha256_of
from ..pipeline.layout import LICENCES, QEMU
from ..pipeline.packages import DEBIAN_PACKAGES
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..resources import resource
from .qemu_source import DEBIAN, FACTS, PACKAGE, UPSTREAM

COMPONENTS = "components.json"
_LICENCE = "GPL-2.0-only"  # QEMU as a whole, as its LICENSE says
_DEVICES = "kata"
# Where it looks for firmware (SeaBIOS, option ROMs): the distribution's, whatever folder the set lies in.
_FIRMWARE = "/usr/share/qemu:/usr/share/seabios"
# Nothing of it is installed by ninja; a fixed prefix keeps the set's own out of the recipe.
_PREFIX = "/opt/kata-toolkit-qemu"
_FEATURES = (
    "kvm",
    "tcg",
    "attr",
    "cap-ng",
    "virtfs",
    "seccomp",
    "linux-aio",
    "linux-io-uring",
    "vhost-kernel",
    "vhost-net",
    "vhost-user",
    "coroutine-pool",
    "avx2",
    "membarrier",
    "malloc-trim",
    "numa",
    "pie",
)
# What its features link with, by pkg-config's name, or by a header where it knows none; and who has it.
_LIBRARIES = {
    "glib-2.0": "libglib2.0-dev",
    "pixman-1": "libpixman-1-dev",
    "zlib": "zlib1g-dev",
    "libseccomp": "libseccomp-dev",
    "libcap-ng": "libcap-ng-dev",
    "liburing": "liburing-dev",
}
_HEADERS = {
    "/usr/include/libaio.h": "libaio-dev",
    "/usr/include/numa.h": "libnuma-dev",
    "/usr/include/libfdt.h": "libfdt-dev",
}
_TOOLS = ("gcc", "g++", "ld", "meson", "ninja")
_STEP = re.compile(r"^\[(\d+)/(\d+)\] \S+(?: C\+?\+? object)? (\S+)")
_PATH = {"PATH": "/usr/bin:/bin"}  # the python3 that comes first on another may be without meson's modules


@dataclass(frozen=True)
class QemuStage(Stage):
    """Output: ``qemu``, the program, stripped; ``components.json``, what it is; ``licences/``."""

    name: ClassVar[str] = "qemu"
    title: ClassVar[str] = "lean QEMU"

    arch: str

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises InputError for another architecture than this machine's, ToolError naming all that is missing."""
        binary = self._binary()
        target = binary.removeprefix("qemu-system-")
        self._require()
        devices = resource("templates", f"qemu-{self.arch}.mak")
        return Recipe(
            commands=[
                Command(
                    "@tree@/configure",
                    f"--target-list={target}-softmmu",
                    f"--with-devices-{target}={_DEVICES}",
                    "--without-default-features",
                    "--without-default-devices",
                    "--disable-user",
                    "--disable-docs",
                    "--disable-install-blobs",
                    "--disable-debug-info",
                    "--disable-werror",
                    "--enable-fdt=system",
                    "--audio-drv-list=",
                    *(f"--enable-{feature}" for feature in _FEATURES),
                    f"--prefix={_PREFIX}",
                    f"--firmwarepath={_FIRMWARE}",
                    "--cc=gcc",
                    "--cxx=g++",
                    "--meson=meson",
                    "--with-git-submodules=ignore",
                    "--extra-cflags=-ffile-prefix-map=@tree@=. -ffile-prefix-map=@build@=.",
                    env=_PATH,
                ),
                Command("ninja", "-C", "@build@", "-j@jobs@", binary, env=_PATH),
                Command("strip", "--strip-all", "-o", f"@out@/{QEMU}", f"@build@/{binary}"),
            ],
            options={"arch": self.arch, "licence": _LICENCE},
            files={f"templates/{devices.name}": hashlib.sha256(devices.read_bytes()).hexdigest()},
            inputs={f"qemu_source/{name}": inputs.digest("qemu_source", name) for name in (UPSTREAM, DEBIAN)},
            tools={
                **{tool: inputs.tool(tool, "--version") for tool in (*_TOOLS, "strip")},
                **{library: inputs.tool("pkg-config", "--modversion", library) for library in _LIBRARIES},
            },
        )

    def run(self, work: Work) -> None:
        configure, compile_, strip = work.recipe.commands
        tree, build = work.scratch / "tree", work.scratch / "build"
        self._unpack(tree, work)
        build.mkdir()
        work.run(configure, cwd=build, tree=tree, build=build)
        work.run(compile_, cwd=build, on_line=self._progress(work), tree=tree, build=build)
        work.run(strip, cwd=build, tree=tree, build=build)
        self._licences(tree, work.out / LICENCES)
        facts = json.loads(work.inputs.path("qemu_source", FACTS).read_bytes())
        program = Component(
            PACKAGE,
            facts["version"],
            sha256=sha256_of(work.out / QEMU),
            arch=arch_of(self.arch).debian,
            licence=_LICENCE,
            source_name=PACKAGE,
            source_version=facts["version"],
        )
        (work.out / COMPONENTS).write_text(json.dumps([program.as_json()]) + "\n")

    def _unpack(self, tree: Path, work: Work) -> None:
        """Upstream's source with Debian's patches, in their order, and the devices of ours."""
        for name, target in ((UPSTREAM, "upstream"), (DEBIAN, "debian")):
            unpack(
                work.inputs.path("qemu_source", name),
                work.scratch / target,
                name,
                lambda done, name=name: work.progress(done, 0, "files", name),  # type: ignore[misc] # bound at once
            )
        shutil.move(_only_folder(work.scratch / "upstream"), tree)
        changes = _debian_folder(work.scratch / "debian")
        series = (changes / "patches" / "series").read_text().splitlines()
        for name in (line.split("#")[0].split(" ")[0].strip() for line in series):
            if name:
                patches.apply(changes / "patches" / name, tree, work.scratch)
        shutil.copytree(changes, tree / "debian", dirs_exist_ok=True)
        devices = tree / "configs" / "devices" / f"{self.arch}-softmmu" / f"{_DEVICES}.mak"
        devices.write_bytes(resource("templates", f"qemu-{self.arch}.mak").read_bytes())

    def _licences(self, tree: Path, target: Path) -> None:
        target.mkdir()
        for name, path in (("COPYING", "COPYING"), ("COPYING.LIB", "COPYING.LIB"), ("copyright", "debian/copyright")):
            if (tree / path).is_file():
                shutil.copyfile(tree / path, target / name)

    def _binary(self) -> str:
        arch = arch_of(self.arch)
        if not arch.native or self.arch != "x86_64":
            raise InputError(
                f"a QEMU for {self.arch} guests is not built here",
                hint="leave build: out, and take the distribution's; lean ones are built for x86_64, on x86_64",
            )
        return arch.qemu

    def _require(self) -> None:
        """Raises ToolError with every package that is missing, in one line to paste."""
        lacking = [DEBIAN_PACKAGES[tool] for tool in (*_TOOLS, "pkg-config") if run.which(tool) is None]
        if run.which("pkg-config"):
            lacking += [
                package
                for library, package in _LIBRARIES.items()
                if run.run(["pkg-config", "--exists", library], check=False).status
            ]
        lacking += [package for header, package in _HEADERS.items() if not Path(header).is_file()]
        if lacking:
            raise ToolError(
                f"building QEMU needs {len(lacking)} packages that are not installed",
                hint=f"apt-get install {' '.join(dict.fromkeys(lacking))}",
            )

    @staticmethod
    def _progress(work: Work) -> Callable[[str], None]:
        def line(text: str) -> None:
            match = _STEP.match(text)
            if match:
                work.progress(int(match[1]), int(match[2]), "objects", match[3].rpartition("/")[2])

        return line


def _only_folder(folder: Path) -> Path:
    """An upstream's tar holds one folder; Debian's repacked ones may hold the files themselves."""
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() else folder


def _debian_folder(folder: Path) -> Path:
    inner = folder / "debian"
    return inner if inner.is_dir() else folder
