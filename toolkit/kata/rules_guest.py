"""Rules about what boots: image and initrd, how the root is attached, CPUs and memory, confidential guests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .rule import Broken, Rules, Values

GUEST = Rules()
_MIB = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VERITY_FIELDS = ("root_hash", "salt", "data_blocks", "data_block_size", "hash_block_size")
_SECTOR = 512


@GUEST.add("image-and-initrd", go=("error", "create"), rs=("error", "validate"))
def _both(v: Values) -> Iterator[Broken]:
    if v.get("image") and v.get("initrd") and v.hypervisor != "remote":
        yield Broken(("image", "initrd"), "image and initrd exclude each other", "remove one of them")


@GUEST.add("image-or-initrd", go=("error", "create"), rs=("error", "validate"))
def _neither(v: Values) -> Iterator[Broken]:
    image, initrd = v.get("image"), v.get("initrd")
    sealed = v.get("confidential_guest") and (
        v.get("machine_type") == "s390-ccw-virtio"
        if v.dialect == "go"
        else str(v.get("disable_image_nvdimm")).endswith("ccw")
    )
    if v.hypervisor in ("remote", "openvmm"):
        return
    if v.dialect == "rs" and v.hypervisor == "firecracker" and not image:
        yield Broken(("image", "initrd"), "firecracker boots from an image only", "give image")
    elif not image and not initrd and not (sealed and v.hypervisor == "qemu"):
        yield Broken(("image", "initrd"), "neither image nor initrd: there is nothing to boot from", "give one of them")
    elif sealed and v.dialect == "go" and (image or initrd):
        name = "image" if image else "initrd"
        message = f"{name} is refused for a confidential_guest on s390x: its kernel holds everything"
        yield Broken((name, "confidential_guest"), message, f"remove {name}")


@GUEST.add("initrd-ignored", rs=("hazard", "start"))
def _initrd_ignored(v: Values) -> Iterator[Broken]:
    if v.hypervisor == "firecracker" and v.get("initrd"):
        yield Broken(("initrd",), "firecracker never looks at initrd", "give an image instead")


@GUEST.add("initrd-size", go=("error", "load"), rs=("hazard", "boot"))
def _initrd_size(v: Values) -> Iterator[Broken]:
    size, memory = v.sizes.get("initrd", 0), v.get("default_memory")
    if size > _MIB and memory and size >= memory * _MIB:
        yield Broken(
            ("default_memory", "initrd"),
            f"the initrd of {size / _MIB:.1f} MiB does not fit into default_memory, {memory} MiB",
            "give the guest more memory, or make the root file system smaller",
        )


@GUEST.add("image-size", go=("note", "load"))
def _image_size(v: Values) -> Iterator[Broken]:
    size, memory = v.sizes.get("image", 0), v.get("default_memory")
    if memory and size >= memory * _MIB:
        message = f"the image of {size / _MIB:.1f} MiB is as large as default_memory, {memory} MiB"
        yield Broken(("default_memory", "image"), message)


@GUEST.add("empty-file", go=("error", "load"))
def _empty(v: Values) -> Iterator[Broken]:
    for name in ("image", "initrd"):
        if v.sizes.get(name) == 0:
            yield Broken((name,), f"the {name} is empty", "build it again")


@GUEST.add("vcpus-above-maximum", go=("hazard", "create"), rs=("override", "adjust"))
def _vcpus(v: Values) -> Iterator[Broken]:
    vcpus, most = v.get("default_vcpus"), v.get("default_maxvcpus")
    if most and vcpus and vcpus > most:
        yield Broken(
            ("default_vcpus", "default_maxvcpus"),
            f"default_vcpus {vcpus} is above default_maxvcpus {most}",
            "0 as default_maxvcpus means the host's CPUs",
        )


@GUEST.add("memory-above-maximum", go=("hazard", "create"), rs=("hazard", "start"))
def _memory(v: Values) -> Iterator[Broken]:
    memory, most = v.get("default_memory"), v.get("default_maxmemory")
    if most and memory and memory > most:
        yield Broken(
            ("default_memory", "default_maxmemory"),
            f"default_memory {memory} MiB is above default_maxmemory {most} MiB",
            "0 as default_maxmemory means the host's memory",
        )


@GUEST.add("numa", go=("error", "load"))
def _numa(v: Values) -> Iterator[Broken]:
    if not v.get("enable_numa"):
        return
    if not v.get("runtime.static_sandbox_resource_mgmt"):
        yield Broken(
            ("enable_numa", "runtime.static_sandbox_resource_mgmt"),
            "enable_numa needs runtime.static_sandbox_resource_mgmt: true",
        )
    if v.arch not in ("x86_64", "aarch64"):
        yield Broken(("enable_numa",), f"enable_numa works on x86_64 and arm64 only, not on {v.arch}", "remove it")


@GUEST.add("nvdimm-microvm", go=("override", "load"))
def _microvm(v: Values) -> Iterator[Broken]:
    if v.hypervisor == "qemu" and _maps(v) and v.get("machine_type") == "microvm":
        yield Broken(
            ("machine_type", "disable_image_nvdimm"),
            "machine_type microvm has no NVDIMM: the image would silently become a block device",
            "set disable_image_nvdimm: true",
        )


@GUEST.add("nvdimm-confidential", go=("override", "create"), rs=("hazard", "start"))
def _encrypted(v: Values) -> Iterator[Broken]:
    if v.hypervisor == "qemu" and _maps(v) and v.get("confidential_guest"):
        yield Broken(
            ("confidential_guest", "disable_image_nvdimm"),
            "confidential_guest has no NVDIMM: its memory is encrypted",
            "set disable_image_nvdimm: true",
        )


@GUEST.add("nvdimm-arm64", go=("override", "load"))
def _arm64(v: Values) -> Iterator[Broken]:
    bare = not v.get("firmware") and not v.get("pflashes")
    if v.hypervisor == "qemu" and _maps(v) and v.arch == "aarch64" and bare:
        yield Broken(
            ("disable_image_nvdimm", "firmware"),
            "an NVDIMM on arm64 needs firmware or pflashes: the image would silently become a block device",
            "set disable_image_nvdimm: true",
        )


@GUEST.add("nvdimm-arch", rs=("hazard", "start"))
def _no_nvdimm(v: Values) -> Iterator[Broken]:
    if v.hypervisor == "qemu" and _maps(v) and v.arch in ("s390x", "ppc64le", "riscv64"):
        message = f"there is no NVDIMM on {v.arch}"
        yield Broken(("disable_image_nvdimm",), message, "set disable_image_nvdimm: true")


@GUEST.add("root-device-name", go=("hazard", "boot"))
def _root_name(v: Values) -> Iterator[Broken]:
    if v.hypervisor == "qemu" and v.boot == "image" and v.arch in ("ppc64le", "riscv64"):
        yield Broken(
            ("image",),
            f"on {v.arch} the Go runtime attaches the image as a disk, and tells the guest to look on /dev/pmem0p1",
            "boot the initrd there (boot: initrd), or leave the Go runtime out (dialects: [rs])",
        )


def _maps(v: Values) -> bool:
    """Whether the image is to be mapped as an NVDIMM."""
    return v.boot == "image" and v.driver() == "nvdimm" and v.heeds("disable_image_nvdimm")


@GUEST.add("dax-arm64", go=("note", "boot"), rs=("note", "boot"))
def _no_dax(v: Values) -> Iterator[Broken]:
    if v.arch == "aarch64" and _maps(v):
        yield Broken(("disable_image_nvdimm",), "on arm64 the guest copies from an NVDIMM: there is no DAX")


@GUEST.add("mmio-confidential", go=("error", "create"), rs=("error", "validate"))
def _mmio(v: Values) -> Iterator[Broken]:
    if not v.get("confidential_guest") or v.hypervisor not in ("qemu", "clh"):
        return
    if v.dialect == "go" and v.get("block_device_driver") == "virtio-mmio":
        yield Broken(
            ("block_device_driver", "confidential_guest"),
            'block_device_driver "virtio-mmio" is refused for a confidential_guest',
        )
    if v.dialect == "rs" and v.get("disable_image_nvdimm") == "virtio-blk-mmio":
        yield Broken(
            ("disable_image_nvdimm", "confidential_guest"),
            'vm_rootfs_driver "virtio-blk-mmio" is refused for a confidential_guest',
        )


@GUEST.add("guest-selinux-left-out", go=("hazard", "load"))
def _selinux(v: Values) -> Iterator[Broken]:
    if v.heeds("disable_guest_selinux") and "disable_guest_selinux" not in v.given:
        message = "disable_guest_selinux is left out, which switches SELinux on in the guest"
        yield Broken(("disable_guest_selinux",), message, "set disable_guest_selinux: true")


@GUEST.add("verity", go=("error", "create"), rs=("error", "start"))
def _verity(v: Values) -> Iterator[Broken]:
    text = v.get("kernel_verity_params")
    wrong = _verity_mistake(text) if isinstance(text, str) and text.strip() else None
    if wrong:
        yield Broken(("kernel_verity_params",), f"kernel_verity_params: {wrong}")


@GUEST.add("extension", go=("error", "load"), rs=("error", "validate"))
def _extensions(v: Values) -> Iterator[Broken]:
    images: Any = v.given.get("guest_extension_images")
    for image in images if isinstance(images, list) else []:
        if not isinstance(image, dict):
            continue
        name, verity = image.get("name"), image.get("verity_params")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            message = f"the name of an extension image is letters, digits, _ and -, not {name!r}"
            yield Broken(("guest_extension_images",), message)
        wrong = _verity_mistake(verity) if isinstance(verity, str) and verity.strip() else None
        if wrong:
            yield Broken(("guest_extension_images",), f"verity_params of the extension image {name}: {wrong}")


def _verity_mistake(text: str) -> str | None:
    """What is wrong with a description of dm-verity."""
    fields = dict(part.split("=", 1) for part in text.strip().split(",") if "=" in part)
    missing = [name for name in _VERITY_FIELDS if not fields.get(name)]
    if missing:
        return f"it lacks {', '.join(missing)}"
    for name in _VERITY_FIELDS[2:]:
        number = fields[name]
        if not number.isascii() or not number.isdigit() or int(number) == 0:
            return f"{name} must be a number above 0, not {number[:40]}"
        if name.endswith("block_size") and int(number) % _SECTOR:
            return f"{name} must be a multiple of {_SECTOR}, not {number}"
    return None
