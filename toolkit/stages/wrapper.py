"""The wrapper: a small static program that becomes the Kata runtime, pointed at this set (see ``wrapper/``)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .. import resources, set_paths
from ..arch import arch_of
from ..errors import InputError
from ..kata.tree import file_name
from ..pipeline.stage import Command, Inputs, Recipe, Stage, Work
from ..spec.model import Dialect
from ..static_c import CFLAGS, LDFLAGS, StaticC

_PATH_MAX = 4096  # linux/limits.h: bytes of a path with its final zero
_FIRST_KATA_WITHOUT_CONF_FILE = 4  # from 4.0 on KATA_CONF_FILE may only name the runtime's own default places
_CFLAGS = (*CFLAGS, "-std=gnu11", "-O2", "-Werror")


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """A runtime configuration of the set: ``dialect`` is "go" or "rs", ``path`` is below the install prefix.

    A shim or runtime called ``NAME-HYPERVISOR`` or ``NAME-FLAVOUR`` uses it; see ``wrapper/names.c``.
    """

    hypervisor: str
    dialect: Dialect
    path: str

    @classmethod
    def of(cls, hypervisor: str, dialect: Dialect) -> RuntimeConfig:
        """The configuration at the place where Kata's own packages keep it."""
        return cls(hypervisor, dialect, set_paths.runtime_config(file_name(dialect, hypervisor)))

    @property
    def flavour(self) -> str:
        """Kata's own name of the configuration, as in its file's: ``qemu``, ``qemu-runtime-rs``."""
        return set_paths.flavour_of(self.path)


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
    arch: str
    configs: tuple[RuntimeConfig, ...]
    image: bool = True
    initrd: bool = False

    def plan(self, inputs: Inputs) -> Recipe:
        """Raises NotBuiltYet before kernel and image exist, ToolError without a C compiler that links statically."""
        compiler = StaticC.for_arch(arch_of(self.arch))
        sources = _sources()
        files = {f"wrapper/{path.name}": inputs.file_digest(path) for path in sources}
        files["set.c"] = hashlib.sha256(self._facts(inputs).encode()).hexdigest()
        units = [f"@resources@/wrapper/{path.name}" for path in sources if path.suffix == ".c"]
        compile_ = Command(
            compiler.command, *_CFLAGS, "-I", "@resources@/wrapper", "-o", "@out@/wrapper", *LDFLAGS, *units, "set.c"
        )
        return Recipe(
            commands=(compile_,),
            files=files,
            inputs={f"{stage}/{file}": inputs.digest(stage, file) for _, _, stage, file in self._built(inputs)},
            tools=compiler.tools(inputs),
        )

    def known_tools(self, inputs: Inputs) -> Mapping[str, str]:
        return StaticC.for_arch(arch_of(self.arch)).tools(inputs)

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
        configs = [f"    {{{_c(c.hypervisor)}, {_c(c.flavour)}, {_c(c.dialect)}, {_c(c.path)}}}," for c in self.configs]
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
        built = [("kernel", set_paths.kernel(release), "kernel", "vmlinux")]
        if self.image:
            built.append(("image", set_paths.image(self.set_name), "image", "image"))
        if self.initrd:
            built.append(("initrd", set_paths.initrd(self.set_name), "initrd", "initrd"))
        return built

    def _honours_conf_file(self) -> bool:
        return int(self.kata.split(".", maxsplit=1)[0]) < _FIRST_KATA_WITHOUT_CONF_FILE


def _sources() -> list[Path]:
    folder = resources.resource("wrapper")
    return sorted(path for path in folder.iterdir() if path.suffix in {".c", ".h"})


def _c(text: str) -> str:
    """A C string literal of any text: what is not plain ASCII becomes octal escapes of its UTF-8 bytes."""
    plain = {ord(c) for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ./-_+,:=@%~"}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
