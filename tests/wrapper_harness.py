"""Installs real wrappers with stand-in runtimes around them, for the tests of the wrapper."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kata_toolkit.events import ignore
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.stage import Inputs, Recipe, Stage, Work
from kata_toolkit.pipeline.store import Store
from kata_toolkit.stages.wrapper import RuntimeConfig, WrapperStage

RELEASE = "6.12.9-kata"
KERNEL = b"\x7fELF kernel bytes" * 100
IMAGE = bytes(range(256)) * 512  # a whole number of SHA-256 blocks
INITRD = b"070701 and so on"
STANDIN = Path(__file__).parent / "standins" / "runtime.c"
GO = RuntimeConfig.of("qemu", "go")
RUST = RuntimeConfig.of("qemu", "rs")


@dataclass(frozen=True)
class Ready(Stage):
    """A stage that gives the bytes it was made with."""

    name: ClassVar[str] = "kernel"
    title: ClassVar[str] = "ready bytes"
    files: tuple[tuple[str, bytes], ...] = ()

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(options={name: content.hex() for name, content in self.files})

    def run(self, work: Work) -> None:
        for name, content in self.files:
            (work.out / name).write_bytes(content)


class ReadyImage(Ready):
    name = "image"


class ReadyInitrd(Ready):
    name = "initrd"


def build_wrapper(
    stage: WrapperStage, cache: Path, *, kernel: bytes = KERNEL, image: bytes = IMAGE, initrd: bytes = INITRD
) -> Path:
    """Build the wrapper with the real engine; the program in the store."""
    stages: list[Stage] = [
        Ready((("vmlinux", kernel), ("release", RELEASE.encode() + b"\n"))),
        ReadyImage((("image", image),)),
        ReadyInitrd((("initrd", initrd),)),
        stage,
    ]
    store = Store(cache)
    engine = Engine("toy", stages, store, BuildInputs(store), ignore, io.StringIO(), 1)
    return engine.build(["wrapper"])["wrapper"].path("wrapper")


def stage_for(
    prefix: Path | str, *, name: str = "toy", kata: str = "4.1", configs: Sequence[RuntimeConfig] = (GO, RUST)
) -> WrapperStage:
    return WrapperStage(name, "toy", str(prefix), kata, platform.machine(), tuple(configs), image=True, initrd=True)


def lay_out(tree: Path, program: Path, *, name: str = "toy", configs: Sequence[RuntimeConfig] = (GO, RUST)) -> None:
    """Install a set below ``tree``, as it comes out of a build."""
    share = tree / "share/kata-containers"
    share.mkdir(parents=True)
    (share / f"vmlinux-{RELEASE}").write_bytes(KERNEL)
    (share / "toy.img").write_bytes(IMAGE)
    (share / "toy.initrd").write_bytes(INITRD)
    for config in configs:
        file = tree / config.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[hypervisor.qemu]\n")
    (tree / "bin").mkdir()
    for file_name in (name, f"containerd-shim-{name}-v2"):
        shutil.copy(program, tree / "bin" / file_name)


def compile_standin(target: Path, *flags: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["gcc", "-static", "-Os", "-w", *flags, "-o", target, STANDIN], check=True)
    return target


@dataclass(frozen=True)
class Call:
    """How a wrapper call ended, and how the stand-in was called (None: it was not)."""

    status: int
    stdout: str
    stderr: str
    record: Mapping[str, list[bytes]] | None

    @property
    def argv(self) -> list[bytes]:
        assert self.record is not None, f"no runtime was started: {self.stderr}"
        return self.record["argv"]

    @property
    def env(self) -> dict[bytes, bytes]:
        assert self.record is not None
        return dict(variable.split(b"=", 1) for variable in self.record["env"])


def read_record(file: Path) -> dict[str, list[bytes]] | None:
    if not file.exists():
        return None
    record: dict[str, list[bytes]] = {}
    for line in file.read_text().splitlines():
        key, _, value = line.partition(" ")
        record.setdefault(key, []).append(bytes.fromhex(value))
    return record


class Installed:
    """One installed set, and two stand-in runtimes (Go, Rust) that can be put in places."""

    def __init__(self, root: Path, prefix: Path, program: Path, standins: tuple[Path, Path]) -> None:
        self.root, self.prefix, self.program = root, prefix, program
        self.go, self.rust = standins
        self.path = str(root / "no-such-folder")

    def put(self, place: Path, standin: Path) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(standin, place)
        return place

    def call(
        self,
        *words: str | bytes,
        argv0: Path | str | None = None,
        executable: Path | None = None,
        stdin: bytes = b"",
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        **env: str,
    ) -> Call:
        program = executable or self.prefix / "bin/toy"
        record = self.root / "record"
        record.unlink(missing_ok=True)
        done = subprocess.run(
            [argv0 or program, *words],
            executable=program,
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env={"PATH": self.path, "RECORD": str(record), **env},
            pass_fds=pass_fds,
            check=False,
            timeout=20,
        )
        return Call(done.returncode, done.stdout.decode(), done.stderr.decode(), read_record(record))

    @property
    def shim(self) -> Path:
        return self.prefix / "bin/containerd-shim-toy-v2"


Install = Callable[..., Installed]
