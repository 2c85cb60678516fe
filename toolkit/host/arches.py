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
    """What the checks need of an architecture.

    ``flags``: what a guest cannot do without. ``modules``: the kernel modules that may give /dev/kvm, each with the
    processor's flag that tells which. ``vendor``: the fields of /proc/cpuinfo that say whose processor it is.
    """

    qemu: str
    package: str
    devices: tuple[str, ...]
    modules: Mapping[str, str]
    flags: Mapping[str, str]
    vendor: tuple[str, ...]


ARCHES: Mapping[str, Arch] = {
    "x86_64": Arch(
        "qemu-system-x86_64",
        "qemu-system-x86",
        ("nvdimm", "pcie-root-port", *_PCI_DEVICES),
        {"kvm_intel": "vmx", "kvm_amd": "svm"},
        {
            "lm": "64-bit mode",
            "cx16": "cmpxchg16b",
            "nx": "no-execute pages",
            "sse4_1": "SSE4.1",
        },
        ("vendor_id", "model name"),
    ),
    "aarch64": Arch(
        "qemu-system-aarch64",
        "qemu-system-arm",
        ("pcie-root-port", *_PCI_DEVICES),
        {"kvm": ""},
        {},
        ("CPU implementer", "CPU part"),
    ),
    "s390x": Arch(
        "qemu-system-s390x",
        "qemu-system-misc",
        tuple(device.replace("-pci", "-ccw") for device in _PCI_DEVICES),
        {"kvm": ""},
        {"sie": "interpretive execution (runs guests)"},
        ("vendor_id",),
    ),
    "ppc64le": Arch(
        "qemu-system-ppc64", "qemu-system-ppc", _PCI_DEVICES, {"kvm_hv": ""}, {}, ("cpu", "platform", "machine")
    ),
    "riscv64": Arch(
        "qemu-system-riscv64",
        "qemu-system-misc",
        ("pcie-root-port", *_PCI_DEVICES),
        {"kvm": ""},
        {},
        ("mvendorid", "uarch"),
    ),
}

NESTING: tuple[tuple[str, str], ...] = (
    ("VMware", 'power the VM off and set vhv.enable = "TRUE" in its .vmx file'),
    ("VirtualBox", "VBoxManage modifyvm NAME --nested-hw-virt on"),
    ("innotek", "VBoxManage modifyvm NAME --nested-hw-virt on"),
    ("Microsoft", "Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true"),
    ("Google", "gcloud compute instances create … --enable-nested-virtualization"),
    ("Amazon", "choose a bare-metal instance type (its name ends in .metal)"),
    ("Xen", "choose a host that is not a Xen guest"),
    ("z/VM", "z/VM offers no nesting to KVM: use an LPAR"),
    ("PowerVM", "on POWER10 with firmware 1060.10 or later: set KVM capable for this partition on the HMC"),
    ("KVM on POWER", "start this VM with -machine pseries,cap-nested-hv=on on the host below"),
    ("KVM on s390x", "on the host below: sudo modprobe -r kvm && sudo modprobe kvm nested=1"),
)
"""How nested virtualisation is switched on, by a word of the VM's DMI vendor or product."""

NESTING_ELSEWHERE = (
    "on the host below: modprobe -r kvm_intel; modprobe kvm_intel nested=1 (or kvm_amd), "
    "and start this VM with -cpu host"
)

VIRTUAL_MACHINES = ("QEMU", "KVM", "VMware", "VirtualBox", "innotek", "Xen", "Parallels", "Virtual Machine", "Bochs")
"""Words of DMI strings that only VMs have."""
VIRTUAL_CLOUDS = ("Amazon EC2", "Google", "Alibaba Cloud", "OpenStack")
"""Clouds whose DMI strings are the same on bare metal, but that its instance types end in ``metal``."""
VIRTUAL_BOARDS = ("linux,dummy-virt", "riscv-virtio", "qemu,")
"""Words of the device tree's ``compatible`` that only VMs have."""

NESTED_HELP: Mapping[str, Mapping[str, str]] = {
    "kvm_intel": {"vpid": "keeps address translations over switches between guests", "flexpriority": "virtual APIC"},
    "kvm_amd": {
        "nrip_save": "resuming behind an instruction",
        "vgif": "virtual interrupt flag",
        "v_vmsave_vmload": "VMSAVE and VMLOAD without an exit",
        "flushbyasid": "flushing one guest's address translations alone",
    },
}
"""Flags that the hypervisor below should pass on, so that guests in a VM are not much slower, by module."""
