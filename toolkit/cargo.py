"""Rust's toolchain: which one a folder asks for, what it can build for, and its words when something is missing."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import run
from .arch import Arch
from .errors import InputError, ToolError
from .pipeline.packages import install_hint
from .pipeline.stage import Inputs
from .static_c import StaticC

# rustc's own names, where they are not those of `uname -m`.
_ARCH_NAMES = {"riscv64": "riscv64gc", "ppc64le": "powerpc64le"}
# What rustup's stand-ins for cargo and rustc go by; ours have no home.
_RUSTUP = ("HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_HOME")
_ROOT_CONFIGS = ("/.cargo/config.toml", "/.cargo/config")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The compiler and cargo themselves, in the folder ``sysroot``: not what stands in for them on PATH."""

    sysroot: Path

    @classmethod
    def of(cls, folder: Path) -> Toolchain:
        """The toolchain for what is in ``folder``: its ``rust-toolchain.toml`` counts. Raises ToolError."""
        if run.which("rustc") is None or run.which("cargo") is None:
            raise ToolError("cargo and rustc are not installed", hint=install_hint("cargo"))
        # One that is not installed is an error here, not a reason to fetch it.
        env = {name: os.environ[name] for name in _RUSTUP if name in os.environ} | {"RUSTUP_AUTO_INSTALL": "0"}
        sysroot = Path(run.run(["rustc", "--print", "sysroot"], env=env, cwd=folder).output.strip().splitlines()[-1])
        for name in ("cargo", "rustc"):
            if not (sysroot / "bin" / name).is_file():
                raise ToolError(f"the Rust toolchain in {sysroot} has no {name}")
        return cls(sysroot)

    def tools(self, inputs: Inputs) -> dict[str, str]:
        """For `Recipe.tools`: all that ``rustc -Vv`` and ``cargo -V`` say."""
        rustc = run.run([str(self.sysroot / "bin/rustc"), "-Vv"]).output.splitlines()
        return {
            "cargo": inputs.tool(str(self.sysroot / "bin/cargo"), "-V"),
            "rustc": "; ".join(line.strip() for line in rustc if line.strip()),
        }

    def library(self, target: str) -> Path | None:
        """Rust's standard library for a target, or None when the toolchain has none."""
        found = sorted((self.sysroot / "lib/rustlib" / target / "lib").glob("libstd-*.rlib"))
        return found[0] if found else None

    def target(self, arch: Arch, wanted: str | None) -> str:
        """The target to build for: the wanted one, or musl, or else glibc. Raises ToolError when it has none."""
        name = _ARCH_NAMES.get(arch.name, arch.uname)
        choices = [wanted] if wanted else [f"{name}-unknown-linux-{libc}" for libc in ("musl", "gnu")]
        for choice in choices:
            if self.library(choice):
                return choice
        if (self.sysroot / "lib/rustlib/multirust-channel-manifest.toml").is_file():
            hint = f"rustup target add {choices[0]}"
        elif choices[-1] == f"{name}-unknown-linux-gnu" and arch.native:
            hint = "apt-get install libstd-rust-dev"
        else:
            hint = "Debian's toolchain builds for this machine with glibc alone; rustup's has other targets"
        raise ToolError(f"the Rust toolchain in {self.sysroot} cannot build for {' or '.join(choices)}", hint=hint)


def linker_tools(arch: Arch, target: str, inputs: Inputs) -> tuple[str, dict[str, str]]:
    """The C compiler that links, and for `Recipe.tools` what ends up in the program. Raises ToolError."""
    compiler = StaticC("gcc", "ld") if arch.native else StaticC(f"{arch.cross_prefix}gcc", f"{arch.cross_prefix}ld")
    if target.endswith("-gnu"):
        return compiler.command, compiler.tools(inputs)
    return compiler.command, {name: inputs.tool(name) for name in (compiler.command, compiler.linker)}


def root_configs(inputs: Inputs) -> dict[str, str]:
    """The digests of the one configuration outside of a build that cargo cannot be kept from reading."""
    return {name: inputs.file_digest(Path(name)) for name in _ROOT_CONFIGS if Path(name).is_file()}


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file, empty when it is not there. Raises InputError when it is none."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path.name}: {error}") from error


def own_settings(config: Mapping[str, Any], target: str) -> tuple[list[str], bool]:
    """What a folder's own ``.cargo/config.toml`` says: compiler flags that ours would replace, and whether it names a
    linker for the target."""
    mine = config.get("target", {}).get(target, {})
    flags = [] if "rustflags" in mine else config.get("build", {}).get("rustflags", [])
    return (flags.split() if isinstance(flags, str) else list(flags)), "linker" in mine


# What cargo says, in part, and what there is to do about it.
_REMEDIES = (
    (("no matching package", "offline was specified", "offline mode", "failed to load source for dependency",
      "unable to update", "failed to get"),
     "in that folder: mkdir -p .cargo && cargo vendor >>.cargo/config.toml"),
    (("--locked was passed",), "in that folder: cargo generate-lockfile, then vendor again"),
)  # fmt: skip


def in_words(error: ToolError, folder: Path, copy: str) -> tuple[str, str | None]:
    """What a failed cargo said, in one line and with the user's own folder, and what to do about it."""
    text = str(error)
    start = text.find("error: ")
    lines = [line.strip().removeprefix("error: ") for line in text[max(start, 0) :].splitlines()]
    said = "; ".join(line for line in lines if line and not line.startswith(("to repeat:", "(to repeat", "Caused by")))
    said = said.partition("; As a reminder")[0].partition(" (to repeat")[0]
    said = said.replace(copy, str(folder)).replace(copy.lstrip("/"), str(folder))
    hint = next((hint for signs, hint in _REMEDIES if any(sign in text for sign in signs)), None)
    return said, hint
