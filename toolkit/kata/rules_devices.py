"""Rules about devices: block devices, file sharing, buses, rate limits, and what single VMMs cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Broken, Rules, Values

DEVICES = Rules()
_SHARED = ("virtio-fs", "virtio-fs-nydus")

_DRAGONBALL_EMPTY = (
    "path", "valid_hypervisor_paths", "ctlpath", "valid_ctlpaths", "firmware", "machine_type", "pflashes",
    "enable_iothreads", "enable_iommu", "enable_iommu_platform", "default_bridges", "pcie_root_port",
    "pcie_switch_port", "rootless",
)  # fmt: skip

_BURSTS = tuple(
    (f"{what}_one_time_burst", f"{what}_max_rate")
    for what in ("disk_rate_limiter_bw", "disk_rate_limiter_ops", "net_rate_limiter_bw", "net_rate_limiter_ops")
)


@DEVICES.add("sector-order", go=("error", "load"), rs=("error", "validate"))
def _sectors(v: Values) -> Iterator[Broken]:
    logical, physical = v.get("block_device_logical_sector_size"), v.get("block_device_physical_sector_size")
    if logical and physical and logical > physical:
        yield Broken(
            ("block_device_logical_sector_size", "block_device_physical_sector_size"),
            f"block_device_logical_sector_size {logical} is above block_device_physical_sector_size {physical}",
        )


@DEVICES.add("hot-plug-or-cold-plug", go=("error", "load"))
def _plugs(v: Values) -> Iterator[Broken]:
    ports = [v.get(f"{when}_plug_vfio") for when in ("hot", "cold")]
    if v.heeds("hot_plug_vfio") and all(port not in ("no-port", "", None) for port in ports):
        yield Broken(
            ("hot_plug_vfio", "cold_plug_vfio"),
            "hot_plug_vfio and cold_plug_vfio exclude each other",
            'set one of them to "no-port"',
        )


@DEVICES.add("root-ports-or-switch-ports", rs=("error", "validate"))
def _ports(v: Values) -> Iterator[Broken]:
    if v.get("pcie_root_port") and v.get("pcie_switch_port"):
        yield Broken(
            ("pcie_root_port", "pcie_switch_port"),
            "pcie_root_port and pcie_switch_port exclude each other in the Rust runtime",
            "set one of them to 0",
        )


@DEVICES.add("sharing-daemon", go=("error", "load"), rs=("error", "start"))
def _daemon(v: Values) -> Iterator[Broken]:
    kind = v.get("shared_fs")
    sharing = v.hypervisor in ("qemu", "clh", "stratovirt", "openvmm")  # Dragonball serves the files itself
    if sharing and kind in _SHARED and not v.get("virtio_fs_daemon"):
        yield Broken(("virtio_fs_daemon", "shared_fs"), f'shared_fs "{kind}" needs a virtio_fs_daemon')


@DEVICES.add("no-way-to-root", go=("hazard", "create"), rs=("hazard", "start"))
def _no_way(v: Values) -> Iterator[Broken]:
    shares = v.heeds("shared_fs") and v.get("shared_fs") not in ("none", None)
    pulls = v.get("runtime.experimental_force_guest_pull") in (True, ["force_guest_pull"])
    if v.heeds("disable_block_device_use") and v.get("disable_block_device_use") and not shares and not pulls:
        subject = 'shared_fs "none"' if v.hypervisor != "firecracker" else "firecracker, which shares no files,"
        yield Broken(
            ("shared_fs", "disable_block_device_use"),
            f"{subject} with disable_block_device_use leaves a container no way to its root file system",
            "set disable_block_device_use: false",
        )


@DEVICES.add("no-file-sharing", rs=("hazard", "start"))
def _no_sharing(v: Values) -> Iterator[Broken]:
    kind = v.given.get("shared_fs")
    if v.hypervisor == "firecracker" and kind not in (None, "none"):
        yield Broken(
            ("shared_fs",),
            f'firecracker shares no files: shared_fs "{kind}" does nothing there',
            "remove it, and give containers block devices (the devmapper snapshotter)",
        )


@DEVICES.add("block-devices-off", rs=("override", "adjust"))
def _off(v: Values) -> Iterator[Broken]:
    if not v.get("disable_block_device_use"):
        return
    for name in ("block_device_driver", "memory_offset", "enable_vhost_user_store"):
        value = v.given.get(name)
        if value and name != "block_device_driver":
            message = f"disable_block_device_use: true makes the Rust runtime drop {name}"
            yield Broken((name, "disable_block_device_use"), message, f"remove {name}")


@DEVICES.add("dax-window", rs=("override", "adjust"))
def _window(v: Values) -> Iterator[Broken]:
    dax, size = v.given.get("virtio_fs_is_dax"), v.get("virtio_fs_cache_size")
    if dax is True and not size:
        message = "virtio_fs_is_dax: true without virtio_fs_cache_size takes 1024 MiB"
        yield Broken(("virtio_fs_is_dax", "virtio_fs_cache_size"), message, "say the size")
    if dax is False and size:
        message = "virtio_fs_cache_size above 0 switches DAX on, whatever virtio_fs_is_dax says"
        yield Broken(("virtio_fs_is_dax", "virtio_fs_cache_size"), message, "remove virtio_fs_is_dax")


@DEVICES.add("burst-without-rate", go=("override", "load"))
def _bursts(v: Values) -> Iterator[Broken]:
    for burst, rate in _BURSTS:
        if v.heeds(burst) and v.get(burst) and not v.get(rate):
            message = f"{burst} without {rate} is reset to 0"
            yield Broken((burst, rate), message, f"set {rate}, or remove {burst}")


@DEVICES.add("rate-unit", rs=("note", "start"))
def _unit(v: Values) -> Iterator[Broken]:
    for name in ("disk_rate_limiter_bw_max_rate", "disk_rate_limiter_bw_one_time_burst"):
        if v.heeds(name) and v.given.get(name):
            yield Broken((name,), f"{name} counts bytes in the Rust runtime, though it is described in bits")


@DEVICES.add("root-driver-from-block-driver", rs=("hazard", "start"))
def _root_driver(v: Values) -> Iterator[Broken]:
    root, block = v.given.get("disable_image_nvdimm"), v.get("block_device_driver") or "virtio-blk-pci"
    if v.hypervisor in ("firecracker", "dragonball") and root is not None and root != block:
        yield Broken(
            ("disable_image_nvdimm", "block_device_driver"),
            f'{v.hypervisor} takes block_device_driver "{block}" for the root too, not vm_rootfs_driver "{root}"',
            "remove vm_rootfs_driver",
        )


@DEVICES.add("root-driver-overruled", rs=("override", "start"))
def _always_disk(v: Values) -> Iterator[Broken]:
    if v.hypervisor in ("clh", "openvmm") and v.given.get("disable_image_nvdimm") == "virtio-pmem":
        message = f'{v.hypervisor} boots from virtio-blk, whatever vm_rootfs_driver "virtio-pmem" says'
        yield Broken(("disable_image_nvdimm",), message, "remove it")


@DEVICES.add("dragonball-empty", rs=("error", "validate"))
def _dragonball(v: Values) -> Iterator[Broken]:
    if v.hypervisor == "dragonball":
        for name in _DRAGONBALL_EMPTY:
            follows = name == "valid_hypervisor_paths" and v.given.get("path")
            if v.given.get(name) and not follows:
                yield Broken((name,), f"{name} is refused for dragonball, which is part of the runtime", "remove it")


@DEVICES.add("path-needed", rs=("error", "validate"))
def _path(v: Values) -> Iterator[Broken]:
    if v.hypervisor in ("firecracker", "openvmm") and not v.get("path"):
        yield Broken(("path",), f"{v.hypervisor} needs its path", "say where the program lies")


@DEVICES.add("scsi-scan", go=("note", "load"))
def _scan(v: Values) -> Iterator[Broken]:
    if v.heeds("block_device_driver") and v.get("block_device_driver") == "virtio-scsi":
        message = 'block_device_driver "virtio-scsi" adds scsi_mod.scan=none to the kernel command line'
        yield Broken(("block_device_driver",), message)
