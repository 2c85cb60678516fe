"""The guest boots, from each kind of root: as its configuration says, and in the other forms its kernel promises."""

from __future__ import annotations

import os
from collections.abc import Callable

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from ...errors import KataToolkitError
from ...image import mbr, verity
from ...image.layout import layout_of
from ..evidence import MAIN, Evidence, text
from ..inside import Inside
from .files import REBUILD

_MOUNTS = "/proc/self/mountinfo"
_DAX_WORDS = ("dax", "dax=always")
_REFUSED = "is corrupted"  # what dm-verity says of a block: drivers/md/dm-verity-target.c


def boots(evidence: Evidence) -> Verdict:
    """The kernel boots and the agent answers its health check."""
    session = evidence.boot()
    evidence.measurements["accel"] = session.accel
    seen = session.vmm.signs
    marks = {"console": seen.console_opened, "agent_port": seen.agent_opened, "agent": session.seconds_to_agent}
    evidence.measurements.update({f"seconds_to_{name}": round(at, 3) for name, at in marks.items() if at is not None})
    return Verdict(PASS, f"the agent answered after {session.seconds_to_agent:.2f} s ({session.accel})")


def _mount(inside: Inside) -> tuple[str, str, str, str] | None:
    """The guest's root as a container sees it: device numbers, file system, source, all options."""
    # The last line for a path is the mount on top.
    lines = [line.split() for line in inside.read(_MOUNTS).decode(errors="replace").splitlines()]
    found = next((line for line in reversed(lines) if len(line) > 9 and line[4] == inside.root), None)
    if found is None:
        return None
    at = found.index("-")
    return found[2], found[at + 1], found[at + 2], f"{found[5]},{found[at + 3]}"


def _dax(inside: Inside) -> Verdict:
    mount = _mount(inside)
    if mount is None:
        return Verdict(FAIL, f"the container's {_MOUNTS} does not name the guest's root")
    shown = " ".join(mount[1:])
    if set(_DAX_WORDS) & set(mount[3].split(",")):
        return Verdict(PASS, shown)
    return Verdict(
        FAIL,
        f"mounted without dax: {shown}",
        "the image needs the DAX header and a 4 KiB block size; the kernel FS_DAX, BLK_DEV_PMEM and NVDIMM_PFN",
    )


def root_dax(evidence: Evidence) -> Verdict:
    """The root file system is mapped from the host's page cache, not copied into the guest's."""
    guest = evidence.configuration()
    if guest.boot != "image":
        raise Skipped("the set boots an initrd, which has no root device")
    if guest.verity:
        raise Skipped("the root is checked by dm-verity, which has no DAX")
    if guest.rootfs_driver != "nvdimm":
        raise Skipped("the set's configuration attaches the image as a block device, which has no DAX")
    return _dax(evidence.inside())


def _as_dax(kind: str) -> Callable[[Evidence], Verdict]:
    def check(evidence: Evidence) -> Verdict:
        guest = evidence.configuration()
        own = (guest.boot, guest.rootfs_type, guest.rootfs_driver) == ("image", kind, "nvdimm") and not guest.verity
        found = _dax(evidence.inside(MAIN if own else kind))
        return Verdict(found.status, f"{found.detail}; {'' if own else 'not '}the set's own image", found.remedy)

    check.__doc__ = f"The kernel boots the root file system as an image of {kind} on an NVDIMM, mapped with DAX."
    return check


def root_virtio_blk(evidence: Evidence) -> Verdict:
    """The image boots as a virtio-blk disk too, as on machines without NVDIMM."""
    inside = evidence.inside("virtio-blk")
    mount = _mount(inside)
    if mount is None:
        return Verdict(FAIL, f"the container's {_MOUNTS} does not name the guest's root")
    if evidence.configuration().verity:
        return Verdict(PASS, f"booted from the disk, {mount[1]} on {mount[2]}")
    device = text(inside.read("/sys/block/vda/vda1/dev"))
    if mount[0] != device:
        return Verdict(FAIL, f"the root is on the device {mount[0]}, not on vda1 ({device})")
    return Verdict(PASS, f"{mount[1]} on vda1 ({device}), {mount[3]}")


def root_initrd(evidence: Evidence) -> Verdict:
    """The root file system boots as an initrd: it is unpacked into memory, and needs no device."""
    guest = evidence.configuration()
    inside = evidence.inside(MAIN if guest.boot == "initrd" else "initrd")
    mount = _mount(inside)
    if mount is None:
        return Verdict(FAIL, f"the container's {_MOUNTS} does not name the guest's root")
    if mount[1] not in ("rootfs", "tmpfs", "ramfs"):
        return Verdict(FAIL, f"the root is {mount[1]} on {mount[2]}, not the initrd in memory")
    return Verdict(PASS, f"the root is {mount[1]}, in the guest's memory")


def root_verity(evidence: Evidence) -> Verdict:
    """Every block of the root is checked by dm-verity: the root is the device that does so. Of a set whose image has
    digests, these are those of its file system; else an image with digests is made of it."""
    guest, image = evidence.configuration(), evidence.built.image
    described = guest.verity
    if described and image is not None:
        try:
            parsed = verity.parse(described)
            with image.path.open("rb") as stream:
                fd = stream.fileno()
                frame = layout_of(os.fstat(fd).st_size, image.dax, os.pread(fd, mbr.SIZE, 0), parsed.data_blocks)
                right = verity.holds(fd, frame.start, frame.hash_start, parsed)
        except (OSError, ValueError) as error:
            return Verdict(FAIL, f"{image.path.name}: {error}", REBUILD)
        if not right:
            return Verdict(FAIL, f"the digests in {image.path.name} are not those of its file system", REBUILD)
    inside = evidence.inside(MAIN if described else "verity")
    mount, device = _mount(inside), text(inside.read("/sys/block/dm-0/dev"))
    if mount is None or mount[0] != device:
        return Verdict(FAIL, f"the root is on the device {mount[0] if mount else 'unknown'}, not on dm-0 ({device})")
    whose = f"root hash {described[10:26]}…" if described else "an image with digests made of the set's"
    return Verdict(PASS, f"{whose}, the root is on dm-0 ({device})")


def tampered(evidence: Evidence) -> Verdict:
    """One byte of the agent's program is changed in a copy of the image, behind dm-verity's back: the kernel must
    refuse to read it, and say so. A guest that fails to come up for another reason proves nothing."""
    evidence.inside(MAIN if evidence.configuration().verity else "verity")  # unchanged, it boots
    try:
        evidence.boot("verity-tampered")
    except KataToolkitError as error:
        said = error.problems[0].message
    else:
        return Verdict(FAIL, "the guest came up with a changed byte in its agent")
    line = next((line.strip() for line in said.splitlines() if "verity" in line and _REFUSED in line), None)
    if line is None:
        return Verdict(FAIL, f"the guest did not come up, but not because dm-verity refused the block: {said[:300]}")
    return Verdict(PASS, f"refused: {line}")


CHECKS: tuple[Check[Evidence], ...] = (
    Check("boots", "the guest boots and its agent answers", boots),
    Check("root-dax", "the root file system is mapped with DAX", root_dax),
    Check("root-verity", "every block of the root is checked by dm-verity", root_verity),
)
FORMS: tuple[Check[Evidence], ...] = (
    Check("root-ext4", "the root works as ext4 with DAX", _as_dax("ext4")),
    Check("root-erofs", "the root works as EROFS with DAX", _as_dax("erofs")),
    Check("root-virtio-blk", "the root works as a virtio-blk disk", root_virtio_blk),
    Check("root-initrd", "the root works as an initrd", root_initrd),
    Check("root-verity-tampered", "a changed byte in the root is refused", tampered),
)
"""Each boots a guest of its own."""
