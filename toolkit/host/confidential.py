"""Checks of what confidential guests need: Intel TDX and SGX, AMD SEV and SEV-SNP, IBM Secure Execution.

Each is of interest only where a set asks for such guests; elsewhere the check tells what there is and judges nothing.
Sources: the kernel's Documentation/virt/kvm/x86/amd-memory-encryption.rst, Documentation/arch/x86/{tdx,sgx}.rst and
Documentation/virt/kvm/s390/s390-pv.rst.
"""

from __future__ import annotations

from collections.abc import Callable

from ..checks import FAIL, PASS, SKIP, WARN, Verdict
from .devices import device
from .entry import HostCheck
from .host import Host
from .kernel import release
from .wanted import SE, SEV, SGX, SNP, TDX

_KVM_INTEL, _KVM_AMD = "/sys/module/kvm_intel/parameters", "/sys/module/kvm_amd/parameters"
_YES = ("Y", "1")
_KEYS = "/sys/fs/cgroup/misc.capacity"
_SNP_ARGUMENTS = "kvm_amd.sev=1 kvm_amd.sev_es=1 kvm_amd.sev_snp=1"
_TDX_KERNEL, _SNP_KERNEL = (6, 16), (6, 11)  # the first whose KVM runs such guests


def _without(host: Host, kind: tuple[str, ...], detail: str, remedy: str) -> Verdict:
    """Not offered: a failure only where it is asked for."""
    if host.wanted.confidential in kind:
        return Verdict(FAIL, detail, remedy)
    return Verdict(SKIP, f"{detail}; nothing asks for it")


def _made_for(module: str, kind: tuple[str, ...]) -> Callable[[Host], bool]:
    """Where the processor's maker has such guests, and wherever they are asked for."""
    return lambda host: host.kvm_module == module or host.wanted.confidential in kind


def tdx(host: Host) -> Verdict:
    """KVM was started with TDX, which it is only where the firmware and the TDX module let it."""
    if host.kvm_module != "kvm_intel":
        return _without(host, (TDX,), "this is no Intel processor with VT-x", "use an Intel Xeon of 2023 or later")
    value = host.text(f"{_KVM_INTEL}/tdx")
    if value in _YES:
        keys = _keys(host, "tdx")
        return Verdict(PASS, f"KVM runs TDX guests{keys}")
    remedy = (
        "switch TDX (and TME-MK, SEAM) on in the firmware, add kvm_intel.tdx=1 nohibernate to GRUB_CMDLINE_LINUX in "
        "/etc/default/grub, sudo update-grub, then restart; sudo dmesg | grep -i tdx says what is missing"
    )
    kernel = release(host)
    if value is None and kernel and kernel < _TDX_KERNEL:
        return _without(host, (TDX,), f"the kernel {host.kernel_release} has no TDX (6.16 has)", "a newer kernel")
    return _without(host, (TDX,), "KVM does not run TDX guests" + (f" (tdx={value})" if value else ""), remedy)


def sev(host: Host) -> Verdict:
    """KVM was started with SEV-SNP (or SEV alone), and the secure processor's device is there."""
    if host.kvm_module != "kvm_amd":
        return _without(host, (SNP, SEV), "this is no AMD processor with SVM", "use an AMD EPYC of 2021 or later")
    flags = {name: host.text(f"{_KVM_AMD}/{name}") for name in ("sev", "sev_es", "sev_snp")}
    on = [name for name, value in flags.items() if value in _YES]
    wanted = host.wanted.confidential
    needed = "sev_snp" if wanted == SNP else "sev"
    if needed not in on:
        kernel = release(host)
        remedy = (
            f"switch SEV-SNP (SMEE, SNP memory coverage, IOMMU) on in the firmware, add {_SNP_ARGUMENTS} to "
            "GRUB_CMDLINE_LINUX in /etc/default/grub, sudo update-grub, then restart"
        )
        if needed == "sev_snp" and host.argument("iommu") == "pt":
            remedy = "remove iommu=pt from GRUB_CMDLINE_LINUX in /etc/default/grub (SNP needs the IOMMU to translate), "
            remedy += "sudo update-grub, then restart"
        if needed == "sev_snp" and flags[needed] is None and kernel and kernel < _SNP_KERNEL:
            remedy = "a newer kernel: 6.11 or later"
        return _without(host, (SNP, SEV), f"KVM runs no {needed.replace('_', '-').upper()} guests", remedy)
    detail = f"KVM runs {', '.join(name.replace('_', '-').upper() for name in on)} guests{_keys(host, 'sev_es')}"
    node = device(host, "/dev/sev", "ccp", "CONFIG_CRYPTO_DEV_CCP", FAIL if wanted in (SNP, SEV) else WARN)
    return Verdict(PASS, f"{detail}; {node.detail}") if node.status == PASS else node


def _keys(host: Host, name: str) -> str:
    """How many such guests may run at once, as the cgroup controller ``misc`` says."""
    lines = (line.split() for line in (host.text(_KEYS) or "").splitlines())
    number = next((words[1] for words in lines if len(words) == 2 and words[0] == name), None)
    return f", {number} at once" if number else ""


def sgx(host: Host) -> Verdict:
    """The enclaves' devices; a guest gets enclave memory through one of its own."""
    if "sgx" not in host.cpu_flags:
        host.note("/proc/cpuinfo", "no flag sgx")
        remedy = "switch SGX on in the firmware: sudo systemctl reboot --firmware-setup"
        return _without(host, (SGX,), "the processor shows no SGX", remedy)
    host.note("/proc/cpuinfo", f"flags sgx{' sgx_lc' if 'sgx_lc' in host.cpu_flags else ''}")
    names = ("/dev/sgx_enclave", "/dev/sgx_provision", "/dev/sgx_vepc")
    missing = [name for name in names if not host.exists(name)]
    if missing:
        remedy = "a kernel with CONFIG_X86_SGX and CONFIG_X86_SGX_KVM, and launch control (sgx_lc) on in the firmware"
        return _without(host, (SGX,), f"there are no {', '.join(missing)}", remedy)
    if not host.may_use("/dev/sgx_vepc") and host.wanted.rootless:
        remedy = "sudo usermod -aG sgx $USER, then log in again"
        return _without(host, (SGX,), "/dev/sgx_vepc may not be used by this user", remedy)
    return Verdict(PASS, "guests can have enclaves")


def secure_execution(host: Host) -> Verdict:
    """The ultravisor is there and the kernel was started with it."""
    if host.machine != "s390x":
        return _without(host, (SE,), f"{host.machine} has none", "use an IBM Z or LinuxONE machine")
    value = host.text("/sys/firmware/uv/prot_virt_host")
    if value == "1":
        most = host.text("/sys/firmware/uv/query/max_guests")
        return Verdict(PASS, "the kernel runs Secure Execution guests" + (f", up to {most}" if most else ""))
    if host.text("/sys/firmware/uv/prot_virt_guest") == "1":
        return _without(host, (SE,), "this is a Secure Execution guest: it runs none of its own", "use an LPAR")
    # Facility 158, Ultra-Call: the machine can (z15, LinuxONE III and later, with feature code 115).
    facilities = next((block["facilities"].split() for block in host.processors if "facilities" in block), [])
    host.note("/proc/cpuinfo", f"facility 158: {'yes' if '158' in facilities else 'no'}")
    if "158" not in facilities:
        return _without(host, (SE,), "the machine has no ultravisor (facility 158)", "an LPAR with feature code 115")
    remedy = "sudo zipl -P prot_virt=1 (or add it to the parameters in /etc/zipl.conf and run sudo zipl), then restart"
    return _without(host, (SE,), "the kernel was started without prot_virt=1", remedy)


CHECKS = (
    HostCheck(
        "tdx",
        "Intel TDX",
        tdx,
        "TDX guests need KVM and firmware that were started with it.",
        "confidential",
        (f"{_KVM_INTEL}/tdx", "/proc/sys/kernel/osrelease", _KEYS),
        "add kvm_intel.tdx=1 nohibernate to the kernel's command line, then restart",
        when=_made_for("kvm_intel", (TDX,)),
    ),
    HostCheck(
        "sev",
        "AMD SEV and SEV-SNP",
        sev,
        "SEV guests need KVM and firmware that were started with it, and the secure processor's device.",
        "confidential",
        (
            f"{_KVM_AMD}/{{sev,sev_es,sev_snp}}",
            "/dev/sev",
            "/sys/module/ccp",
            "/proc/cmdline",
            "/proc/sys/kernel/osrelease",
            _KEYS,
        ),
        f"add {_SNP_ARGUMENTS} to the kernel's command line, then restart",
        when=_made_for("kvm_amd", (SNP, SEV)),
    ),
    HostCheck(
        "sgx",
        "Intel SGX",
        sgx,
        "Enclaves in a guest take their memory from a device of the host.",
        "confidential",
        ("/proc/cpuinfo", "/dev/sgx_enclave", "/dev/sgx_provision", "/dev/sgx_vepc"),
        "sudo systemctl reboot --firmware-setup, and switch SGX on",
        when=_made_for("kvm_intel", (SGX,)),
    ),
    HostCheck(
        "secure-execution",
        "IBM Secure Execution",
        secure_execution,
        "Secure Execution guests need an ultravisor, and a kernel started with it.",
        "confidential",
        ("/sys/firmware/uv/{prot_virt_host,prot_virt_guest,query/max_guests}", "/proc/cpuinfo"),
        "sudo zipl -P prot_virt=1, then restart",
        when=lambda host: host.machine == "s390x" or host.wanted.confidential == SE,
    ),
)
