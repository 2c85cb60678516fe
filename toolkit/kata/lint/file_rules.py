"""Rules that only a file can break: what a spec cannot say, and what follows from a key that is not there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ..rules import Values
from .findings import Finding, Level, Place
from .merged import Merged
from .structure import Item
from .values import STAGES

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MOUNT = re.compile(r"(/[-\w.]+)+/?")
_VERITY = ("root_hash", "salt", "data_blocks", "data_block_size", "hash_block_size")


@dataclass(frozen=True, slots=True)
class Facts:
    """One configuration for one hypervisor: the items that are usable, by setting, and what the runtime sees."""

    merged: Merged
    values: Values
    items: Mapping[str, Item]

    @property
    def hypervisor(self) -> str:
        """The name of the hypervisor's table."""
        return self.values.hypervisor

    def get(self, name: str) -> Any:
        """A setting's value, the default where the file does not have it."""
        return self.values.get(name)

    def broken(
        self,
        settings: tuple[str, ...],
        message: str,
        hint: str | None = None,
        *,
        stage: str | None = None,
        does: str | None = None,
        level: Level = "error",
        rule: str = "conflict",
        where: Place | None = None,
    ) -> Finding:
        """A finding at the first of the settings that the file has, or at the hypervisor's table."""
        places = [(self.items[name].where, self.items[name].key) for name in settings if name in self.items]
        header = self.merged.owners("hypervisor")[self.hypervisor].where
        first = where or (places[0][0] if places else header)
        title = self.merged.known.title
        acts = does if does is not None else STAGES[stage or "validate"]
        related = tuple(place for place in places if place[0] != first)
        return Finding(rule, level, message, first, hint, f"the {title} {acts}", self.merged.known.dialect, related)


Rule = Callable[[Facts], Iterator[Finding]]


def file_findings(facts: Facts) -> Iterator[Finding]:
    """Every rule that is broken."""
    for rule in RULES:
        yield from rule(facts)


def _roots(f: Facts) -> Iterator[Finding]:
    image, initrd = f.get("image"), f.get("initrd")
    stage = "create" if f.values.dialect == "go" else "validate"
    if f.hypervisor == "remote":
        return
    if image and initrd:
        yield f.broken(("initrd", "image"), "image and initrd exclude each other", "keep one of them", stage=stage)
    elif not image and not initrd and not _needs_no_root(f):
        needs = "image" if f.hypervisor == "firecracker" else "image or initrd"
        yield f.broken((), f"[hypervisor.{f.hypervisor}] has neither image nor initrd", f"add {needs}", stage=stage)
    elif f.values.dialect == "rs" and f.hypervisor == "firecracker" and initrd:
        yield f.broken(("initrd",), "firecracker boots from an image only", "write image in place of initrd")


def _needs_no_root(f: Facts) -> bool:
    if f.values.dialect == "go":
        return bool(f.get("confidential_guest")) and f.get("machine_type") == "s390-ccw-virtio"
    driver = str(f.get("disable_image_nvdimm") or "")
    return f.hypervisor == "openvmm" or bool(f.get("confidential_guest") and driver.endswith("ccw"))


def _cache(f: Facts) -> Iterator[Finding]:
    if f.values.dialect == "go" and f.get("factory.vm_cache_number") and f.hypervisor != "qemu":
        told = f"vm_cache_number needs qemu, not {f.hypervisor}"
        yield f.broken(("factory.vm_cache_number",), told, "write vm_cache_number = 0", stage="load")


def _timeout(f: Facts) -> Iterator[Finding]:
    if f.values.dialect == "go" and "runtime.create_container_timeout" not in f.items:
        if f.merged.runtime("create_container_timeout"):
            return  # there, and wrong
        where = next((i.document.value_place(i.path[:1]) for i in f.merged.items if i.table == "runtime"), None)
        yield f.broken(
            (),
            "[runtime] has no create_container_timeout",
            "add create_container_timeout = 60",
            does="takes 0 s for it, and every container fails at once",
            rule="missing-key",
            where=where,
        )


def _burst(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "go" or f.hypervisor != "clh":
        return
    for kind in ("disk_rate_limiter_bw", "disk_rate_limiter_ops", "net_rate_limiter_bw", "net_rate_limiter_ops"):
        burst, rate = f"{kind}_one_time_burst", f"{kind}_max_rate"
        if f.get(burst) and not f.get(rate):
            does = "logs a warning and sets the burst to 0"
            yield f.broken((burst, rate), f"{burst} needs {rate}", f"add {rate}", does=does, level="warning")


def _bind_mounts(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "go":
        return
    seen: dict[str, str] = {}
    for path in f.get("runtime.sandbox_bind_mounts") or ():
        name = PurePosixPath(path).name
        if name in seen:
            told = f"sandbox_bind_mounts: {seen[name]} and {path} end in the same name"
            yield f.broken(("runtime.sandbox_bind_mounts",), told, stage="load")
        seen.setdefault(name, path)


def _dragonball(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "rs" or f.hypervisor != "dragonball":
        return
    empty = ("path", "valid_hypervisor_paths", "ctlpath", "valid_ctlpaths", "firmware", "machine_type", "pflashes")
    off = ("enable_iothreads", "enable_iommu", "enable_iommu_platform", "rootless")
    zero = ("default_bridges", "pcie_root_port", "pcie_switch_port")
    for names, must in ((empty, "empty"), (off, "false"), (zero, "0")):
        for name in names:
            if name in f.items and f.items[name].value:
                told = f"{f.items[name].key} must be {must} with dragonball"
                yield f.broken((name,), told, "remove it")


def _remote(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "rs" or f.hypervisor != "remote":
        return
    for name in ("initrd", "rootfs_type"):
        if f.get(name):
            yield f.broken((name,), f"{name} must be empty with remote", "remove it")
    for name, what in (("default_maxmemory", "memory"), ("default_maxvcpus", "CPUs")):
        if f.values.given.get(name):
            told = f"{name} must be what the host has in {what} with remote"
            yield f.broken((name,), told, f"write {name} = 0", level="warning")
    for name, forced in (("runtime.internetworking_model", "none"), ("runtime.disable_new_netns", False)):
        if name in f.items and f.items[name].value != forced:
            shown = "false" if forced is False else f'"{forced}"'
            told = f"{f.items[name].key} is {shown} with remote, whatever the file says"
            does = f"overrules it with {shown}"
            yield f.broken((name,), told, f"write {shown}", does=does, level="warning")


def _program(f: Facts) -> Iterator[Finding]:
    if f.values.dialect == "rs" and f.hypervisor in ("firecracker", "openvmm") and not f.get("path"):
        told = f"[hypervisor.{f.hypervisor}] needs path, the program that runs the VM"
        yield f.broken(("path",), told, rule="missing-key")


def _confidential(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "rs" or f.hypervisor not in ("qemu", "clh") or not f.get("confidential_guest"):
        return
    if f.get("disable_image_nvdimm") == "virtio-blk-mmio":
        told = 'vm_rootfs_driver "virtio-blk-mmio" is refused for a confidential_guest'
        yield f.broken(("disable_image_nvdimm", "confidential_guest"), told)


def _rate_unit(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "rs" or f.hypervisor not in ("clh", "firecracker", "dragonball"):
        return
    for name in ("disk_rate_limiter_bw_max_rate", "disk_rate_limiter_bw_one_time_burst"):
        if f.values.given.get(name):
            does = "hands the number on unchanged, where it counts bytes: eight times as much"
            told = f"{name} is documented in bits and counts bytes"
            yield f.broken((name,), told, "divide by 8 what is meant in bits", does=does, level="warning")


def _mem_agent(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "rs" or not f.get("agent.mem_agent.enable"):
        return
    for name, item in f.items.items():
        if name.startswith("agent.mem_agent.compact_"):
            does = "hands it to the agent before mem_agent.enable, and the agent ignores it"
            told = f"{item.key} does not reach the memory agent"
            yield f.broken((name,), told, does=does, level="warning")


def _arm_nvdimm(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "go" or f.values.arch != "aarch64" or f.hypervisor != "qemu" or f.values.boot != "image":
        return
    if not f.get("firmware") and not f.get("pflashes") and f.values.given.get("disable_image_nvdimm") is False:
        told = "disable_image_nvdimm = false needs firmware or pflashes on arm64"
        does = "attaches the image as a block device"
        hint = "write disable_image_nvdimm = true"
        yield f.broken(("disable_image_nvdimm", "firmware"), told, hint, does=does, level="warning")


def _extensions(f: Facts) -> Iterator[Finding]:
    stage = "load" if f.values.dialect == "go" else "validate"
    for item in f.merged.items:
        if not item.table.endswith(".guest_extension_images") or not isinstance(item.value, str):
            continue
        key = item.match.side.key if item.match else ""
        if key == "name" and not _NAME.fullmatch(item.value):
            told = f'"{item.value}" is no name for an extension: letters, digits, - and _ only'
            yield f.broken((), told, stage=stage, rule="not-allowed", where=item.value_where)
        elif key == "verity_params" and item.value.strip() and (wrong := _verity(item.value)):
            yield f.broken((), f"verity_params: {wrong}", stage=stage, rule="not-allowed", where=item.value_where)


def _kernel_verity(f: Facts) -> Iterator[Finding]:
    item = f.items.get("kernel_verity_params")
    if item and isinstance(item.value, str) and item.value.strip() and (wrong := _verity(item.value)):
        stage = "create" if f.values.dialect == "go" else "start"
        where = item.value_where
        yield f.broken((), f"kernel_verity_params: {wrong}", stage=stage, rule="not-allowed", where=where)


def _verity(text: str) -> str | None:
    """What is wrong with a dm-verity description ``root_hash=…,salt=…``; None: nothing."""
    fields = dict(part.partition("=")[::2] for part in text.strip().split(","))
    missing = [name for name in _VERITY if not fields.get(name)]
    if missing:
        return f"{', '.join(missing)} missing"
    for name in _VERITY[2:]:
        number = fields[name]
        if not number.isascii() or not number.isdigit() or int(number) == 0:
            return f"{name} must be a number above 0, not {number}"
        if name.endswith("_size") and int(number) % 512:
            return f"{name} must be a multiple of 512, not {number}"
    return None


def _shared_mounts(f: Facts) -> Iterator[Finding]:
    if f.values.dialect != "rs":
        return
    mounts = f.items.get("runtime.shared_mounts")
    fields = ("name", "src_ctr", "src_path", "dst_ctr", "dst_path")
    for index, mount in enumerate(mounts.value if mounts else ()):
        where = mounts.document.value_place((*mounts.path, index)) if mounts else None
        missing = [name for name in fields if not mount.get(name)]
        if missing:
            told = f"a shared mount has no {', '.join(missing)}"
            yield f.broken((), told, rule="missing-key", where=where)
        for name in ("src_path", "dst_path"):
            path = mount.get(name)
            if mounts and isinstance(path, str) and path and (not _MOUNT.fullmatch(path) or ".." in path.split("/")):
                told = f"{name} must be an absolute path of letters, digits, -, _ and ., not {path}"
                where = mounts.document.value_place((*mounts.path, index, name))
                yield f.broken((), told, rule="not-allowed", where=where)


RULES: tuple[Rule, ...] = (
    _roots,
    _cache,
    _timeout,
    _burst,
    _bind_mounts,
    _dragonball,
    _remote,
    _program,
    _confidential,
    _rate_unit,
    _mem_agent,
    _arm_nvdimm,
    _extensions,
    _kernel_verity,
    _shared_mounts,
)
