"""cargo: an agent built from a folder of vendored Rust sources, the same bytes wherever it is built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..arch import arch_of
from ..cargo import Toolchain, in_words, linker_tools, own_settings, read_toml, root_configs
from ..components import Component
from ..errors import InputError, Problem, ToolError
from ..pipeline.files import copy_checked
from ..pipeline.stage import Command, Inputs, Recipe, Work, fill
from ..spec.model import CargoAgent
from ..spec.suggest import did_you_mean
from .kind import PROGRAM, AgentKind, require_fit

LEFT_OUT = (b"target", b".git")
"""Folders beside Cargo.toml that are no part of the sources."""

_ENV = {
    # Cargo's home is the copy's own .cargo: paths in a configuration are relative to the folder above it.
    "CARGO_HOME": "@source@/.cargo",
    "CARGO_TARGET_DIR": "@scratch@/target",
    "RUSTC": "@toolchain@/bin/rustc",
    "CARGO_INCREMENTAL": "0",
    "CARGO_PROFILE_RELEASE_DEBUG": "false",
    "CARGO_PROFILE_RELEASE_STRIP": "symbols",
    "CARGO_TERM_COLOR": "never",
    "CARGO_TERM_PROGRESS_WHEN": "never",
    "SOURCE_DATE_EPOCH": "0",
}
# Names of places do not come into the program; rustc's own source, where it is installed, would.
_FLAGS = (
    "--remap-path-prefix=@source@=/source",
    "--remap-path-prefix=@scratch@/target=/target",
    "--remap-path-prefix=@toolchain@/lib/rustlib/src/rust=/rustc",
    "-Ctarget-feature=+crt-static",
    "-Clink-arg=-Wl,--build-id=none",
)
_CONFIG = "kata-toolkit.toml"


@dataclass(frozen=True)
class CargoKind(AgentKind):
    """The folder is copied, then built. ``libraries`` as `require_fit` takes it."""

    agent: CargoAgent
    arch: str
    libraries: bool = False

    modules: ClassVar[tuple[str, ...]] = ("agents/cargo.py", "cargo.py", "rootfs/folder.py", "rootfs/tree.py")

    def recipe(self, inputs: Inputs) -> Recipe:
        from ..rootfs.folder import folder_identity

        arch, agent = arch_of(self.arch), self.agent
        toolchain = Toolchain.of(agent.path)
        target = toolchain.target(arch, agent.target)
        linker, tools = linker_tools(arch, target, inputs)
        library = toolchain.library(target)
        assert library is not None  # noqa: S101 -- target() looked for it
        cargo, offline = "@toolchain@/bin/cargo", ("--offline", "--locked")
        features: tuple[str, ...] = (f"--features={','.join(agent.features)}",) if agent.features else ()
        features += () if agent.default_features else ("--no-default-features",)
        chosen = (*offline, "--manifest-path=@manifest@", f"--target={target}", *features)
        return Recipe(
            commands=(
                Command(cargo, "metadata", "--format-version=1", "--no-deps", *offline,
                        "--manifest-path=@source@/Cargo.toml", env=_ENV),
                Command(cargo, "tree", "--edges=normal,build", "--prefix=none", "--format={p}|{l}", *chosen, env=_ENV),
                Command(cargo, "build", "--release", "--bin=@bin@", *chosen, f"--config=@scratch@/{_CONFIG}",
                        "--jobs=@jobs@", env=_ENV),
            ),
            options={
                "kind": "cargo", "arch": self.arch, "libraries": self.libraries, "target": target, "linker": linker,
                "package": agent.package, "bin": agent.bin, "flags": list(_FLAGS),
                "content": folder_identity(agent.path, inputs.cache, LEFT_OUT),
            },
            files={"libstd": inputs.file_digest(library), **root_configs(inputs)},
            tools={**toolchain.tools(inputs), **tools},
        )  # fmt: skip

    def make(self, work: Work) -> tuple[Component, ...]:
        from ..rootfs.folder import folder_identity, folder_tree, write_out

        source, options = work.scratch / "source", work.recipe.options
        write_out(folder_tree(self.agent.path, LEFT_OUT), source)
        if folder_identity(self.agent.path, work.inputs.cache, LEFT_OUT) != options["content"]:
            raise ToolError(f"{self.agent.path} changed while it was used", hint="build again")
        places = {"source": str(source), "toolchain": str(Toolchain.of(self.agent.path).sysroot)}
        metadata, tree, build = work.recipe.commands
        package = self._package(json.loads(_last_json(self._asked(work, metadata, places))))
        places["manifest"] = package["manifest_path"]
        crates = _crates(self._asked(work, tree, places).splitlines())
        self._write_config(work, source, places)
        done = 0

        def on_line(line: str) -> None:
            nonlocal done
            if line.strip().startswith("Compiling "):
                done += 1
                work.progress(done, len(crates), "crates", " ".join(line.split()[1:3]))

        program = self._bin(package)
        try:
            work.run(_placed(build, {**places, "bin": program}), cwd=Path("/"), on_line=on_line)
        except ToolError as error:  # more often the sources' fault than cargo's, but who can tell
            raise ToolError.many(self._in_place(problem, str(source)) for problem in error.problems) from error
        built = work.scratch / "target" / options["target"] / "release" / program
        require_fit(built, program, self.arch, libraries=self.libraries)
        self._require_anonymous(work, built)
        digest = work.inputs.file_digest(built)
        if not copy_checked(built, work.out / PROGRAM, digest, 0o755):
            raise ToolError(f"{built} changed while it was copied", hint="build again")
        return tuple(_components(crates, read_toml(source / "Cargo.lock"), package, digest))

    def _asked(self, work: Work, command: Command, places: Mapping[str, str]) -> str:
        """What cargo answers. Raises InputError, in words: what it complains of now are the sources."""
        try:
            return work.run(_placed(command, places), cwd=Path("/")).output
        except ToolError as error:
            said, hint = in_words(error, self.agent.path, places["source"])
            raise InputError(
                f"cargo cannot build {self.agent.path}: {said}", where=self.agent.where, hint=hint
            ) from error

    def _in_place(self, problem: Problem, copy: str) -> Problem:
        """What a build complains of, at the spec's line and with the user's own folder."""
        message = problem.message.replace(copy, str(self.agent.path))
        return replace(problem, message=message, where=self.agent.where)

    def _package(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The package to build. Raises InputError when it is not clear which, or there is none of that name."""
        packages: dict[str, dict[str, Any]] = {p["name"]: p for p in metadata["packages"] if _programs(p)}
        wanted = self.agent.package
        if wanted is None and len(packages) == 1:
            return next(iter(packages.values()))
        if wanted in packages:
            return packages[wanted]
        if not packages:
            raise InputError(f"{self.agent.path} has no package with a program", where=self.agent.where)
        known = ", ".join(sorted(packages))
        if wanted is None:
            message = f"{self.agent.path} has {len(packages)} packages with a program"
            raise InputError(message, where=self.agent.where, hint=f"choose one with agent.package: {known}")
        message = f"{self.agent.path} has no package {wanted} with a program"
        raise InputError(message, where=self.agent.where, hint=did_you_mean(wanted, packages) or f"there are: {known}")

    def _bin(self, package: Mapping[str, Any]) -> str:
        """The program to build. Raises InputError as `_package` does."""
        programs = _programs(package)
        wanted = self.agent.bin or package.get("default_run") or (programs[0] if len(programs) == 1 else None)
        if wanted in programs:
            return str(wanted)
        known = ", ".join(programs)
        if wanted is None:
            message = f"the package {package['name']} has {len(programs)} programs"
            raise InputError(message, where=self.agent.where, hint=f"choose one with agent.bin: {known}")
        message = f"the package {package['name']} has no program {wanted}"
        raise InputError(message, where=self.agent.where, hint=did_you_mean(wanted, programs) or f"there are: {known}")

    def _write_config(self, work: Work, source: Path, places: Mapping[str, str]) -> None:
        """What we ask of rustc and the linker, on top of the folder's own configuration."""
        target, linker = work.recipe.options["target"], work.recipe.options["linker"]
        config = read_toml(source / ".cargo/config.toml") or read_toml(source / ".cargo/config")
        theirs, has_linker = own_settings(config, target)
        flags = [*theirs, *(fill(flag, {**places, "scratch": str(work.scratch)}) for flag in _FLAGS)]
        lines = [f"[target.{target}]", f"rustflags = {json.dumps(flags)}"]  # JSON's strings are TOML's
        lines += [] if has_linker else [f"linker = {json.dumps(linker)}"]
        (work.scratch / _CONFIG).write_text("\n".join(lines) + "\n")

    def _require_anonymous(self, work: Work, program: Path) -> None:
        """A program that holds the name of the folder it was built in comes out differently elsewhere."""
        if str(work.scratch).encode() in program.read_bytes():
            raise InputError(
                f"{program.name} holds the name of the folder it was built in, so no two builds give the same bytes",
                where=self.agent.where,
                hint='look for env!("CARGO_MANIFEST_DIR") and env!("OUT_DIR") in its sources and build scripts',
            )


def _placed(command: Command, places: Mapping[str, str]) -> Command:
    return Command(
        *(fill(word, places) for word in command.argv),
        env={name: fill(value, places) for name, value in command.env.items()},
    )


def _last_json(output: str) -> str:
    """The line that is JSON, among what cargo also has to say."""
    return next(line for line in reversed(output.splitlines()) if line.startswith("{"))


def _programs(package: Mapping[str, Any]) -> list[str]:
    return sorted(target["name"] for target in package["targets"] if "bin" in target["kind"])


def _crates(lines: Iterable[str]) -> dict[tuple[str, str], str]:
    """(name, version) → licence of every crate that is compiled, from ``cargo tree``."""
    found = {}
    for line in lines:
        package, bar, licence = line.rpartition("|")
        words = package.split()
        if bar and len(words) > 1 and words[1].startswith("v"):
            # Before SPDX expressions, crates wrote MIT/Apache-2.0.
            found[words[0], words[1][1:]] = licence.removesuffix(" (*)").strip().replace("/", " OR ")
    return found


def _components(
    crates: Mapping[tuple[str, str], str], lock: Mapping[str, Any], package: Mapping[str, Any], digest: str
) -> Iterable[Component]:
    """The agent, with the program's digest; the crates in it, with those of their archives."""
    locked = {(entry["name"], entry["version"]): entry for entry in lock.get("package", [])}
    own = (package["name"], package["version"])
    yield Component(*own, kind="cargo", sha256=digest, licence=crates.get(own, ""))
    for crate, licence in sorted(crates.items()):
        if crate != own:
            entry = locked.get(crate, {})
            origin = entry.get("source", "").removeprefix("registry+")
            yield Component(*crate, kind="cargo", sha256=entry.get("checksum", ""), licence=licence, origin=origin)
