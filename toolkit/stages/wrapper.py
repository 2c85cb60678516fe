"""The wrapper: a small static program that becomes the Kata runtime, pointed at this set (see ``wrapper/``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import resources, run
from ..errors import InputError, ToolError
from ..pipeline.layout import KATA_DEFAULTS, KATA_SHARE
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work

_PATH_MAX = 4096  # linux/limits.h: bytes of a path with its final zero
_FIRST_KATA_WITHOUT_CONF_FILE = 4  # from 4.0 on KATA_CONF_FILE may only name the runtime's own default places
_CFLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-ident", "-fno-asynchronous-unwind-tables")
# No build id (it would hash section padding), no separate pages for headers: the program stays small.
_LDFLAGS = ("-static", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code")


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """A runtime configuration of the set: ``dialect`` is "go" or "rs", ``path`` is below the install prefix."""

    hypervisor: str
    dialect: str
    path: str

    @classmethod
    def of(cls, hypervisor: str, dialect: str) -> RuntimeConfig:
        """The configuration at the place where Kata's own packages keep it."""
        go = f"configuration-{hypervisor}.toml"
        rust = f"runtime-rs/configuration-{hypervisor}-runtime-rs.toml"
        return cls(hypervisor, dialect, f"{KATA_DEFAULTS}/{go if dialect == 'go' else rust}")


@dataclass(frozen=True)
class WrapperStage(Stage):
    """``name`` is the wrapper's, ``set_name`` the spec's (it names image and initrd).

    ``configs``: the preferred one first; its dialect decides which runtime is looked for first. ``image`` and
    ``initrd`` say which of the two the set has.
    """

    name: ClassVar[str] = "wrapper"
    title: ClassVar[str] = "runtime wrapper"

    wrapper: str
    set_name: str
    prefix: str
    kata: str
    configs: tuple[RuntimeConfig, ...]
    image: bool = True
    initrd: bool = False

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before kernel and image exist, ToolError without a C compiler that links statically."""
        compiler = "musl-gcc" if run.which("musl-gcc") else "gcc"
        sources = _sources()
        files = {f"wrapper/{path.name}": inputs.file_digest(path) for path in sources}
        files["set.c"] = hashlib.sha256(self._facts(inputs).encode()).hexdigest()
        units = [f"@resources@/wrapper/{path.name}" for path in sources if path.suffix == ".c"]
        compile_ = Command(
            compiler, *_CFLAGS, "-I", "@resources@/wrapper", "-o", "@out@/wrapper", *_LDFLAGS, *units, "set.c"
        )
        return Recipe(
            commands=(compile_,),
            files=files,
            inputs={f"{stage}/{file}": inputs.digest(stage, file) for _, _, stage, file in self._built(inputs)},
            tools={
                compiler: inputs.tool(compiler, "--version"),
                "ld": inputs.tool("ld", "--version"),
                "libc.a": _libc_digest(inputs, compiler),
            },
        )

    def run(self, work: Work) -> None:
        (work.scratch / "set.c").write_text(self._facts(work.inputs))
        work.run(work.recipe.commands[0])
        (work.out / "wrapper").chmod(0o755)

    def _facts(self, inputs: Inputs) -> str:
        """The C file that holds what the program knows of the set."""
        built = self._built(inputs)
        artifacts = [
            f"    {{{_c(kind)}, {_c(path)}, {inputs.path(stage, file).stat().st_size}u, "
            f"{_c(inputs.digest(stage, file))}}},"
            for kind, path, stage, file in built
        ]
        configs = [f"    {{{_c(c.hypervisor)}, {_c(c.dialect)}, {_c(c.path)}}}," for c in self.configs]
        for path in [*(p for _, p, _, _ in built), *(c.path for c in self.configs)]:
            if len(f"{self.prefix}/{path}".encode()) >= _PATH_MAX:
                raise InputError(f"install.prefix is too long: no room for {path}", hint="choose a shorter one")
        return "\n".join(
            [
                '#include "wrapper.h"',
                "static const struct artifact artifacts[] = {",
                *artifacts,
                "};",
                "static const struct config configs[] = {",
                *configs,
                "};",
                "const struct set the_set = {",
                f"    .name = {_c(self.wrapper)},",
                f"    .prefix = {_c(self.prefix.rstrip('/') or '/')},",
                f"    .kata = {_c(self.kata)},",
                f"    .conf_file_in_env = {'true' if self._honours_conf_file() else 'false'},",
                "    .artifacts = artifacts,",
                f"    .artifact_count = {len(artifacts)},",
                "    .configs = configs,",
                f"    .config_count = {len(configs)},",
                "};",
                "",
            ]
        )

    def _built(self, inputs: Inputs) -> list[tuple[str, str, str, str]]:
        """Kind, path below the prefix, stage and file of what the runtime will boot."""
        release = inputs.path("kernel", "release").read_text().strip()
        built = [("kernel", f"{KATA_SHARE}/vmlinux-{release}", "kernel", "vmlinux")]
        if self.image:
            built.append(("image", f"{KATA_SHARE}/{self.set_name}.img", "image", "image"))
        if self.initrd:
            built.append(("initrd", f"{KATA_SHARE}/{self.set_name}.initrd", "initrd", "initrd"))
        return built

    def _honours_conf_file(self) -> bool:
        return int(self.kata.split(".", maxsplit=1)[0]) < _FIRST_KATA_WITHOUT_CONF_FILE


def _sources() -> list[Path]:
    folder = resources.resource("wrapper")
    return sorted(path for path in folder.iterdir() if path.suffix in {".c", ".h"})


def _libc_digest(inputs: Inputs, compiler: str) -> str:
    """The static C library decides the bytes as much as the compiler does."""
    library = Path(inputs.tool(compiler, "-print-file-name=libc.a"))
    if not library.is_absolute():  # the compiler repeats the name when it has no such file
        raise ToolError(f"{compiler} has no static C library", hint="apt-get install musl-tools")
    return inputs.file_digest(library)


def _c(text: str) -> str:
    """A C string literal of any text: what is not plain ASCII becomes octal escapes of its UTF-8 bytes."""
    plain = {ord(c) for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ./-_+,:=@%~"}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
