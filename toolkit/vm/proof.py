"""The proof of a built set: a table of named checks, each with a verdict and its evidence.

A check that needs a guest that did not come up is skipped, never passed.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import islice

from ..checks import FAIL, PASS, Check, Skipped, Verdict
from ..image import mbr, verity
from ..image.layout import layout_of
from ..image.readback import image_problems
from ..pipeline.files import sha256_of
from ..rootfs.agent_file import AgentFile
from . import budgets
from .built_set import MANIFEST
from .evidence import Evidence, text
from .extensions import extension_images

ESSENTIAL = ("boots", "container-output")
"""What a proof cannot do without: a set of which these were not checked is not proved."""

_SHOWN = 5  # files named in one detail
_EXIT_CODES = (0, 1, 3, 42, 255)
_KILLED = 128 + 9
_ROOT_MOUNT = "/proc/mounts"
_CONFIG = "/proc/config.gz"
_REBUILD = "build the set again, or find out what changed it"


def digests(evidence: Evidence) -> Verdict:
    """Every file is the one recorded, none is missing, none is there that was not built."""
    built = evidence.built
    wrong = []
    for file in built.files:
        path = built.folder / file.path
        try:
            if path.stat().st_size != file.size:
                wrong.append(f"{file.path}: {path.stat().st_size} bytes, recorded {file.size}")
            elif (found := sha256_of(path)) != file.sha256:
                wrong.append(f"{file.path}: sha256 {found[:16]}…, recorded {file.sha256[:16]}…")
        except FileNotFoundError:
            wrong.append(f"{file.path}: missing")
        except OSError as error:
            wrong.append(f"{file.path}: {error.strerror}")
    known = {file.path for file in built.files} | {MANIFEST}
    extra = sorted(
        str(path.relative_to(built.folder))
        for path in built.folder.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and str(path.relative_to(built.folder)) not in known
    )
    wrong += [f"{path}: not in the manifest" for path in extra]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        return Verdict(FAIL, "; ".join(wrong[:_SHOWN]) + more, _REBUILD)
    return Verdict(PASS, f"{len(built.files)} files")


def boots(evidence: Evidence) -> Verdict:
    """The kernel boots and the agent answers its health check."""
    session = evidence.boot()
    evidence.measurements["accel"] = session.accel
    evidence.measurements["seconds_to_agent"] = round(session.seconds_to_agent, 3)
    return Verdict(PASS, f"the agent answered after {session.seconds_to_agent:.2f} s ({session.accel})")


def root_dax(evidence: Evidence) -> Verdict:
    """The root file system is mapped from the host's page cache, not copied into the guest's."""
    guest = evidence.configuration()
    if guest.boot != "image":
        raise Skipped("the set boots an initrd, which has no root device")
    if guest.verity:
        raise Skipped("the root is checked by dm-verity, which has no DAX")
    if guest.rootfs_driver != "nvdimm":
        raise Skipped("the set's configuration attaches the image as a block device, which has no DAX")
    at = evidence.guest_root()
    # The last line for a path is the mount on top.
    mounts = [line.split() for line in evidence.read(_ROOT_MOUNT).decode(errors="replace").splitlines()]
    root = next((m for m in reversed(mounts) if len(m) > 3 and m[1] == at), None)
    if root is None:
        return Verdict(FAIL, "the container's /proc/mounts does not name the guest's root")
    shown = f"{root[0]} {root[2]} {root[3]}"
    options = root[3].split(",")
    if "dax" in options or "dax=always" in options:
        return Verdict(PASS, shown)
    return Verdict(
        FAIL,
        f"mounted without dax: {shown}",
        "the image needs the DAX header and a 4 KiB block size; the kernel FS_DAX, BLK_DEV_PMEM and NVDIMM_PFN",
    )


def root_verity(evidence: Evidence) -> Verdict:
    """The digests on the disk are those of the file system, and the guest's root is the device that checks them."""
    guest, image = evidence.configuration(), evidence.built.image
    if not guest.verity or image is None:
        raise Skipped("the set has no dm-verity")
    try:
        described = verity.parse(guest.verity)
        with image.path.open("rb") as stream:
            fd = stream.fileno()
            frame = layout_of(os.fstat(fd).st_size, image.dax, os.pread(fd, mbr.SIZE, 0), described.data_blocks)
            right = verity.holds(fd, frame.start, frame.hash_start, described)
    except (OSError, ValueError) as error:
        return Verdict(FAIL, f"{image.path.name}: {error}", _REBUILD)
    if not right:
        return Verdict(FAIL, f"the digests in {image.path.name} are not those of its file system", _REBUILD)
    at = evidence.guest_root()
    mounts = [line.split() for line in evidence.read("/proc/self/mountinfo").decode(errors="replace").splitlines()]
    root = next((m for m in reversed(mounts) if len(m) > 4 and m[4] == at), None)
    device = text(evidence.read("/sys/block/dm-0/dev"))
    if root is None or root[2] != device:
        return Verdict(FAIL, f"the root is on the device {root[2] if root else 'unknown'}, not on dm-0 ({device})")
    return Verdict(PASS, f"root hash {described.root_hash[:16]}…, the root is on dm-0 ({device})")


def kernel_config(evidence: Evidence) -> Verdict:
    """/proc/config.gz, unpacked, equals the configuration that was recorded, byte for byte."""
    recorded = evidence.configuration().kernel_config
    if recorded is None:
        raise Skipped("the set records no kernel configuration")
    if recorded.is_file() and b"\nCONFIG_IKCONFIG_PROC=y\n" not in recorded.read_bytes():
        raise Skipped(f"this kernel was built without {_CONFIG}, so it does not tell")
    packed = evidence.read(_CONFIG)
    try:
        inside = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        return Verdict(FAIL, f"{_CONFIG} is not gzip: {error}")
    try:
        outside = recorded.read_bytes()
    except OSError as error:
        return Verdict(FAIL, f"{recorded.name}: {error.strerror}", _REBUILD)
    if inside == outside:
        return Verdict(PASS, f"{len(inside)} bytes equal")
    differing = set(inside.splitlines()) ^ set(outside.splitlines())
    return Verdict(
        FAIL,
        f"{_CONFIG} is not the recorded configuration: {len(differing)} lines differ, "
        f"such as {text(min(differing, default=b'the order'))}",
        _REBUILD,
    )


def agent_digest(evidence: Evidence) -> Verdict:
    """The agent inside the guest is the one recorded."""
    guest, image = evidence.built.guest, evidence.built.image
    agent = guest.agent if guest else image.agent if image else None
    if agent is None or agent.sha256 is None:
        raise Skipped("the set records no agent digest")
    try:
        root = evidence.guest_root().rstrip("/")
        done = evidence.run("sha256sum", f"{root}/{agent.path.lstrip('/')}")
    except Skipped:
        # Nothing in the guest can tell; the image itself can.
        if guest and guest.boot != "image":
            raise
        verdict = layout(evidence)
        return Verdict(verdict.status, f"read from the image: {verdict.detail}", verdict.remedy)
    found = text(done.stdout).split(" ")[0]
    if done.status:
        return Verdict(FAIL, f"reading {agent.path} in a container failed: {text(done.stderr)}")
    if found == agent.sha256:
        return Verdict(PASS, f"{agent.path} {found[:16]}…, as seen by a container")
    return Verdict(FAIL, f"{agent.path} is {found[:16]}…, recorded {agent.sha256[:16]}…", _REBUILD)


def layout(evidence: Evidence) -> Verdict:
    """The image's partition tables, DAX header and file system are what Kata needs, and the agent is in it."""
    image = evidence.built.image
    if image is None or image.rootfs_type not in ("ext4", "erofs"):
        raise Skipped("the set has no image whose file system we read")
    if image.agent is None or image.agent.sha256 is None:
        raise Skipped("the set records no agent digest")
    try:
        with image.path.open("rb") as stream:
            size, table = os.fstat(stream.fileno()).st_size, stream.read(mbr.SIZE)
    except OSError as error:
        return Verdict(FAIL, f"{image.path.name}: {error.strerror}", _REBUILD)
    frame = layout_of(size, image.dax, table, verity.parse(image.verity).data_blocks if image.verity else None)
    agent = AgentFile(image.agent.path.lstrip("/").encode(), image.agent.sha256)
    problems = list(islice(image_problems(image.path, frame, image.rootfs_type, None, agent), _SHOWN))
    if problems:
        return Verdict(FAIL, "; ".join(problems), _REBUILD)
    return Verdict(PASS, f"{'with' if image.dax else 'without'} the DAX header, {size >> 20} MiB, the agent in place")


def container_output(evidence: Evidence) -> Verdict:
    """A container's first process writes to both its streams, and both come back whole."""
    done = evidence.run("sh", "-c", "echo out; echo err >&2")
    if (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 0):
        return Verdict(PASS, f"stdout and stderr came back{evidence.whose_tools}")
    return Verdict(FAIL, f"stdout {done.stdout[:40]!r}, stderr {done.stderr[:80]!r}, exit code {done.status}")


def container_exit_codes(evidence: Evidence) -> Verdict:
    """Exit codes come back as they are; a death by signal as 128 + its number."""
    wrong = []
    for code in _EXIT_CODES:
        done = evidence.run("sh", "-c", f"exit {code}")
        if done.status != code:
            wrong.append(f"`exit {code}` gave {done.status}")
    # From outside: a container's first process does not die of what it sends itself.
    killed = evidence.run("sleep", "1000", started=lambda program: program.signal(9)).status
    if killed != _KILLED:
        wrong.append(f"death by SIGKILL gave {killed}")
    if wrong:
        return Verdict(FAIL, "; ".join(wrong))
    return Verdict(PASS, ", ".join(str(code) for code in (*_EXIT_CODES, _KILLED)))


def container_stdin(evidence: Evidence) -> Verdict:
    """What is written to a container's stdin comes back through it, and its end is seen."""
    data = bytes(range(256)) * 256
    done = evidence.run("cat", stdin=data)
    if done.status == 0 and done.stdout == data:
        return Verdict(PASS, f"{len(data)} bytes there and back")
    return Verdict(FAIL, f"{len(done.stdout)} of {len(data)} bytes came back, exit code {done.status}")


def power_off(evidence: Evidence) -> Verdict:
    """Destroying the sandbox switches the guest off; QEMU ends by itself with 0, and no panic is on the console."""
    end = evidence.guest().power_off()
    return Verdict(PASS if end.clean else FAIL, end.detail)


CHECKS: tuple[Check[Evidence], ...] = (
    Check("digests", "every file is the one recorded", digests),
    Check("layout", "the image is laid out as Kata needs it", layout),
    Check("boots", "the guest boots and its agent answers", boots),
    Check("root-dax", "the root file system is mapped with DAX", root_dax),
    Check("root-verity", "every block of the root is checked by dm-verity", root_verity),
    Check("extensions", "every extension image is mounted, and checked by dm-verity", extension_images),
    Check("kernel-config", "the kernel inside has the recorded configuration", kernel_config),
    Check("agent-digest", "the agent inside is the recorded one", agent_digest),
    Check("container-output", "a container's output comes back", container_output),
    Check("container-exit-codes", "a container's exit code comes back", container_exit_codes),
    Check("container-stdin", "a container's input arrives", container_stdin),
    Check("power-off", "the guest powers off cleanly", power_off),
    *budgets.CHECKS,
)


def prove(
    evidence: Evidence, *, starting: Callable[[Check[Evidence]], None]
) -> Iterator[tuple[Check[Evidence], Verdict]]:
    """Make every check of the table in order, each reported as soon as it is known; ``starting`` is told before."""
    for check in CHECKS:
        starting(check)
        yield check, check.verdict(evidence)
