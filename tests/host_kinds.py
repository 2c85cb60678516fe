"""Kinds of host, each told by how it differs from the good one, and the verdicts that must then differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from host_trees import (
    AMD,
    BASE_FLAGS,
    CREATED,
    GOOD,
    INTEL,
    RUNS,
    Entry,
    Link,
    Tree,
    blocks,
    cpuinfo,
    modules_listed,
)
from kata_toolkit.host.kvm_guest import KvmVerdict
from kata_toolkit.host.wanted import SE, SGX, SNP, TDX, Wanted

LEFT_OUT = "-"
"""The check is not in the report."""
NO_VIRTUALISATION = {"cpu-virtualization": "fail", "kvm-device": "fail", "kvm-guest": "skip", "kvm-module": "skip"}
INTEL_LEFT_OUT = {"kvm-paging": LEFT_OUT, "kvm-unrestricted-guest": LEFT_OUT, "tdx": LEFT_OUT, "sgx": LEFT_OUT}
AMD_LEFT_OUT = {"kvm-paging": LEFT_OUT, "sev": LEFT_OUT}
NETWORK_MODULES = ("sch_ingress", "cls_u32", "act_mirred", "overlay")


@dataclass(frozen=True)
class Kind:
    """``gone``: what is missing, by the beginnings of paths; ``differs``: statuses by check id."""

    name: str
    base: str
    differs: Mapping[str, str]
    files: Mapping[str, Entry] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    kvm: KvmVerdict | None = None
    denied: tuple[str, ...] = ()
    wanted: Wanted = field(default_factory=Wanted)
    uid: int = 0

    @property
    def tree(self) -> Tree:
        good = {name: entry for name, entry in GOOD[self.base].items() if not name.startswith(self.gone or ("\0",))}
        return {**good, **self.files}

    @property
    def probe(self) -> KvmVerdict:
        return self.kvm or (RUNS if self.base in ("intel", "amd") else CREATED)


def gpu(address: str, group: str, *, driver: str | None, kind: str = "0x030000", resize: bool = False) -> Tree:
    """A PCI function with a window of 256 MiB, in an IOMMU group."""
    folder = f"/sys/bus/pci/devices/{address}"
    tree: dict[str, Entry] = {
        f"{folder}/class": kind + "\n",
        f"{folder}/vendor": "0x10de\n",
        f"{folder}/resource": (
            "0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200\n"
            "0x00000000e0000000 0x00000000efffffff 0x000000000014220c\n"
            "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        ),
        f"{folder}/iommu_group": Link(f"../../../../kernel/iommu_groups/{group}"),
        f"/sys/kernel/iommu_groups/{group}/devices/{address}": Link(f"../../../../bus/pci/devices/{address}"),
    }
    if driver:
        tree[f"{folder}/driver"] = Link(f"../../../../bus/pci/drivers/{driver}")
    if resize:
        tree[f"{folder}/resource1_resize"] = "00000000003fffc0\n"
    return tree


VFIO: Tree = {"/sys/module/vfio_pci/": "", "/sys/module/vfio/": "", "/dev/vfio/vfio": ""}
NESTED_INTEL: Tree = {
    "/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL} hypervisor"),
    "/sys/class/dmi/id/sys_vendor": "QEMU\n",
}
CGROUP_V1 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
SHM = "tmpfs /dev/shm tmpfs rw,nosuid 0 0\n"
MOUNTS = f"proc /proc proc rw 0 0\n{SHM}"
USER_MANAGER = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"
ROOTLESS = Wanted(rootless=True)
CONTAINER: Tree = {
    "/.dockerenv": "",
    "/proc/self/ns/pid": Link("pid:[4026532201]"),
    "/proc/self/mounts": (
        "proc /proc proc rw 0 0\nshm /dev/shm tmpfs rw,size=65536k 0 0\ncgroup2 /sys/fs/cgroup cgroup2 ro 0 0\n"
    ),
    "/proc/self/cgroup": "0::/\n",
}
SNP_ON: Tree = {
    **{f"/sys/module/kvm_amd/parameters/{name}": "Y\n" for name in ("sev", "sev_es", "sev_snp")},
    "/sys/fs/cgroup/misc.capacity": "sev 410\nsev_es 99\n",
    "/dev/sev": "",
    "/sys/module/ccp/": "",
}
PSERIES = "timebase\t: 512000000\nplatform\t: pSeries\nmodel\t\t: {0}\nmachine\t\t: CHRP {0}\n"

KINDS: tuple[Kind, ...] = (
    Kind("bare Intel", "intel", {}),
    Kind("bare AMD", "amd", {}),
    Kind("another maker's x86", "amd", {}, {"/proc/cpuinfo": cpuinfo("HygonGenuine", f"{BASE_FLAGS} {AMD}")}),
    Kind("nested Intel", "intel", {"nesting": "warn", "nesting-quality": "pass"}, NESTED_INTEL),
    Kind(
        "nested AMD whose hypervisor keeps back what helps",
        "amd",
        {"nesting": "warn", "nesting-quality": "warn"},
        {
            "/proc/cpuinfo": cpuinfo("AuthenticAMD", f"{BASE_FLAGS} svm npt hypervisor"),
            "/sys/class/dmi/id/sys_vendor": "QEMU\n",
        },
    ),
    Kind(
        "nested on Hyper-V without enlightened_vmcs",
        "intel",
        {"nesting": "warn", "nesting-quality": "warn"},
        {
            **NESTED_INTEL,
            "/sys/class/dmi/id/sys_vendor": "Microsoft Corporation\n",
            "/sys/module/kvm_intel/parameters/enlightened_vmcs": "N\n",
        },
    ),
    Kind(
        "nested Intel without unrestricted guests",
        "intel",
        {"nesting": "warn", "nesting-quality": "pass", "kvm-unrestricted-guest": "warn"},
        {**NESTED_INTEL, "/sys/module/kvm_intel/parameters/unrestricted_guest": "N\n"},
    ),
    Kind(
        "bare Intel with module parameters set wrong",
        "intel",
        {"kvm-unrestricted-guest": "fail", "kvm-paging": "warn", "kvm-clock": "warn"},
        {
            "/sys/module/kvm/parameters/kvmclock_periodic_sync": "N\n",
            "/sys/module/kvm_intel/parameters/ept": "N\n",
            "/sys/module/kvm_intel/parameters/unrestricted_guest": "N\n",
        },
    ),
    Kind(
        "module parameters that cannot be read",
        "intel",
        {"kvm-unrestricted-guest": "skip", "kvm-paging": "skip", "kvm-clock": "skip"},
        {"/sys/module/kvm_intel/": ""},
        gone=("/sys/module/kvm_intel", "/sys/module/kvm/"),
    ),
    Kind(
        "a VM without nesting",
        "intel",
        {**NO_VIRTUALISATION, **INTEL_LEFT_OUT, "nesting": "warn"},
        {"/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} hypervisor")},
        gone=("/dev/kvm", "/sys/module/kvm_intel"),
    ),
    Kind(
        "virtualisation off in the firmware",
        "amd",
        {**NO_VIRTUALISATION, **AMD_LEFT_OUT},
        {"/proc/cpuinfo": cpuinfo("AuthenticAMD", BASE_FLAGS)},
        gone=("/dev/kvm", "/sys/module/kvm_amd"),
    ),
    Kind(
        "KVM's module not loaded",
        "amd",
        {"kvm-module": "fail", "kvm-device": "fail", "kvm-guest": "skip", "kvm-paging": "skip"},
        modules_listed(["kvm", "kvm-amd"]),
        gone=("/dev/kvm", "/sys/module/kvm_amd"),
    ),
    Kind(
        "a kernel without KVM and vhost",
        "intel",
        {
            "kvm-module": "fail",
            "kvm-device": "fail",
            "kvm-guest": "skip",
            "kvm-paging": "skip",
            "kvm-unrestricted-guest": "skip",
            "vhost-vsock": "fail",
            "vhost-net": "warn",
            "tc-redirect": "warn",
        },
        modules_listed(["tun", "overlay"]),
        gone=("/dev/kvm", "/dev/vhost", "/sys/module/kvm_intel", "/sys/module/vhost", "/sys/module/cls_u32"),
    ),
    Kind(
        "everything built in",
        "intel",
        {"kvm-paging": "skip", "kvm-unrestricted-guest": "skip", "kvm-clock": "skip"},
        modules_listed(builtin=["kvm", "kvm-intel", "vhost_vsock", "vhost_net", "tun", *NETWORK_MODULES]),
        gone=("/sys/module",),
    ),
    Kind(
        "modules that come when they are needed",
        "intel",
        {},
        modules_listed(["vhost_vsock", "vhost_net", "tun", *NETWORK_MODULES]),
        gone=tuple(f"/sys/module/{name}/" for name in ("vhost_vsock", "vhost_net", "tun", *NETWORK_MODULES)),
    ),
    Kind(
        "a hypervisor that makes VMs in which no Linux boots",
        "amd",
        {"nesting": "warn", "nesting-quality": "pass", "kvm-guest": "fail"},
        {"/proc/cpuinfo": cpuinfo("AuthenticAMD", f"{BASE_FLAGS} {AMD} hypervisor")},
        kvm=KvmVerdict(False, "the guest, at cmpxchg16b, ends in a KVM internal error", "broken"),
    ),
    Kind(
        "virtualisation on one processor only",
        "intel",
        {"cpu-virtualization": "fail", "cpu-features": "fail", "kvm-guest": "fail"},
        {
            "/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL}", 1)
            + cpuinfo("GenuineIntel", "lm nx sse4_1", 1)
        },
        kvm=KvmVerdict(False, "broken", "broken"),
    ),
    Kind(
        "a container without devices",
        "intel",
        {
            "kvm-device": "fail",
            "kvm-guest": "skip",
            "vhost-vsock": "fail",
            "vhost-net": "warn",
            "tun": "fail",
            "shared-memory": "warn",
        },
        CONTAINER,
        gone=("/dev/",),
    ),
    Kind(
        "a container with little memory",
        "intel",
        {"memory": "fail", "shared-memory": "warn"},
        {**CONTAINER, "/sys/fs/cgroup/memory.max": "1073741824\n"},
    ),
    Kind(
        "a pod of Kubernetes, which leaves no mark",
        "intel",
        {"kvm-device": "fail", "kvm-guest": "skip"},
        {
            "/proc/self/ns/pid": Link("pid:[4026532201]"),
            "/proc/self/mounts": f"overlay / overlay rw 0 0\n{MOUNTS}cgroup2 /sys/fs/cgroup cgroup2 ro 0 0\n",
        },
        gone=("/dev/kvm",),
    ),
    Kind(
        "a node with Microsoft's hypervisor",
        "intel",
        {
            **INTEL_LEFT_OUT,
            "cpu-virtualization": "warn",
            "kvm-module": "skip",
            "kvm-device": "warn",
            "kvm-guest": "skip",
            "nesting": "warn",
        },
        {"/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} hypervisor"), "/dev/mshv": ""},
        gone=("/dev/kvm", "/sys/module/kvm_intel"),
    ),
    Kind(
        "the same, for Cloud Hypervisor",
        "intel",
        {**INTEL_LEFT_OUT, "kvm-module": "skip", "kvm-guest": "skip", "nesting": "warn"},
        {"/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} hypervisor"), "/dev/mshv": ""},
        gone=("/dev/kvm", "/sys/module/kvm_intel"),
        wanted=Wanted(hypervisors=("clh",)),
    ),
    Kind(
        "a VMware VM whose own vsock is in the way",
        "intel",
        {"nesting": "warn", "nesting-quality": "pass", "kernel-version": "warn", "vhost-vsock": "fail"},
        {
            **NESTED_INTEL,
            "/sys/class/dmi/id/sys_vendor": "VMware, Inc.\n",
            "/sys/module/vmw_vsock_vmci_transport/": "",
            "/proc/sys/kernel/osrelease": "5.4.0-216-generic\n",
        },
    ),
    Kind(
        "a container with /proc partly hidden",
        "intel",
        {
            "cpu-info": "skip",
            "cpu-features": "skip",
            "nesting": "skip",
            "memory": "skip",
            "memory-overcommit": "skip",
            "locked-memory": "skip",
            "kernel-version": "skip",
            "io-uring": "skip",
            "user-namespaces": "skip",
            "modules-disabled": "skip",
            "entropy": "skip",
            "cgroups": "skip",
            "cgroup-delegation": "skip",
            "shared-memory": "skip",
        },
        gone=("/proc/",),
    ),
    Kind(
        "a device of another group",
        "intel",
        {"kvm-device": "fail", "kvm-guest": "skip"},
        denied=("/dev/kvm", "/dev/vhost-vsock"),
        uid=1000,
        files={f"{USER_MANAGER}/cgroup.controllers": "cpuset cpu io memory pids\n"},
    ),
    Kind(
        "the same, for rootless use",
        "intel",
        {"kvm-device": "fail", "kvm-guest": "skip", "vhost-vsock": "fail"},
        denied=("/dev/kvm", "/dev/vhost-vsock"),
        uid=1000,
        wanted=ROOTLESS,
        files={f"{USER_MANAGER}/cgroup.controllers": "cpuset cpu io memory pids\n"},
    ),
    Kind(
        "an arm64 Raspberry Pi",
        "arm64",
        {"cgroups": "warn"},
        {
            "/proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\n\nHardware\t: BCM2835\nModel\t: Raspberry Pi 4\n",
            "/proc/interrupts": " 11:   5   6  GIC-0  30 Level  arch_timer\n",
            "/sys/firmware/devicetree/base/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
            "/sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
        },
        gone=("/sys/class/dmi",),
    ),
    Kind(
        "a Raspberry Pi for a large guest",
        "arm64",
        {"arm-interrupts": "fail", "cpu-count": "warn"},
        {"/proc/interrupts": " 11:   5   6  GICv2  30 Level  arch_timer\n"},
        wanted=Wanted(vcpus=16),
    ),
    Kind("an arm64 server", "arm64", {}),
    Kind(
        "an arm64 server with KVM switched off",
        "arm64",
        {
            "cpu-virtualization": "skip",
            "kvm-mode": "fail",
            "kvm-device": "fail",
            "kvm-guest": "skip",
            "arm-address-space": "skip",
        },
        {"/proc/cmdline": "root=/dev/sda1 kvm-arm.mode=none\n"},
        gone=("/dev/kvm",),
    ),
    Kind(
        "an arm64 cloud VM",
        "arm64",
        {"nesting": "warn", "arm-address-space": "warn"},
        {"/sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "/sys/class/dmi/id/product_name": "m7g.large\n"},
        kvm=KvmVerdict(True, "a VM was created", "created", 36),
    ),
    Kind(
        "an arm64 cloud's bare metal",
        "arm64",
        {},
        {"/sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "/sys/class/dmi/id/product_name": "m7g.metal\n"},
    ),
    Kind("an s390x LPAR", "s390x", {}),
    Kind(
        "an s390x LPAR for huge pages",
        "s390x",
        {"kvm-huge-pages": "fail"},
        {
            "/proc/self/mounts": (
                f"{MOUNTS}cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw 0 0\n"
            ),
            "/sys/kernel/mm/hugepages/hugepages-1024kB/nr_hugepages": "4096\n",
            "/sys/kernel/mm/hugepages/hugepages-1024kB/free_hugepages": "4096\n",
            "/sys/module/kvm/parameters/hpage": "0\n",
        },
        wanted=Wanted(hugepages=True),
    ),
    Kind(
        "a KVM guest on s390x with nesting",
        "s390x",
        {"nesting": "warn"},
        {"/proc/sysinfo": "LPAR Name: KATA1\nVM00 Name: guest\nVM00 Control Program: KVM/Linux\n"},
    ),
    Kind(
        "a z/VM guest",
        "s390x",
        {
            "cpu-virtualization": "fail",
            "cpu-features": "fail",
            "kvm-device": "fail",
            "kvm-guest": "skip",
            "nesting": "warn",
        },
        {
            "/proc/cpuinfo": "vendor_id       : IBM/S390\n# processors    : 2\nfeatures\t: esan3 zarch vx\n\n",
            "/proc/sysinfo": "LPAR Name: KATA1\nVM00 Name: LINUX1\nVM00 Control Program: z/VM    7.3.0\n",
        },
        gone=("/dev/kvm",),
    ),
    Kind(
        "s390x with Secure Execution",
        "s390x",
        {"secure-execution": "pass"},
        {"/sys/firmware/uv/prot_virt_host": "1\n", "/sys/firmware/uv/query/max_guests": "8191\n"},
        wanted=Wanted(confidential=SE),
    ),
    Kind("s390x started without prot_virt", "s390x", {"secure-execution": "fail"}, wanted=Wanted(confidential=SE)),
    Kind("ppc64le on bare metal (PowerNV)", "ppc64le", {}),
    Kind(
        "ppc64le in a PowerVM partition",
        "ppc64le",
        {
            "cpu-virtualization": "fail",
            "kvm-module": "fail",
            "kvm-device": "fail",
            "kvm-guest": "skip",
            "nesting": "warn",
        },
        {
            "/proc/cpuinfo": blocks(8, cpu="POWER9 (architected), altivec supported") + PSERIES.format("IBM,9009-22A"),
            **modules_listed(["kvm-hv"]),
        },
        gone=("/dev/kvm", "/sys/module/kvm_hv"),
    ),
    Kind(
        "ppc64le in a partition that may run guests",
        "ppc64le",
        {"nesting": "warn"},
        {"/proc/cpuinfo": blocks(8, cpu="POWER10 (architected)") + PSERIES.format("IBM,9105-22A")},
    ),
    Kind(
        "POWER8 with SMT on",
        "ppc64le",
        {"smt": "fail"},
        {
            "/proc/cpuinfo": blocks(8, cpu="POWER8E (raw), altivec supported")
            + "platform\t: PowerNV\nmachine\t: PowerNV 8247\n",
            "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0-7\n",
        },
        gone=("/sys/devices/system/cpu/smt",),
    ),
    Kind("riscv64", "riscv64", {}),
    Kind(
        "riscv64 without the hypervisor extension",
        "riscv64",
        {"cpu-virtualization": "fail", "kvm-device": "fail", "kvm-guest": "skip"},
        {"/proc/cpuinfo": blocks(4, isa="rv64imafdc_zicsr_zihintpause", mmu="sv39")},
        gone=("/dev/kvm",),
    ),
    Kind(
        "cgroups version 1",
        "intel",
        {"cgroups": "warn", "cgroup-delegation": "skip"},
        {"/proc/self/mounts": MOUNTS + CGROUP_V1, "/proc/self/cgroup": "5:memory:/\n4:cpu:/\n"},
    ),
    Kind(
        "cgroups hybrid",
        "intel",
        {"cgroups": "warn"},
        {"/proc/self/mounts": f"{MOUNTS}{CGROUP_V1}cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"},
    ),
    Kind(
        "cgroups version 2 without delegation",
        "intel",
        {"cgroup-delegation": "warn"},
        {f"{USER_MANAGER}/cgroup.controllers": "memory pids\n"},
        uid=1000,
        wanted=ROOTLESS,
    ),
    Kind(
        "cgroups version 2 without systemd",
        "intel",
        {"cgroup-delegation": "warn"},
        {"/sys/fs/cgroup/cgroup.subtree_control": "\n"},
    ),
    Kind(
        "Ubuntu that restricts user namespaces",
        "intel",
        {"user-namespaces": "warn"},
        {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
    ),
    Kind("no user namespaces", "intel", {"user-namespaces": "warn"}, {"/proc/sys/user/max_user_namespaces": "0\n"}),
    Kind(
        "user namespaces for root alone",
        "intel",
        {"user-namespaces": "warn"},
        {"/proc/sys/kernel/unprivileged_userns_clone": "0\n"},
    ),
    Kind("io_uring switched off", "intel", {"io-uring": "warn"}, {"/proc/sys/kernel/io_uring_disabled": "2\n"}),
    Kind("io_uring for root alone", "intel", {}, {"/proc/sys/kernel/io_uring_disabled": "1\n"}),
    Kind("lockdown integrity", "intel", {}, {"/sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}),
    Kind(
        "lockdown confidentiality",
        "intel",
        {"kernel-lockdown": "warn"},
        {"/sys/kernel/security/lockdown": "none integrity [confidentiality]\n"},
    ),
    Kind(
        "a kernel that loads no more modules",
        "intel",
        {"modules-disabled": "warn"},
        {"/proc/sys/kernel/modules_disabled": "1\n"},
    ),
    Kind(
        "a TDX host",
        "intel",
        {"tdx": "pass"},
        {"/sys/module/kvm_intel/parameters/tdx": "Y\n"},
        wanted=Wanted(confidential=TDX),
    ),
    Kind("a host without TDX, asked for it", "intel", {"tdx": "fail"}, wanted=Wanted(confidential=TDX)),
    Kind(
        "a TDX guest",
        "intel",
        {**NO_VIRTUALISATION, **INTEL_LEFT_OUT, "nesting": "warn"},
        {"/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} hypervisor tdx_guest")},
        gone=("/dev/kvm", "/sys/module/kvm_intel"),
    ),
    Kind("TDX asked for on AMD", "amd", {"tdx": "fail"}, wanted=Wanted(confidential=TDX)),
    Kind("SNP asked for on arm64", "arm64", {"sev": "fail"}, wanted=Wanted(confidential=SNP)),
    Kind("Secure Execution asked for on Intel", "intel", {"secure-execution": "fail"}, wanted=Wanted(confidential=SE)),
    Kind("an SNP host", "amd", {"sev": "pass"}, SNP_ON, wanted=Wanted(confidential=SNP)),
    Kind(
        "an SEV host, asked for SNP",
        "amd",
        {"sev": "fail"},
        {**SNP_ON, "/sys/module/kvm_amd/parameters/sev_snp": "N\n"},
        wanted=Wanted(confidential=SNP),
    ),
    Kind(
        "SNP kept off by iommu=pt",
        "amd",
        {"sev": "fail"},
        {**SNP_ON, "/sys/module/kvm_amd/parameters/sev_snp": "N\n", "/proc/cmdline": "root=/dev/sda1 iommu=pt quiet\n"},
        wanted=Wanted(confidential=SNP),
    ),
    Kind(
        "an SNP host whose device is missing",
        "amd",
        {"sev": "fail"},
        {name: entry for name, entry in SNP_ON.items() if name != "/dev/sev"},
        wanted=Wanted(confidential=SNP),
    ),
    Kind(
        "an SGX host",
        "intel",
        {"sgx": "pass"},
        {
            "/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL} sgx sgx_lc"),
            **{f"/dev/sgx_{name}": "" for name in ("enclave", "provision", "vepc")},
        },
        wanted=Wanted(confidential=SGX),
    ),
    Kind(
        "an SGX host without devices for guests",
        "intel",
        {"sgx": "fail"},
        {
            "/proc/cpuinfo": cpuinfo("GenuineIntel", f"{BASE_FLAGS} {INTEL} sgx sgx_lc"),
            **{f"/dev/sgx_{name}": "" for name in ("enclave", "provision")},
        },
        wanted=Wanted(confidential=SGX),
    ),
    Kind(
        "a GPU host, ready",
        "intel",
        {"iommu": "pass", "vfio": "pass", "gpus": "pass"},
        {
            **VFIO,
            **gpu("0000:65:00.0", "17", driver="vfio-pci", resize=True),
            **gpu("0000:65:00.1", "17", driver="vfio-pci", kind="0x040300"),
        },
        wanted=Wanted(vfio=True),
    ),
    Kind(
        "a GPU that the host uses",
        "intel",
        {"iommu": "pass", "vfio": "pass", "gpus": "fail"},
        {
            **VFIO,
            **gpu("0000:65:00.0", "17", driver="nvidia"),
            **gpu("0000:64:00.0", "17", driver="pcieport", kind="0x060400"),
        },
        wanted=Wanted(vfio=True),
    ),
    Kind(
        "a GPU in a shared IOMMU group",
        "intel",
        {"iommu": "pass", "vfio": "pass", "gpus": "fail"},
        {
            **VFIO,
            **gpu("0000:65:00.0", "17", driver="vfio-pci"),
            **gpu("0000:66:00.0", "17", driver="nvme", kind="0x010802"),
        },
        wanted=Wanted(vfio=True),
    ),
    Kind(
        "a GPU that nobody asks for",
        "intel",
        {"iommu": "pass"},
        gpu("0000:65:00.0", "17", driver="nvidia"),
    ),
    Kind(
        "no IOMMU, asked for VFIO",
        "intel",
        {"iommu": "fail", "vfio": "fail", "gpus": "fail"},
        modules_listed(["vfio-pci"]),
        wanted=Wanted(vfio=True),
    ),
    Kind(
        "huge pages exhausted",
        "intel",
        {"huge-pages": "warn"},
        {"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n"},
    ),
    Kind(
        "huge pages exhausted, asked for them",
        "intel",
        {"huge-pages": "fail"},
        {"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512\n"},
        wanted=Wanted(hugepages=True),
    ),
    Kind(
        "low memory",
        "intel",
        {"memory": "fail", "shared-memory": "warn"},
        {"/proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 400000 kB\n"},
    ),
    Kind(
        "strict accounting",
        "intel",
        {"memory-overcommit": "fail"},
        {
            "/proc/sys/vm/overcommit_memory": "2\n",
            "/proc/meminfo": (
                "MemTotal: 16384000 kB\nMemAvailable: 12288000 kB\nCommitLimit: 8192000 kB\nCommitted_AS: 8000000 kB\n"
            ),
        },
    ),
    Kind(
        "no transparent huge pages, a bad clock, little entropy",
        "intel",
        {"transparent-huge-pages": "warn", "clock-source": "warn", "entropy": "warn"},
        {
            "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
            "/sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
            "/proc/sys/kernel/random/entropy_avail": "30\n",
        },
    ),
    Kind(
        "an old kernel",
        "intel",
        {"kernel-version": "fail", "io-uring": "warn"},
        {"/proc/sys/kernel/osrelease": "3.10.0-1160.el7.x86_64\n"},
        gone=("/proc/sys/kernel/io_uring",),
    ),
    Kind(
        "a kernel without care",
        "intel",
        {"kernel-version": "warn"},
        {"/proc/sys/kernel/osrelease": "5.4.0-216-generic\n"},
        gone=("/proc/sys/kernel/io_uring",),
    ),
    Kind(
        "mitigations off",
        "intel",
        {"cpu-vulnerabilities": "warn"},
        {"/sys/devices/system/cpu/vulnerabilities/mds": "Vulnerable; SMT vulnerable\n"},
    ),
    Kind(
        "open between threads",
        "intel",
        {"cpu-vulnerabilities": "warn"},
        {"/sys/devices/system/cpu/vulnerabilities/l1tf": "Mitigation: PTE Inversion; VMX: SMT vulnerable\n"},
    ),
    Kind("a guest of another architecture is wanted", "intel", {"architecture": "fail"}, wanted=Wanted(arch="aarch64")),
    Kind(
        "hypervisors with a vsock of their own",
        "intel",
        {},
        modules_listed(["tun", "vhost_net"]),
        gone=("/dev/vhost-vsock", "/sys/module/vhost_vsock"),
        wanted=Wanted(hypervisors=("clh", "firecracker")),
    ),
)
