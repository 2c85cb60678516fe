"""Checks of the processor: what it is, and whether it can run guests."""

from __future__ import annotations

from .. import arch as known_arches
from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .arches import ARCHES, NESTING, NESTING_ELSEWHERE
from .below import below
from .entry import HostCheck
from .host import Host
from .kvm import KVM, MSHV, microsoft

_CPUINFO = "/proc/cpuinfo"
_FLAGS = {"vmx": "Intel VT-x (vmx)", "svm": "AMD-V (svm)", "sie": "sie"}


def architecture(host: Host) -> Verdict:
    """Kata runs on four architectures, and its Go runtime on a fifth."""
    host.note("uname -m", host.machine)
    wanted = host.wanted.arch
    if wanted is not None and wanted != host.machine:
        what = f"{host.machine}, but a guest of {wanted} is wanted"
        return Verdict(FAIL, what, f'build for this machine: arch: "{_spec_name(host.machine)}" in the spec')
    if host.machine == "riscv64":
        return Verdict(WARN, "riscv64: only Kata's Go runtime knows it", "build that runtime yourself")
    if host.machine in ARCHES:
        return Verdict(PASS, host.machine)
    known = ", ".join(ARCHES)
    return Verdict(FAIL, f"{host.machine}: Kata does not run there", f"use a machine with a 64-bit kernel of {known}")


def _spec_name(machine: str) -> str:
    return next((arch.name for arch in known_arches.arches().values() if arch.uname == machine), machine)


def info(host: Host) -> Verdict:
    """The processors are told of, each with what it is. Any maker's will do."""
    if not host.processors:
        raise Skipped("/proc/cpuinfo cannot be read, or is empty", "sudo mount -t proc proc /proc")
    arch = ARCHES.get(host.machine)
    fields = arch.vendor if arch else ()
    told = [next((p[field] for p in host.processors if field in p), "") for field in fields]
    name = ", ".join(f"{field} {value}" for field, value in zip(fields, told, strict=True) if value)
    host.note(_CPUINFO, name or "nothing on who made it")
    # s390x has one block for all; its processors are counted in "# processors".
    count = host.processors[0].get("# processors") or str(sum("processor" in p for p in host.processors))
    return Verdict(PASS, f"{count}: {name}" if name else count)


def virtualization(host: Host) -> Verdict:
    """The processor's own virtualisation, on every processor; whoever made it."""
    if host.machine in ("x86_64", "s390x"):
        found = _by_flags(host)
    elif host.machine == "riscv64":
        found = _riscv(host)
    elif host.machine == "ppc64le":
        found = _power(host)
    else:
        found = None
    if found is not None and found.status != FAIL:
        return found
    if host.may_use(KVM) and host.kvm_verdict.ok:
        return Verdict(PASS, f"not shown by /proc/cpuinfo, but by KVM: {host.kvm_verdict.detail}")
    if not host.exists(KVM) and (instead := microsoft(host)):
        return instead
    if found is None:
        raise Skipped(f"{host.machine} does not say it in /proc/cpuinfo, or that is hidden; see kvm-device")
    return found


def _by_flags(host: Host) -> Verdict | None:
    if not host.cpu_flags:
        return None
    found = [name for flag, name in _FLAGS.items() if flag in host.cpu_flags]
    host.note(_CPUINFO, f"flags {' '.join(flag for flag in (*_FLAGS, 'ept', 'npt') if flag in host.cpu_flags) or '-'}")
    if found:
        return _with_paging(host, found[0])
    some = [name for flag, name in _FLAGS.items() if any(flag in p.get("flags", "").split() for p in host.processors)]
    if some:
        return Verdict(FAIL, f"{some[0]}: only on some processors", "update the firmware, and the microcode")
    if confidential := _confidential_guest(host):
        return Verdict(FAIL, f"this is {confidential}: none runs guests of its own", "use a machine that is none")
    it = below(host)
    if it.vm or host.machine == "s390x":
        remedy = next((text for word, text in NESTING if word in it.name), NESTING_ELSEWHERE)
        return Verdict(
            FAIL, f"not offered to this VM{f' ({it.name})' if it.name else ''}: nested virtualisation is off", remedy
        )
    return Verdict(
        FAIL,
        "neither vmx nor svm",
        "switch VT-x, or SVM, on in the firmware's set-up: sudo systemctl reboot --firmware-setup",
    )


def _confidential_guest(host: Host) -> str | None:
    if "tdx_guest" in host.cpu_flags:
        return "a TDX guest"
    if host.exists("/dev/sev-guest"):
        return "an SEV-SNP guest"
    if host.text("/sys/firmware/uv/prot_virt_guest") == "1":
        return "a Secure Execution guest"
    return None


def _with_paging(host: Host, name: str) -> Verdict:
    if host.machine == "x86_64" and not host.cpu_flags & {"ept", "npt"}:
        return Verdict(WARN, f"{name} without nested paging (ept, npt): guests are slow", "use a newer processor")
    return Verdict(PASS, name)


def _riscv(host: Host) -> Verdict | None:
    """The hypervisor extension is the letter h among the single letters of ``isa`` (RISC-V ISA naming)."""
    names = [block["isa"] for block in host.processors if "isa" in block]
    if not names:
        return None
    host.note(_CPUINFO, f"isa {names[0]}")
    letters = [name.lower().removeprefix("rv64").partition("_")[0] for name in names]
    if all("h" in word for word in letters):
        return Verdict(PASS, "the hypervisor extension (h)")
    return Verdict(FAIL, f"no hypervisor extension (h) in {names[0]}", "use a processor with it")


def _power(host: Host) -> Verdict | None:
    """On bare metal every POWER processor can; a partition only where what is below it says so."""
    it = below(host)
    if it.vm is None:
        return None
    if not it.vm:
        return Verdict(PASS, f"PowerNV ({it.name})" if it.name else "PowerNV")
    if host.exists(KVM):
        return Verdict(PASS, f"offered to this partition by {it.name}")
    remedy = next(text for word, text in NESTING if word in it.name)
    return Verdict(FAIL, f"a partition of {it.name}, which offers none", remedy)


def features(host: Host) -> Verdict:
    """What a guest's kernel and user space need of the processor."""
    arch = ARCHES.get(host.machine)
    needed = dict(arch.flags) if arch else {}
    if not needed:
        raise Skipped(f"every {host.machine} processor that can run guests has what they need")
    if not host.cpu_flags:
        raise Skipped("/proc/cpuinfo tells no flags", "sudo mount -t proc proc /proc")
    host.note(_CPUINFO, f"flags {' '.join(flag for flag in needed if flag in host.cpu_flags) or '-'}")
    missing = [f"{flag} ({meaning})" for flag, meaning in needed.items() if flag not in host.cpu_flags]
    if missing:
        remedy = "give this VM the model of its host (-cpu host)" if host.is_vm else "use a newer processor"
        return Verdict(FAIL, f"missing: {', '.join(missing)}", remedy)
    return Verdict(PASS, ", ".join(needed))


def count(host: Host) -> Verdict:
    """As many processors as a guest has vCPUs; more vCPUs than that only wait for each other."""
    online = _range_length(host.text("/sys/devices/system/cpu/online") or "") or len(host.processors)
    if not online:
        raise Skipped("the kernel does not say how many there are", "sudo mount -t sysfs sysfs /sys")
    wanted = host.wanted.vcpus
    if wanted > online:
        return Verdict(
            WARN, f"{online} online, but a guest has {wanted} vCPUs", f"set default_vcpus to {online} or less"
        )
    return Verdict(PASS, f"{online} online")


def _range_length(text: str) -> int:
    """How many ``0-3,8`` are; 0 for what is no such list."""
    total = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isascii() and first.isdigit()) or (last and not (last.isascii() and last.isdigit())):
            return 0
        total += int(last or first) - int(first) + 1
    return total


CHECKS = (
    HostCheck(
        "architecture",
        "architecture",
        architecture,
        "Kata is built for four architectures, and a guest runs only on its own.",
        "processor",
        ("uname -m",),
        "use a machine with a 64-bit kernel of x86_64, aarch64, s390x, ppc64le",
    ),
    HostCheck(
        "cpu-info",
        "processors",
        info,
        "Most of what is known of the processor is read there.",
        "processor",
        (_CPUINFO,),
        "sudo mount -t proc proc /proc",
    ),
    HostCheck(
        "cpu-virtualization",
        "processor virtualisation",
        virtualization,
        "Without it there are no fast guests.",
        "processor",
        (
            _CPUINFO,
            "/proc/sysinfo",
            "/sys/firmware/uv/prot_virt_guest",
            "/dev/sev-guest",
            "/sys/hypervisor/type",
            "/sys/class/dmi/id/{sys_vendor,product_name}",
            KVM,
            MSHV,
        ),
        "sudo systemctl reboot --firmware-setup, and switch VT-x or SVM on",
    ),
    HostCheck(
        "cpu-features",
        "processor features",
        features,
        "A guest's kernel and programs need them.",
        "processor",
        (_CPUINFO,),
        "in a VM: start it with -cpu host",
        ("x86_64", "s390x"),
    ),
    HostCheck(
        "cpu-count",
        "number of processors",
        count,
        "A guest with more vCPUs than the host has processors is slower than one with fewer.",
        "processor",
        ("/sys/devices/system/cpu/online", _CPUINFO),
        "set default_vcpus to less",
    ),
)
