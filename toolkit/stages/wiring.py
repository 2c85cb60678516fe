"""The wiring: what tells each container manager of the set's runtime handlers (see ``toolkit/wiring/``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from .. import resources, set_paths
from ..arch import arch_of
from ..kata.keys import tables
from ..kata.request import CONFIGURING, Built, Request
from ..kata.tree import config_tree, file_name
from ..kata.values import config_values, facts_of
from ..pipeline.layout import extension_stage
from ..pipeline.stage import Inputs, Recipe, Stage, Work
from ..spec.model import Dialect, Spec
from ..wiring.annotations import describe
from ..wiring.files import TEMPLATES, wiring_files
from ..wiring.handlers import Handler, handler_names
from ..wiring.overhead import overhead, snapshotter
from .image import VERITY

# Then the VMM takes all of the guest's memory before it runs: devices that are passed through have it pinned.
_TAKEN_AT_START = ("confidential_guest", "enable_mem_prealloc")
_PASSES_THROUGH, _NO_PORT = "cold_plug_vfio", (None, "", "no-port")

# What a set changes in a configuration of Kata's own, for kata-deploy's drop-ins.
_CHANGED = (
    "kernel",
    "image",
    "initrd",
    "rootfs_type",
    "disable_image_nvdimm",
    "kernel_params",
    "kernel_verity_params",
    "guest_extension_images",
    "default_vcpus",
    "default_memory",
)


@dataclass(frozen=True)
class WiringStage(Stage):
    """Writes the files of ``share/NAME/``.

    ``overhead``: memory in MiB and thousandths of a CPU, as far as the spec gives them. ``arch``: by Go's name.
    """

    name: ClassVar[str] = "wiring"
    title: ClassVar[str] = "wiring of container managers"
    modules: ClassVar[tuple[str, ...]] = (
        *CONFIGURING,
        "stages/wiring.py",
        "wiring/annotations.py",
        "wiring/files.py",
        "wiring/handlers.py",
        "wiring/overhead.py",
        "wiring/text.py",
        "wiring/trees.py",
    )

    requests: tuple[Request, ...]
    set_name: str
    wrapper: str
    prefix: str
    arch: str
    overhead: tuple[int | None, int | None] = (None, None)

    @classmethod
    def of(cls, spec: Spec) -> WiringStage:
        """The stage for a spec."""
        return cls(
            tuple(Request.of(spec, hypervisor) for hypervisor in spec.hypervisors),
            spec.name,
            spec.wrapper,
            spec.prefix,
            arch_of(spec.arch).go,
            (spec.overhead.memory_mib, spec.overhead.cpu_millis),
        )

    def plan(self, inputs: Inputs) -> Recipe:
        files = {
            f"templates/wiring/{name}": inputs.file_digest(resources.resource("templates", "wiring", name))
            for name in TEMPLATES
        }
        overheads = resources.resource("schemas", "overheads.json")
        handlers = self.handlers(self._built(inputs))
        return Recipe(
            options={
                "set": [self.set_name, self.wrapper, self.prefix, self.arch],
                "handlers": [asdict(handler) for handler in handlers],
            },
            files={**files, "schemas/overheads.json": inputs.file_digest(overheads)},
            modules=self.module_digests(),
        )

    def run(self, work: Work) -> None:
        handlers = self.handlers(self._built(work.inputs))
        written = wiring_files(self.set_name, self.wrapper, self.prefix, self.arch, handlers)
        for name, text in written.items():
            path = work.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            work.log.write(f"wrote {name}\n")

    def _built(self, inputs: Inputs) -> Built:
        """What the configuration says of what was built, as the runtime configuration does."""
        release = inputs.path("kernel", "release").read_text().strip()
        verity = any(request.verity and request.hypervisor.boot == "image" for request in self.requests)
        extensions = dict.fromkeys(name for request in self.requests for name in request.extensions)
        return Built(
            release,
            inputs.path("image", VERITY).read_text().strip() if verity else "",
            {name: inputs.path(extension_stage(name), VERITY).read_text().strip() for name in extensions},
        )

    def handlers(self, built: Built) -> list[Handler]:
        """One for each configuration, the preferred first."""
        configs = {
            (dialect, file_name(dialect, request.hypervisor.name)): (request, values[dialect])
            for request in self.requests
            for values in [config_values(request, built)]
            for dialect in request.hypervisor.dialects
        }
        names = handler_names(self.wrapper, list(configs), several=len(self.requests) > 1)
        return [self._handler(name, dialect, file, *configs[(dialect, file)]) for name, dialect, file in names]

    def _handler(self, name: str, dialect: Dialect, file: str, request: Request, values: dict[str, Any]) -> Handler:
        facts = facts_of(dialect, request, values)
        admitted, refused = describe(values)
        memory, cpu = self.overhead
        static = facts.get("overhead_memory") if dialect == "rs" else 0
        command = set_paths.wrapper(name) if dialect == "go" or name == self.wrapper else ""
        return Handler(
            name=name,
            flavour=set_paths.flavour_of(file),
            vmm=request.hypervisor.vmm,
            dialect=dialect,
            shim=request.installed(set_paths.shim(name)),
            command=request.installed(command) if command else "",
            config=request.installed(set_paths.runtime_config(file)),
            snapshotter=snapshotter(request.hypervisor.vmm),
            overhead=overhead(
                request.hypervisor.vmm,
                int(facts.get("default_memory") or 0),
                virtiofsd=str(facts.get("shared_fs")).startswith("virtio-fs"),
                static_mib=int(static or 0),
                taken_at_start=any(facts.get(key) for key in _TAKEN_AT_START)
                or facts.get(_PASSES_THROUGH) not in _NO_PORT,
                given_memory_mib=memory,
                given_cpu_millis=cpu,
            ),
            annotations=admitted,
            refused=refused,
            changes=config_tree(dialect, request.hypervisor.vmm, _changes(dialect, request, values)),
        )


def _changes(dialect: Dialect, request: Request, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the set changes in Kata's own configuration of the flavour, for a drop-in over it.

    The flavour may boot from an image where the set has an initrd, or the other way round; both is an error.
    """
    unused = "image" if request.hypervisor.boot == "initrd" else "initrd"
    setting = tables().find(unused)
    changed = {key: values[key] for key in _CHANGED if key in values}
    return {**changed, unused: ""} if setting and setting.side(dialect) else changed
