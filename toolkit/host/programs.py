"""Checks of the programs around a guest. None is started, but to say its version and what it knows."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .arches import ARCHES
from .entry import HostCheck
from .host import Host

_KATA_BIN = "/opt/kata/bin"
_OTHER_VMMS = ("cloud-hypervisor", "firecracker", "stratovirt", "openvmm")
_QEMU_FOLDERS = (_KATA_BIN, "/usr/libexec")
_VIRTIOFSD_FOLDERS = ("/usr/libexec", "/usr/lib", "/usr/lib/qemu", "/opt/kata/libexec")
_MANAGERS = (
    ("containerd", ("containerd",)),
    ("CRI-O", ("crio",)),
    ("Docker", ("dockerd",)),
    ("Podman", ("podman",)),
    ("nerdctl", ("nerdctl",)),
)
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")
_DEVICE = re.compile(r'^name "([^"]+)"', re.MULTILINE)


def _version(host: Host, program: str) -> str:
    """The version a program prints, or what is wrong with it in words."""
    text = host.output(program, "--version")
    if text is None:
        return "version unknown: it failed, or took too long"
    found = _VERSION.search(text)
    return found.group() if found else "version unknown"


def _qemu(host: Host) -> str | None:
    arch = ARCHES.get(host.machine)
    if arch is None:
        return None
    # Red Hat's QEMU has another name and lies outside of PATH.
    return host.which(arch.qemu, *_QEMU_FOLDERS) or host.which("qemu-kvm", *_QEMU_FOLDERS)


def vmm(host: Host) -> Verdict:
    """A virtual machine monitor: QEMU, or another that Kata knows."""
    others = [name for name in _OTHER_VMMS if host.which(name, _KATA_BIN)]
    program = _qemu(host)
    if program:
        more = f"; also {', '.join(others)}" if others else ""
        return Verdict(PASS, f"QEMU {_version(host, program)} ({program}){more}")
    arch = ARCHES.get(host.machine)
    install = f"sudo apt-get install {arch.package}" if arch else "see architecture"
    if others:
        return Verdict(WARN, f"no QEMU; there is {', '.join(others)}", install)
    # Dragonball is a part of the Rust runtime itself, so even this is not the end, but most sets want QEMU.
    return Verdict(FAIL, "neither QEMU nor another VMM", install)


def qemu_devices(host: Host) -> Verdict:
    """The devices that Kata puts on QEMU's command line; distributions split or leave out some."""
    arch, program = ARCHES.get(host.machine), _qemu(host)
    if arch is None or program is None:
        raise Skipped("there is no QEMU", "see vmm")
    text = host.output(program, "-device", "help")
    if text is None:
        return Verdict(FAIL, f"{program} -device help fails, or takes too long", f"{program} -device help shows why")
    missing = sorted(set(arch.devices) - set(_DEVICE.findall(text)))
    if missing:
        return Verdict(FAIL, f"missing: {', '.join(missing)}", f"sudo apt-get install {arch.package} (all of QEMU)")
    return Verdict(PASS, ", ".join(arch.devices))


def virtiofsd(host: Host) -> Verdict:
    """The daemon of virtio-fs, Kata's default way to share a container's root with its guest."""
    install = "install virtiofsd 1.x (Debian 13: apt-get install virtiofsd), or set shared_fs to another way"
    program = host.which("virtiofsd", *_VIRTIOFSD_FOLDERS)
    if program is None:
        return Verdict(WARN, "there is none", install)
    described = f"{_version(host, program)} ({program})"
    # Kata passes --shared-dir; QEMU's own old daemon in C knows only -o source=.
    if "--shared-dir" not in (host.output(program, "--help") or ""):
        return Verdict(WARN, f"{described} does not know --shared-dir, which Kata's runtimes pass", install)
    return Verdict(PASS, described)


def container_managers(host: Host) -> Verdict:
    """Something that starts Kata's shim."""
    found = []
    for title, names in _MANAGERS:
        program = next((path for name in names if (path := host.which(name))), None)
        if program:
            found.append(f"{title} {_version(host, program)}")
    if not found:
        return Verdict(WARN, "none found, so nothing would start Kata", "sudo apt-get install containerd")
    return Verdict(PASS, ", ".join(found))


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
        "virtiofsd",
        "virtiofsd",
        virtiofsd,
        "It shares a container's files with its guest.",
        "programs",
        ("virtiofsd --version", "virtiofsd --help"),
        "sudo apt-get install virtiofsd",
    ),
    HostCheck(
        "container-manager",
        "container manager",
        container_managers,
        "It starts Kata's shim.",
        "managers",
        ("PATH", "PROGRAM --version"),
        "sudo apt-get install containerd",
    ),
)
