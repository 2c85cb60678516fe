"""The runtime configuration: a TOML file for each dialect of Kata that the spec asks for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from .. import resources
from ..errors import InputError
from ..kata.request import CONFIGURING, Built, Request
from ..kata.rules import broken
from ..kata.tree import TEMPLATE, config_tree, file_name
from ..kata.values import config_values, facts_of
from ..pipeline.layout import extension_stage
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import Spec
from .image import VERITY

_DATA = ("agent", "dialects", "factory", "flavours", "hypervisor", "runtime")


@dataclass(frozen=True, slots=True)
class RuntimeConfigStage(Stage):
    """Writes ``configuration-HV.toml`` and ``runtime-rs/configuration-HV-runtime-rs.toml``.

    Of the other stages it needs only the kernel's release, which is part of a file name, the root hash where there is
    dm-verity, and, where the guest boots from an initrd, that one's size, to refuse what cannot boot.
    """

    requests: tuple[Request, ...]

    name: ClassVar[str] = "runtime_config"
    title: ClassVar[str] = "runtime configuration"
    modules: ClassVar[tuple[str, ...]] = (
        *CONFIGURING,
        "stages/runtime_config.py",
    )

    @classmethod
    def of(cls, spec: Spec) -> RuntimeConfigStage:
        """The stage for a spec."""
        return cls(tuple(Request.of(spec, hypervisor) for hypervisor in spec.hypervisors))

    def plan(self, inputs: Inputs) -> Recipe:
        release = inputs.path("kernel", "release").read_text().strip()
        files = {f"templates/{TEMPLATE}": _sha256(resources.resource("templates", TEMPLATE))}
        for name in _DATA:
            files[f"schemas/kata/{name}.json"] = _sha256(resources.resource("schemas", "kata", f"{name}.json"))
        for request in self.requests:
            _check_initrd(request, inputs)
        verity = self._verity(inputs)
        extensions = self._extensions(inputs)
        written = self.files(Built(release, verity, extensions))
        return Recipe(
            options={
                "headings": {name: [f["kata"], f["arch"], *f["about"]] for name, f in written.items()},
                **{name: f["tree"] for name, f in written.items()},
            },
            files=files,
            inputs={
                "kernel/release": inputs.digest("kernel", "release"),
                **({f"image/{VERITY}": inputs.digest("image", VERITY)} if verity else {}),
                **{f"{stage}/{VERITY}": inputs.digest(stage, VERITY) for stage in map(extension_stage, extensions)},
            },
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        from ..kata.render import render

        release = work.inputs.path("kernel", "release").read_text().strip()
        files = self.files(Built(release, self._verity(work.inputs), self._extensions(work.inputs)))
        for done, (name, file) in enumerate(sorted(files.items()), 1):
            path = work.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(**file), encoding="utf-8", newline="\n")
            work.log.write(f"wrote {name}\n")
            work.progress(done, len(files), "file", name)

    def _verity(self, inputs: Inputs) -> str:
        """The image's ``kernel_verity_params``; empty where none is to be written."""
        if not any(request.verity and request.hypervisor.boot == "image" for request in self.requests):
            return ""
        return inputs.path("image", VERITY).read_text().strip()

    def _extensions(self, inputs: Inputs) -> dict[str, str]:
        """The ``verity_params`` of each extension image."""
        names = dict.fromkeys(name for request in self.requests for name in request.extensions)
        return {name: inputs.path(extension_stage(name), VERITY).read_text().strip() for name in names}

    def files(self, built: Built) -> dict[str, dict[str, Any]]:
        """For each file what `render` wants: its tree of tables, and what the comments speak of."""
        files = {}
        for request in self.requests:
            hypervisor = request.hypervisor
            for dialect, values in config_values(request, built).items():
                files[file_name(dialect, hypervisor.name)] = {
                    "dialect": dialect,
                    "flavour_name": hypervisor.name,
                    "kata": request.kata,
                    "arch": request.arch,
                    "tree": config_tree(dialect, hypervisor.vmm, values),
                    "about": _about(request),
                }
        return files


def _about(request: Request) -> list[str]:
    return [
        f"Belongs to the guest {request.name}, installed below {request.prefix}. It may be edited; drop-ins in the",
        "folder config.d beside it are merged over it in the order of their names.",
        "",
        "A line like #key = value shows a key that is left out, and what the runtime takes for it.",
    ]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_initrd(request: Request, inputs: Inputs) -> None:
    """An initrd must fit into the guest's memory: one runtime refuses it, with the other the guest cannot unpack it."""
    if request.hypervisor.boot != "initrd":
        return
    sizes = {"initrd": inputs.path("initrd", "initrd").stat().st_size}
    for dialect, values in config_values(request).items():
        for found in broken(replace(facts_of(dialect, request, values), sizes=sizes)):
            where = request.hypervisor.where.get("default_memory")
            raise InputError(found.message, where=where, hint=found.hint)
