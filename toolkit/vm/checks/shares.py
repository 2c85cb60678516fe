"""Folders of the host in a guest, by virtio-fs and by 9p: read, written, read back, and owners kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from hashlib import sha256

from ...checks import FAIL, PASS, Check, Verdict
from .. import agent_pb2 as pb
from .. import sharing
from ..evidence import Evidence, text
from ..inside import Inside
from ..oci import Mount

_GUEST = "sharing"
_AT = "/run/share"
_OWNER = (1234, 1235)
_MANY = 200_000  # lines, 1.3 MiB


def _script() -> str:
    own = f"chown {_OWNER[0]}:{_OWNER[1]} {_AT}/from-guest; " if os.geteuid() == 0 else ""
    return (
        f"cat {_AT}/{sharing.FROM_HOST} && seq 1 {_MANY} >{_AT}/from-guest && chmod 640 {_AT}/from-guest && {own}"
        f"mkdir {_AT}/folder && mv {_AT}/from-guest {_AT}/folder/ && ln -s folder/from-guest {_AT}/link && "
        f"sha256sum <{_AT}/link && stat -c '%a %u %g' {_AT}/folder/from-guest"
    )


def _way(way: str) -> Callable[[Evidence], Verdict]:
    def check(evidence: Evidence) -> Verdict:
        inside = evidence.inside(_GUEST)
        shares = evidence.plan(_GUEST).shares
        if way in shares.missing:
            raise shares.missing[way]
        folder = shares.folders[way]
        expected = "".join(f"{number}\n" for number in range(1, _MANY + 1)).encode()
        lines = _in_container(inside, way, _script())
        uid, gid = _OWNER if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        seen = f"640 {uid} {gid}" if os.geteuid() == 0 else None
        if lines[0].encode() + b"\n" != sharing.FROM_HOST_TEXT:
            return Verdict(FAIL, f"the container reads {lines[0]!r} where the host wrote another text")
        if lines[1].split(" ")[0] != sha256(expected).hexdigest():
            return Verdict(FAIL, "the container does not read back what it wrote")
        if seen and lines[2] != seen:
            return Verdict(FAIL, f"mode and owner in the container are {lines[2]}, expected {seen}")
        path = folder / "folder" / "from-guest"
        try:
            status, written = path.stat(), path.read_bytes()
        except OSError as error:
            return Verdict(FAIL, f"the host does not find what the container wrote: {error.strerror}")
        found = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        if written != expected:
            return Verdict(FAIL, "the host finds other bytes than the container wrote")
        if found != (0o640, uid, gid):
            owners = f"{found[0]:o} {found[1]}:{found[2]}"
            return Verdict(FAIL, f"mode and owner on the host are {owners}, not 640 {uid}:{gid}")
        (folder / "later").write_text("later\n")
        if _in_container(inside, way, f"cat {_AT}/later") != ["later"]:
            return Verdict(FAIL, "what the host wrote later is not seen in the guest")
        owner = f"owner {uid}:{gid} kept" if seen else "without root the host cannot give files to others"
        return Verdict(PASS, f"{len(expected)} bytes written and read back, found on the host, {owner}")

    check.__doc__ = (
        f"A folder of the host is mounted in the guest by {way}: what the host wrote is read, what a container writes "
        "is read back and found on the host with its mode and owner, folders and links work."
    )
    return check


def _in_container(inside: Inside, way: str, script: str) -> list[str]:
    kind, options = sharing.FILE_SYSTEMS[way]
    at = f"/run/kata-containers/shared/proof-{way}"
    storage = pb.Storage(driver=way, source=sharing.TAGS[way], fstype=kind, options=options, mount_point=at)
    lines = inside.lines(script, storages=(storage,), mounts=(Mount(_AT, at, "bind", ("rbind", "rw")),))
    return [text(line.encode()) for line in lines]


CHECKS: tuple[Check[Evidence], ...] = (
    Check("share-virtio-fs", "a folder is shared by virtio-fs", _way(sharing.VIRTIO_FS)),
    Check("share-9p", "a folder is shared by 9p", _way(sharing.NINE_P)),
)
