"""What is in a set, read off the entries that a build used: their recipes and the facts they wrote down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .. import __version__
from ..components import Component
from ..pipeline.layout import Artifact
from ..pipeline.store import Entry
from ..spec.model import Spec
from .bill import SET, Bill, Link, Part, Relation, Role, SetFile
from .kernel import kernel_component, kernel_modules, kernel_source

OURS, OURS_NAME = "Apache-2.0", "kata-toolkit"
_MODULES = ("kernel/modules.tar", "kernel_modules/modules.tar")  # what the root file system may have taken
_OUR_FOLDERS = ("agent/", "loader/", "wrapper/")
_VERSION = re.compile(r"\d+(?:\.\d+)+[0-9A-Za-z.+~-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Recipes = Mapping[str, Mapping[str, Any]]
"""By stage, the recipe, as JSON, that made the entry."""


class Collection:
    """The parts of a set and how they hang together."""

    def __init__(self, spec: Spec, artifacts: Iterable[Artifact], entries: Mapping[str, Entry], recipes: Recipes):
        self._spec, self._entries, self._recipes = spec, entries, recipes
        self.files = [SetFile(a.path, entries[a.stage].files[a.source].sha256, a.role) for a in artifacts]
        self._parts: dict[str, Part] = {}
        self._links: dict[Link, None] = {}
        self._made: dict[str, str] = {}  # what each stage makes: the part that its tools have built
        self.kernel_source: Part | None = None
        self._collect()

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, by role and name."""
        return tuple(sorted(self._parts.values(), key=lambda part: (part.role, part.component.name, part.id)))

    def sources_of(self, part: Part) -> Mapping[str, str]:
        """The files of kata-toolkit that one of its programs was compiled from, each with its sha256."""
        for stage, made in self._made.items():
            if made == part.id and part.component.source_name == OURS_NAME:
                files: Mapping[str, str] = self._recipes[stage].get("files", {})
                return {name: files[name] for name in sorted(files) if name.startswith(_OUR_FOLDERS)}
        return {}

    def of_role(self, *roles: str) -> list[Part]:
        """The parts that are for one of these."""
        return [part for part in self.parts if part.role in roles]

    def bill(self, more: Iterable[SetFile] = ()) -> Bill:
        """The bill; ``more``: files of the set that no stage made."""
        files = sorted((*self.files, *more), key=lambda file: file.path)
        links = [*self._links, *(Link(SET, "CONTAINS", file.id) for file in files)]
        links.sort(key=lambda link: (link.one, link.relation, link.other))
        return Bill(self._spec.name, self._spec.arch, __version__, self.parts, tuple(files), tuple(links))

    # ---- what there is ----

    def _collect(self) -> None:
        toolkit = self._add(Component(OURS_NAME, __version__, licence=OURS), "toolkit")
        self._link(toolkit, "BUILD_TOOL_OF", SET)
        libraries = [self._add(c, "library") for c in self._components("licences")]
        self._kernel()
        self._root()
        self._agent(toolkit, libraries)
        self._programs(toolkit, libraries)
        for stage in sorted(self._entries.keys() - {"agent", "licences", "rootfs"}):
            for component in self._components(stage):
                self._link(SET, "CONTAINS", self._add(component, "package"))
        self._tools()

    def _kernel(self) -> None:
        entry = self._entries.get("kernel")
        if entry is None:
            return
        kernel = self._made["kernel"] = self._made["kernel_config"] = self._add(kernel_component(entry), "kernel")
        self._link(SET, "CONTAINS", kernel)
        self._generated(("kernel", "bzimage", "system_map"), kernel)
        for file in self.files:
            if file.role == "kernel_config":
                self._link(kernel, "GENERATED_FROM", file.id)
        source = kernel_source(self._entries, self._recipes)
        if source is None:
            return
        installed = self._fetched("kernel").get("kind") == "installed"
        note = "the digest is that of the tarball which the package installs" if installed else ""
        origin = self._made["kernel_source"] = self._add(source, "source", note)
        self.kernel_source = self._parts[origin]
        self._link(kernel, "GENERATED_FROM", origin)
        for file in self.files:
            if file.role == "patch":
                self._link(file.id, "PATCH_FOR", origin)

    def _root(self) -> None:
        entry = self._entries.get("rootfs")
        if entry is None:
            return
        tar = entry.files["rootfs.tar"].sha256
        options = self._recipes[entry.stage].get("options", {})
        note = f"the root file system, of kind {options.get('kind', 'unknown')}"
        root = self._made["rootfs"] = self._add(Component(f"{self._spec.name}-rootfs", sha256=tar), "root", note)
        self._generated(("image", "initrd"), root)
        self._link(SET, "CONTAINS", root)
        self._made |= {file.role: file.id for file in self.files if file.role in ("image", "initrd")}
        for component in self._components("rootfs"):
            self._link(root, "CONTAINS", self._add(component, "package"))
        for name, digest in sorted(self._recipes["rootfs"].get("inputs", {}).items()):
            if name in _MODULES and "kernel" in self._made:
                kernel = self._parts[self._made["kernel"]]
                modules = self._add(
                    kernel_modules(kernel.component, digest), "package", "those in the root file system"
                )
                self._link(root, "CONTAINS", modules)
                self._link(modules, "GENERATED_FROM", kernel.id)
        given = options.get("sha256") or options.get("content")
        if options.get("kind") in ("directory", "tarball") and given:
            fetched = self._fetched("rootfs")
            name = str(fetched.get("url", "")).rpartition("/")[2] or f"{self._spec.name}-rootfs-{options['kind']}"
            source = Component(name, sha256=given, origin=fetched.get("url", ""))
            self._link(root, "GENERATED_FROM", self._add(source, "source", "what the root file system was made from"))

    def _agent(self, toolkit: str, libraries: list[str]) -> None:
        """The agent, with what is linked into it."""
        entry = self._entries.get("agent")
        if entry is None:
            return
        digest = entry.files["init"].sha256
        listed = self._components("agent") or [Component("agent", sha256=digest)]
        program, *crates = sorted(listed, key=lambda component: component.sha256 != digest)
        if not program.sha256:
            program = replace(program, sha256=digest)
        ours = self._recipes["agent"].get("options", {}).get("kind") == "builtin"
        agent = self._made["agent"] = self._add(_of_ours(program) if ours else program, "agent")
        self._link(self._made.get("rootfs", SET), "CONTAINS", agent)
        self._built(agent, toolkit, libraries if ours else [])
        for crate in crates:
            self._link(agent, "STATIC_LINK", self._add(crate, "package"))

    def _programs(self, toolkit: str, libraries: list[str]) -> None:
        """The wrapper and the loader: as our agent they are static, so the C library is in them."""
        root = self._made.get("rootfs")
        for stage, file, name in (("wrapper", "wrapper", "wrapper"), ("kernel_modules", "load", "loader")):
            entry = self._entries.get(stage)
            if entry is None or file not in entry.files:
                continue
            program = Component(f"{OURS_NAME}-{name}", __version__, sha256=entry.files[file].sha256, licence=OURS)
            made = self._made[stage] = self._add(_of_ours(program), "program")
            self._built(made, toolkit, libraries)
            self._link(root if root and stage == "kernel_modules" else SET, "CONTAINS", made)
        if "wrapper" in self._made:
            self._generated(("wrapper", "shim"), self._made["wrapper"])

    def _tools(self) -> None:
        """What the recipes name, by the version that it said of itself."""
        for stage, entry in sorted(self._entries.items()):
            for tool, said in sorted(self._recipes[entry.stage].get("tools", {}).items()):
                if _DIGEST.fullmatch(said):
                    continue  # no tool but a file: the C library, which is a part of its own
                versions = _VERSION.findall(said)
                part = Component(tool, versions[-1] if versions else said)
                self._link(self._add(part, "tool", said), "BUILD_TOOL_OF", self._made.get(stage, SET))

    # ---- how it is put down ----

    def _components(self, stage: str) -> list[Component]:
        """What a stage says that it has put in: in components.json, or in the JSON file that has its name."""
        entry = self._entries.get(stage)
        for name in ("components.json", f"{stage}.json"):
            if entry and name in entry.files:
                said = json.loads(entry.path(name).read_bytes())
                listed = said.get("components", []) if isinstance(said, dict) else said
                return [Component.from_json(component) for component in listed]
        return []

    def _fetched(self, name: str) -> Mapping[str, Any]:
        """What the sources stage was told to bring under that name."""
        entry = self._entries.get("sources")
        return dict(self._recipes[entry.stage].get("options", {}).get(name, {})) if entry else {}

    def _add(self, component: Component, role: Role, note: str = "") -> str:
        part = Part(component, role, note)
        self._parts.setdefault(part.id, part)
        return part.id

    def _link(self, one: str, relation: Relation, other: str) -> None:
        self._links[Link(one, relation, other)] = None

    def _built(self, program: str, toolkit: str, libraries: list[str]) -> None:
        for library in libraries:
            self._link(program, "STATIC_LINK", library)
        if libraries:
            self._link(program, "GENERATED_FROM", toolkit)

    def _generated(self, roles: tuple[str, ...], part: str) -> None:
        for file in self.files:
            if file.role in roles:
                self._link(file.id, "GENERATED_FROM", part)


def _of_ours(program: Component) -> Component:
    """Its source is kata-toolkit's, of the same version."""
    return replace(program, source_name=OURS_NAME, source_version=__version__)
