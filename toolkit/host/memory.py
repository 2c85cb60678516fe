"""Checks of memory: for the guests that are wanted, of the kind that they want."""

from __future__ import annotations

import re

from ..checks import FAIL, PASS, WARN, Skipped, Verdict
from .entry import HostCheck
from .host import Host

LEAST_MIB = 512
"""With less no guest is of use, all around it counted."""

_MEMINFO = "/proc/meminfo"
_SIZE = re.compile(r"(\w+):\s*([0-9]{1,19}) kB", re.ASCII)
_HUGE = re.compile(r"hugepages-([0-9]{1,12})kB", re.ASCII)
_SHM = "/dev/shm"  # noqa: S108 -- looked at among the mounts, never written to
_HUGE_FOLDER = "/sys/kernel/mm/hugepages"
_TMPFS_SIZE = re.compile(r"(?:^|,)size=([0-9]{1,15})([kmg%]?)(?:,|$)", re.ASCII)
_LOCKED = re.compile(r"Max locked memory\s+(\S+)", re.ASCII)


def sizes(host: Host, *names: str) -> dict[str, int]:
    """What /proc/meminfo says, in MiB, by name; ``names`` are those that matter to the caller."""
    found = (_SIZE.fullmatch(line) for line in (host.text(_MEMINFO) or "").splitlines())
    known = {match[1]: int(match[2]) // 1024 for match in found if match}
    if known:
        host.note(_MEMINFO, ", ".join(f"{name} {known[name]} MiB" for name in names if name in known))
    return known


def wanted_mib(host: Host) -> int:
    """The memory of all guests that are wanted at once."""
    return host.wanted.memory_mib * host.wanted.guests


def memory(host: Host) -> Verdict:
    """Room for the guests that are wanted."""
    known = sizes(host, "MemTotal", "MemAvailable", "MemFree")
    if "MemTotal" not in known:
        raise Skipped("/proc/meminfo cannot be read", "sudo mount -t proc proc /proc")
    total, free = known["MemTotal"], known.get("MemAvailable", known.get("MemFree", 0))
    limit = _container_limit(host)
    if limit is not None and limit < total:
        total, free = limit, min(limit, free)
    host.measurements["memory_total_mib"] = total
    host.measurements["memory_available_mib"] = free
    detail, wanted = f"{free} MiB of {total} MiB available", wanted_mib(host)
    if host.wanted.hugepages:
        return Verdict(PASS, f"{detail}; guests take huge pages, see huge-pages")
    if free < min(LEAST_MIB, wanted):
        return Verdict(FAIL, detail, f"free memory: a guest needs {LEAST_MIB} MiB with all around it")
    if wanted > total:
        return Verdict(FAIL, f"{detail}, but {wanted} MiB are wanted", "set default_memory to less")
    if free < wanted:
        return Verdict(WARN, f"{detail}, but {wanted} MiB are wanted", "set default_memory to less, or free memory")
    return Verdict(PASS, detail)


def _container_limit(host: Host) -> int | None:
    """What the cgroup of the container that we are in allows, in MiB; /proc/meminfo knows nothing of it."""
    if not host.in_container:
        return None
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if (limit := host.number(file)) is not None:
            return limit >> 20
    return None


def huge_pages(host: Host) -> Verdict:
    """Enough free huge pages of one size, where guests are made of them; and none reserved for nothing."""
    wanted, pools = wanted_mib(host), []
    for name in host.names(_HUGE_FOLDER):
        found = _HUGE.fullmatch(name)
        if found:
            number, free, promised = (
                host.number(f"{_HUGE_FOLDER}/{name}/{file}_hugepages") or 0 for file in ("nr", "free", "resv")
            )
            pools.append((int(found[1]), number, max(0, free - promised)))
    if not host.wanted.hugepages:
        return _unwanted(pools)
    if not pools:
        raise Skipped("the kernel has no huge pages, or /sys is hidden", "a kernel with CONFIG_HUGETLBFS")
    best = max(size * free // 1024 for size, _, free in pools)
    detail = ", ".join(f"{free} of {number} pages of {size} kB free" for size, number, free in pools)
    if best < wanted:
        pages = -(-wanted // 2)
        return Verdict(
            FAIL, f"{detail}, but {wanted} MiB are wanted", f"sudo sysctl vm.nr_hugepages={pages} (2 MiB each)"
        )
    if not any(kind == "hugetlbfs" for _, kind, _ in host.mounts):
        return Verdict(
            FAIL, f"{detail}, but no hugetlbfs is mounted", "sudo mount -t hugetlbfs hugetlbfs /dev/hugepages"
        )
    return Verdict(PASS, detail)


def _unwanted(pools: list[tuple[int, int, int]]) -> Verdict:
    reserved = [pool for pool in pools if pool[1]]
    if not reserved:
        return Verdict(PASS, f"none are {'reserved' if pools else 'to be seen'}, and none are wanted")
    used_up = [size for size, _, free in reserved if not free]
    if used_up:
        sizes_said = ", ".join(f"{size} kB" for size in used_up)
        return Verdict(WARN, f"all pages of {sizes_said} are taken", "sudo sysctl vm.nr_hugepages=N for more of them")
    kept = sum(size * number for size, number, _ in reserved) // 1024
    return Verdict(PASS, f"{kept} MiB are reserved as huge pages; none are wanted")


def overcommit(host: Host) -> Verdict:
    """With strict accounting a guest's whole memory counts at its start, used or not."""
    mode = host.text("/proc/sys/vm/overcommit_memory")
    if mode not in ("0", "1", "2"):
        raise Skipped("the kernel does not say (/proc/sys is hidden)", "sysctl vm.overcommit_memory")
    if mode != "2":
        return Verdict(PASS, f"vm.overcommit_memory={mode}: guests take memory as they use it")
    known, wanted = sizes(host, "CommitLimit", "Committed_AS"), wanted_mib(host)
    room = known.get("CommitLimit", 0) - known.get("Committed_AS", 0)
    status = FAIL if room < wanted else WARN
    detail = f"vm.overcommit_memory=2: guests take all their memory at once; {room} MiB are left for {wanted} wanted"
    return Verdict(status, detail, "sudo sysctl vm.overcommit_memory=0")


def shared_memory(host: Host) -> Verdict:
    """Kata's QEMU keeps the memory of guests that use virtio-fs in /dev/shm."""
    options = next((options for place, kind, options in reversed(host.mounts) if place == _SHM), None)
    if options is None:
        if not host.mounts:
            raise Skipped("/proc/self/mounts cannot be read")
        return Verdict(WARN, f"{_SHM} is no file system of its own", f"sudo mount -t tmpfs tmpfs {_SHM}")
    total = sizes(host, "MemTotal").get("MemTotal")
    found = _TMPFS_SIZE.search(options)
    size = _tmpfs_mib(found[1], found[2], total) if found else None if total is None else total // 2
    host.note("/proc/self/mounts", f"{_SHM} {options}")
    if size is None:
        raise Skipped("its size is a share of the memory, and /proc/meminfo cannot be read")
    wanted = wanted_mib(host)
    if size < wanted and "qemu" in (host.wanted.hypervisors or ("qemu",)):
        remedy = (
            f"start the container with --shm-size={wanted}m"
            if host.in_container
            else (f"sudo mount -o remount,size={wanted}m /dev/shm")
        )
        return Verdict(WARN, f"{size} MiB, but {wanted} MiB are wanted", remedy)
    return Verdict(PASS, f"{size} MiB")


def _tmpfs_mib(number: str, unit: str, total: int | None) -> int | None:
    """tmpfs's size= in MiB (Documentation/filesystems/tmpfs.rst); per cent are of all memory."""
    if unit == "%":
        return None if total is None else total * int(number) // 100
    return int(number) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[unit] >> 20


def locked(host: Host) -> Verdict:
    """A guest with a device of the host has all its memory locked; so has io_uring its rings, before 5.12."""
    found = _LOCKED.search(host.text("/proc/self/limits") or "")
    if not found:
        raise Skipped("/proc/self/limits cannot be read", "ulimit -l")
    host.note("/proc/self/limits", f"Max locked memory {found[1]}")
    if found[1] == "unlimited":
        return Verdict(PASS, "unlimited")
    if not found[1].isdecimal():
        raise Skipped(f"/proc/self/limits says {found[1]}", "ulimit -l")
    mib, wanted = int(found[1]) >> 20, host.wanted
    if wanted.vfio and mib < wanted.memory_mib and (wanted.rootless or host.uid != 0):
        return Verdict(
            WARN,
            f"{mib} MiB for this user, but a guest with a passed-through device locks {wanted.memory_mib} MiB",
            "the container manager's service needs LimitMEMLOCK=infinity (sudo systemctl edit containerd)",
        )
    return Verdict(PASS, f"{mib} MiB for this user; root has no limit")


CHECKS = (
    HostCheck(
        "memory",
        "memory",
        memory,
        "Each sandbox is a VM with memory of its own.",
        "memory",
        (_MEMINFO, "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        "set default_memory to less",
    ),
    HostCheck(
        "huge-pages",
        "huge pages",
        huge_pages,
        "Guests that are made of them do not start when too few are free.",
        "memory",
        (f"{_HUGE_FOLDER}/hugepages-SIZE/{{nr,free,resv}}_hugepages", "/proc/self/mounts"),
        "sudo sysctl vm.nr_hugepages=1024",
    ),
    HostCheck(
        "memory-overcommit",
        "memory accounting",
        overcommit,
        "With strict accounting a guest's whole memory counts at its start, used or not.",
        "memory",
        ("/proc/sys/vm/overcommit_memory", _MEMINFO),
        "sudo sysctl vm.overcommit_memory=0",
    ),
    HostCheck(
        "shared-memory",
        "shared memory",
        shared_memory,
        "Kata's QEMU keeps the memory of guests there that use virtio-fs; a guest dies when it is full.",
        "memory",
        ("/proc/self/mounts", _MEMINFO),
        "sudo mount -o remount,size=4g /dev/shm",
    ),
    HostCheck(
        "locked-memory",
        "locked memory",
        locked,
        "A guest with a passed-through device has all its memory locked; its VMM must be allowed to.",
        "memory",
        ("/proc/self/limits",),
        "sudo systemctl edit containerd, with LimitMEMLOCK=infinity",
    ),
)
