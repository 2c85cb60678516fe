"""What differs between the architectures Kata runs on, as far as the host checks look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_PCI_DEVICES = (
    "vhost-user-fs-pci",
    "vhost-vsock-pci",
    "virtio-9p-pci",
    "virtio-blk-pci",
    "virtio-net-pci",
    "virtio-rng-pci",
    "virtio-scsi-pci",
    "virtio-serial-pci",
)


@dataclass(frozen=True, slots=True)
class Arch:
    """``flags``: what a guest cannot do without. ``modules``: the kernel modules that may give /dev/kvm."""

    qemu: str
    package: str
    devices: tuple[str, ...]
    modules: tuple[str, ...]
    flags: Mapping[str, str]


ARCHES: Mapping[str, Arch] = {
    "x86_64": Arch(
        "qemu-system-x86_64",
        "qemu-system-x86",
        ("nvdimm", "pcie-root-port", *_PCI_DEVICES),
        ("kvm_intel", "kvm_amd"),
        {
            "lm": "64-bit mode",
            "cx16": "cmpxchg16b",
            "nx": "no-execute pages",
            "sse4_1": "SSE4.1",
        },
    ),
    "aarch64": Arch("qemu-system-aarch64", "qemu-system-arm", ("pcie-root-port", *_PCI_DEVICES), ("kvm",), {}),
    "s390x": Arch(
        "qemu-system-s390x",
        "qemu-system-misc",
        tuple(device.replace("-pci", "-ccw") for device in _PCI_DEVICES),
        ("kvm",),
        {"sie": "interpretive execution (runs guests)"},
    ),
    "ppc64le": Arch("qemu-system-ppc64", "qemu-system-ppc", _PCI_DEVICES, ("kvm_hv",), {}),
}

NESTING: tuple[tuple[str, str], ...] = (
    ("VMware", 'power the VM off and set vhv.enable = "TRUE" in its .vmx file'),
    ("VirtualBox", "VBoxManage modifyvm NAME --nested-hw-virt on"),
    ("innotek", "VBoxManage modifyvm NAME --nested-hw-virt on"),
    ("Microsoft", "Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true"),
    ("Google", "gcloud compute instances create … --enable-nested-virtualization"),
    ("Amazon", "choose a bare-metal instance type (its name ends in .metal)"),
    ("Xen", "choose a host that is not a Xen guest"),
)
"""How nested virtualisation is switched on, by a word of the VM's DMI vendor or product."""

NESTING_ELSEWHERE = (
    "on the host below: modprobe -r kvm_intel; modprobe kvm_intel nested=1 (or kvm_amd), "
    "and start this VM with -cpu host"
)
