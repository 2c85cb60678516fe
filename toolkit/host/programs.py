"""Checks of the programs around a guest. None is started, but to say its version and what it knows."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from . import program_data
from .arches import ARCHES
from .entry import HostCheck
from .host import Host
from .program_data import Known

_BUILT_IN = ("dragonball", "remote")
"""Hypervisors without a program on the host: one is a part of the Rust runtime, the other runs elsewhere."""
_DEVICE = re.compile(r'^name "([^"]+)"', re.MULTILINE)
_FIRST_WORD = re.compile(r"^ *([A-Za-z0-9_.-]+)", re.MULTILINE)


def _wanted(host: Host, known: Known) -> bool:
    return any(name.partition("-")[0] in known.hypervisors for name in host.wanted.hypervisors)


def _qemu(host: Host) -> str:
    """QEMU, where it is there and asked for."""
    qemu = next(known for known in program_data.vmms(host.machine) if known.id == "qemu")
    if host.wanted.hypervisors and not _wanted(host, qemu):
        raise Skipped("no QEMU is asked for")
    program = program_data.find(host, qemu) if host.machine in ARCHES else None
    if program is None:
        raise Skipped("there is no QEMU", "see vmm")
    return program


def vmm(host: Host) -> Verdict:
    """A virtual machine monitor, new enough: QEMU, or another that Kata knows; the ones that are asked for."""
    here, old, missing = [], [], []
    for known in program_data.vmms(host.machine):
        program = program_data.find(host, known)
        if program is None:
            missing += [known] if _wanted(host, known) else []
            continue
        version = program_data.version_of(host, program)
        here.append(known.id)
        if known.is_older(version) and (_wanted(host, known) or not host.wanted.hypervisors):
            old.append((f"{known.title} {version} ({program}) is older than {known.least}: {known.why}", known.remedy))
        host.measurements[f"{known.id.replace('-', '_')}_version"] = version
    if missing:
        titles = ", ".join(known.title for known in missing)
        return Verdict(FAIL, f"no {titles}, which is asked for", "; ".join(known.remedy for known in missing))
    if old:
        status = FAIL if host.wanted.hypervisors or len(old) == len(here) else WARN
        return Verdict(status, "; ".join(text for text, _ in old), "; ".join(remedy for _, remedy in old))
    return _found(host, here)


def _found(host: Host, here: list[str]) -> Verdict:
    every = {known.id: known for known in program_data.vmms(host.machine)}
    told = [_described(host, every[name]) for name in here]
    if set(host.wanted.hypervisors) & set(_BUILT_IN) and not told:
        return Verdict(PASS, "none is needed: it is a part of the Rust runtime, or runs elsewhere")
    if "qemu" in here or host.wanted.hypervisors:
        programs = [program_data.find(host, every[name]) or "" for name in here]
        silent = [f"{path} --version shows why" for path in programs if program_data.silent(host, path)]
        return Verdict(WARN if silent else PASS, "; also ".join(told), "; ".join(silent))
    if here:
        return Verdict(WARN, f"no QEMU; there is {', '.join(told)}", every["qemu"].remedy)
    # Dragonball is a part of the Rust runtime itself, so even this is not the end, but most sets want QEMU.
    return Verdict(FAIL, "neither QEMU nor another VMM", every["qemu"].remedy)


def _described(host: Host, known: Known) -> str:
    program = program_data.find(host, known) or ""
    return f"{known.title} {program_data.version_of(host, program)} ({program})"


def qemu_devices(host: Host) -> Verdict:
    """The devices that Kata puts on QEMU's command line; distributions split or leave out some."""
    program, arch = _qemu(host), ARCHES[host.machine]
    text = host.output(program, "-device", "help")
    if text is None:
        return Verdict(FAIL, f"{program} -device help fails, or takes too long", f"{program} -device help shows why")
    missing = sorted(set(arch.devices) - set(_DEVICE.findall(text)))
    if missing:
        return Verdict(FAIL, f"missing: {', '.join(missing)}", f"sudo apt-get install {arch.package} (all of QEMU)")
    return Verdict(PASS, ", ".join(arch.devices))


def qemu_machines(host: Host) -> Verdict:
    """The machine type of Kata's configuration, and KVM built in."""
    program, arch = _qemu(host), ARCHES[host.machine]
    machine = program_data.data()["machines"].get(host.machine)
    machines, accelerators = host.output(program, "-machine", "help"), host.output(program, "-accel", "help")
    if machines is None or accelerators is None:
        raise Skipped(f"{program} does not list its machines and accelerators", f"{program} -machine help shows why")
    if machine and machine not in _FIRST_WORD.findall(machines):
        return Verdict(FAIL, f"{program} has no machine {machine}", f"sudo apt-get install {arch.package}")
    if "kvm" not in _FIRST_WORD.findall(accelerators):
        return Verdict(FAIL, f"{program} was built without KVM", f"sudo apt-get install {arch.package}")
    return Verdict(PASS, f"machine {machine}, accelerator kvm")


def qemu_confidential(host: Host) -> Verdict:
    """QEMU knows the kind of confidential guest that is asked for."""
    kind = host.wanted.confidential or ""
    program, needs = _qemu(host), program_data.data()["confidential"].get(kind)
    if needs is None:
        raise Skipped(f"{kind} needs nothing of QEMU that could be seen")
    objects, version = host.output(program, "-object", "help"), program_data.version_of(host, program)
    if objects is None:
        raise Skipped(f"{program} does not list its objects", f"{program} -object help shows why")
    remedy = f"QEMU {needs['least']} or later: Kata's own lies in /opt/kata/bin"
    if needs["object"] not in _FIRST_WORD.findall(objects):
        return Verdict(FAIL, f"QEMU {version} has no {needs['object']}", remedy)
    return Verdict(PASS, f"QEMU {version} knows {needs['object']}")


def virtiofsd(host: Host) -> Verdict:
    """The daemon of virtio-fs, Kata's default way to share a container's root with its guest."""
    install = "install virtiofsd 1.x (Debian 13: apt-get install virtiofsd), or set shared_fs to another way"
    if not host.wanted.virtio_fs:
        raise Skipped("nothing asked for shares folders by virtio-fs")
    known, program = program_data.data()["virtiofsd"], program_data.virtiofsd_path(host)
    status = FAIL if host.wanted.hypervisors else WARN
    if program is None:
        return Verdict(status, "there is none", install)
    described = f"{program_data.version_of(host, program)} ({program})"
    text = host.output(program, "--help")
    if text is None:
        return Verdict(WARN, f"{described} does not tell its options", f"{program} --help shows why")
    # QEMU's own old daemon in C knows only -o source=.
    options = set(re.findall(r"--[a-z][a-z-]*", text))
    missing = [option for option in known["needed"] if option not in options]
    if missing:
        what = "the old one in C of QEMU, " if "-o source=" in text or "-o cache=" in text else ""
        return Verdict(
            status, f"{described} is {what}without {', '.join(missing)}, which Kata's runtimes pass", install
        )
    return Verdict(PASS, f"{described} with {', '.join(known['needed'])}")


CHECKS = (
    HostCheck(
        "vmm",
        "virtual machine monitor",
        vmm,
        "It is what a sandbox runs in.",
        "programs",
        ("PATH, /opt/kata/bin, /usr/libexec", "PROGRAM --version"),
        "sudo apt-get install qemu-system-x86",
    ),
    HostCheck(
        "qemu-devices",
        "QEMU's devices",
        qemu_devices,
        "Kata puts them on QEMU's command line.",
        "programs",
        ("qemu-system-ARCH -device help",),
        "sudo apt-get install qemu-system-x86",
    ),
    HostCheck(
        "qemu-machines",
        "QEMU's machines and KVM",
        qemu_machines,
        "Without the machine type, or KVM built in, QEMU does not start Kata's guest.",
        "programs",
        ("qemu-system-ARCH -machine help", "qemu-system-ARCH -accel help"),
        "sudo apt-get install qemu-system-x86",
    ),
    HostCheck(
        "qemu-confidential",
        "QEMU for confidential guests",
        qemu_confidential,
        "Each kind of confidential guest came with a version of QEMU.",
        "programs",
        ("qemu-system-ARCH -object help", "qemu-system-ARCH --version"),
        "install Kata's own QEMU into /opt/kata/bin",
        when=lambda host: bool(host.wanted.confidential),
    ),
    HostCheck(
        "virtiofsd",
        "virtiofsd",
        virtiofsd,
        "It shares a container's files with its guest.",
        "programs",
        ("virtiofsd --version", "virtiofsd --help"),
        "sudo apt-get install virtiofsd",
    ),
)
