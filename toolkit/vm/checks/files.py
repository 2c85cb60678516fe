"""The files of a set: each is the one recorded, and the image is laid out as Kata needs it. Nothing is booted."""

from __future__ import annotations

import os
from itertools import islice

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from ...image import mbr, verity
from ...image.layout import layout_of
from ...image.readback import image_problems
from ...pipeline.files import sha256_of
from ...rootfs.agent_file import AgentFile
from ..built_set import MANIFEST
from ..evidence import Evidence

_SHOWN = 5  # files named in one detail
REBUILD = "build the set again, or find out what changed it"


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
        return Verdict(FAIL, "; ".join(wrong[:_SHOWN]) + more, REBUILD)
    return Verdict(PASS, f"{len(built.files)} files")


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
        return Verdict(FAIL, f"{image.path.name}: {error.strerror}", REBUILD)
    frame = layout_of(size, image.dax, table, verity.parse(image.verity).data_blocks if image.verity else None)
    agent = AgentFile(image.agent.path.lstrip("/").encode(), image.agent.sha256)
    problems = list(islice(image_problems(image.path, frame, image.rootfs_type, None, agent), _SHOWN))
    if problems:
        return Verdict(FAIL, "; ".join(problems), REBUILD)
    return Verdict(PASS, f"{'with' if image.dax else 'without'} the DAX header, {size >> 20} MiB, the agent in place")


CHECKS: tuple[Check[Evidence], ...] = (
    Check("digests", "every file is the one recorded", digests),
    Check("layout", "the image is laid out as Kata needs it", layout),
)
