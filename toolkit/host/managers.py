"""Checks of the container managers: their versions, and whether they lead to a Kata that is there."""

from __future__ import annotations

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from . import program_data
from .entry import HostCheck
from .host import Host
from .manager_configs import CRI_TABLES, Read, Runtime, read_managers

_NEWEST_VERSION = {1: 2, 2: 4}
"""The highest version of a configuration file that containerd 1.x and 2.x read."""
_WIRE = "kata-toolkit wire MANAGER DIR --print shows what to write"


def container_managers(host: Host) -> Verdict:
    """Something that starts Kata's shim, and is new enough for it."""
    found, old, remedies = [], [], []
    for manager in program_data.managers():
        program = program_data.find(host, manager)
        if program is None:
            continue
        version = program_data.version_of(host, program)
        found.append(f"{manager.title} {version}")
        if manager.is_older(version):
            old.append(f"{manager.title} {version} is older than {manager.least}: {manager.why}")
            remedies.append(manager.remedy)
        elif program_data.silent(host, program):
            old.append(f"{manager.title} does not say its version: {program} --version fails, or takes too long")
            remedies.append(f"{program} --version shows why")
    if not found:
        return Verdict(WARN, "none found, so nothing would start Kata", "sudo apt-get install containerd")
    if old:
        return Verdict(WARN, "; ".join(old), "; ".join(remedies))
    return Verdict(PASS, ", ".join(found))


def manager_config(host: Host) -> Verdict:
    """The files can be read, and are of a version that the program knows."""
    read = read_managers(host)
    problems, hints = list(read.problems), list(read.hints)
    program = host.which("containerd")
    version = program_data.number(host, program) if program else ()
    for file, number in read.versions.items():
        newest = _NEWEST_VERSION.get(version[0] if version else 0)
        if newest and number > newest:
            problems.append(f"{file} has version {number}, but containerd {version[0]}.x reads up to {newest}")
            hints.append(f'version = {newest}, with the runtimes below plugins."{CRI_TABLES[min(newest, 3)]}"')
    if not read.files and not problems:
        raise Skipped("no manager has a configuration file: each uses its defaults", _WIRE)
    unreadable = [problem for problem in problems if problem.endswith("by this user")]
    if problems and len(unreadable) == len(problems):
        raise Skipped("; ".join(problems), "sudo kata-toolkit check-host")
    if problems:
        return Verdict(FAIL, "; ".join(problems), "; ".join(hints) or "correct the file at that line")
    return Verdict(PASS, ", ".join(read.files))


def runtime_handlers(host: Host) -> Verdict:
    """The runtimes that are meant to be Kata: shim and configuration exist, and the manager can start them."""
    read = read_managers(host)
    katas = [runtime for runtime in read.runtimes if runtime.is_kata]
    if not katas:
        return _without(host, read)
    broken = [problem for runtime in katas if (problem := _broken(host, runtime))]
    if broken:
        detail = "; ".join(problem for problem, _ in broken)
        return Verdict(FAIL, detail, "; ".join(dict.fromkeys(remedy for _, remedy in broken)))
    return Verdict(PASS, ", ".join(f"{r.title} ({r.config or 'its default configuration'})" for r in katas))


def _without(host: Host, read: Read) -> Verdict:
    managers = [manager for manager in program_data.managers() if any(map(host.which, manager.programs))]
    if not managers:
        return Verdict(WARN, "there is no container manager", "see container-manager")
    if any(problem.endswith("by this user") for problem in read.problems):
        raise Skipped("; ".join(read.problems), "sudo kata-toolkit check-host")
    if host.which("containerd-shim-kata-v2"):
        return Verdict(PASS, "none is named; containerd finds containerd-shim-kata-v2 by io.containerd.kata.v2")
    titles = ", ".join(manager.title for manager in managers)
    return Verdict(WARN, f"no configuration of {titles} names Kata", _WIRE)


def _broken(host: Host, runtime: Runtime) -> tuple[str, str] | None:
    """What stops a runtime from starting, and the remedy; None: nothing does."""
    where = f"{runtime.title} ({runtime.file})"
    if runtime.manager == "Podman" or runtime.is_command:
        return f"{where} calls {runtime.shim} as an OCI command line, which Kata has no more", "use containerd or CRI-O"
    if runtime.manager == "CRI-O" and runtime.type != "vm":
        return f'{where} has runtime_type "{runtime.type}"', 'runtime_type = "vm"'
    if runtime.manager == "CRI-O" and not runtime.shim:
        return f"{where} has no runtime_path", "runtime_path = the shim's path"
    shim = runtime.shim
    if shim and not host.is_program(shim):
        return f"{where}: {shim} does not exist, or is not executable", "install the set, or correct the path"
    if not shim and runtime.shim_name and not host.which(runtime.shim_name):
        remedy = f"sudo ln -s PREFIX/bin/{runtime.shim_name} /usr/local/bin/, or set runtime_path"
        return f"{where}: {runtime.shim_name} is not on PATH", remedy
    if not shim and not runtime.shim_name:
        return f"{where} names neither a type nor a path", 'runtime_type = "io.containerd.NAME.v2"'
    if runtime.config and not host.exists(runtime.config):
        return f"{where}: ConfigPath {runtime.config} does not exist", "install the set, or correct the path"
    return None


def needs_snapshotter(host: Host) -> bool:
    """Whether a container's root must come as a block device: Firecracker shares no folders."""
    return any(name in ("fc", "firecracker") for name in host.wanted.hypervisors)


def snapshotter(host: Host) -> Verdict:
    """A snapshotter that gives block devices, and its pool."""
    read = read_managers(host)
    told = read.snapshotters.get("devmapper")
    remedy = "sudo dmsetup create … a thin pool, and set pool_name and root_path of containerd's devmapper plugin"
    if told is None:
        others = [name for name in ("blockfile", "erofs", "nydus") if name in read.snapshotters]
        if others:
            return Verdict(PASS, f"{', '.join(others)} is configured")
        if not read.files:
            raise Skipped("containerd has no configuration file", remedy)
        return Verdict(FAIL, "no snapshotter gives block devices: containers would not find their root", remedy)
    pool = told.get("pool_name")
    if not isinstance(pool, str) or not pool:
        return Verdict(FAIL, "devmapper has no pool_name", remedy)
    if not host.exists(f"/dev/mapper/{pool}"):
        return Verdict(FAIL, f"devmapper's pool {pool} is not in /dev/mapper", remedy)
    bare = [r.title for r in read.runtimes if r.is_kata and r.manager == "containerd" and not r.snapshotter]
    if bare:
        return Verdict(WARN, f"{', '.join(bare)}: takes the default snapshotter", 'snapshotter = "devmapper" in it')
    return Verdict(PASS, f"devmapper with the pool {pool}")


CHECKS = (
    HostCheck(
        "container-manager",
        "container manager",
        container_managers,
        "It starts Kata's shim.",
        "managers",
        ("PATH", "PROGRAM --version"),
        "sudo apt-get install containerd",
    ),
    HostCheck(
        "manager-config",
        "their configuration files",
        manager_config,
        "A file of another version than the program's, or a table in the wrong place, is ignored without a word.",
        "managers",
        (
            "/etc/containerd/config.toml and its imports",
            "/etc/crio/crio.conf, crio.conf.d",
            "/etc/docker/daemon.json",
            "/etc/containers/containers.conf, containers.conf.d",
            "containerd --version",
        ),
        "kata-toolkit wire MANAGER DIR --print",
    ),
    HostCheck(
        "runtime-handlers",
        "handlers for Kata",
        runtime_handlers,
        "A pod gets Kata only through a handler whose shim and configuration exist.",
        "managers",
        ("the same files", "each shim and each ConfigPath"),
        "kata-toolkit wire MANAGER DIR --print",
    ),
    HostCheck(
        "snapshotter",
        "block-device snapshotter",
        snapshotter,
        "Firecracker shares no folders: a container's root must come to it as a block device.",
        "managers",
        ("/etc/containerd/config.toml and its imports", "/dev/mapper/POOL"),
        "sudo dmsetup create POOL …",
        when=needs_snapshotter,
    ),
)
