"""The proof of extension images: their digests on the host, and in the guest the mount, its device and its files."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from ...image import mbr, verity
from ...image.erofs_read import ErofsReader
from ...image.filesystem import DamagedError, walk
from ...image.layout import layout_of
from ..built_set import ExtensionImage
from ..evidence import Evidence, text
from ..oci import Mount

_IN_GUEST = "/run/kata-extensions"
_IN_CONTAINER = "/run/extension"  # on the tmpfs that every container has there
_READ_BYTES = 16 << 20  # of each extension, read in the guest and compared
_READ_FILES = 200
_REBUILD = "build the set again, or find out what changed it"


def extension_images(evidence: Evidence) -> Verdict:
    """Each is what it was built as, and the guest has it mounted through dm-verity with the same bytes."""
    images = evidence.configuration().extensions
    if not images:
        raise Skipped("the set has no extension images")
    said = []
    for image in images:
        try:
            expected = _checked_files(image)
        except (OSError, ValueError, DamagedError) as error:
            return Verdict(FAIL, f"{image.path.name}: {error}", _REBUILD)
        wrong = _problem_in_guest(evidence, image, expected)
        if wrong:
            return Verdict(FAIL, f"extension {image.name}: {wrong}", _REBUILD)
        said.append(f"{image.name} ({len(expected)} files read)")
    return Verdict(PASS, f"{', '.join(said)} below {_IN_GUEST}, each on its dm-verity device")


def _checked_files(image: ExtensionImage) -> dict[str, str]:
    """Path → sha256 of files to be read in the guest. Raises ValueError when the digests do not fit the image."""
    described = verity.parse(image.verity)
    with image.path.open("rb") as stream:
        fd = stream.fileno()
        frame = layout_of(os.fstat(fd).st_size, False, os.pread(fd, mbr.SIZE, 0), described.data_blocks)
        if not verity.holds(fd, frame.start, frame.hash_start, described):
            raise ValueError("its digests are not those of its file system")
        reader = ErofsReader(fd, frame.start, frame.filesystem_size)
        return dict(islice(_digests(reader), _READ_FILES))


def _digests(reader: ErofsReader) -> Iterator[tuple[str, str]]:
    left = _READ_BYTES
    for path, inode in walk(reader):
        name = os.fsdecode(path)
        # sha256sum writes names with such characters in another form.
        if not stat.S_ISREG(inode.mode) or inode.size > left or not name.isprintable() or "\\" in name:
            continue
        left -= inode.size
        yield name, hashlib.sha256(reader.read(inode, 0, inode.size)).hexdigest()


def _problem_in_guest(evidence: Evidence, image: ExtensionImage, expected: Mapping[str, str]) -> str | None:
    """What is wrong with the extension as a container of the guest sees it, or None."""
    mount = Mount(_IN_CONTAINER, f"{_IN_GUEST}/{image.name}", "bind", ("bind", "ro"))
    seen = evidence.run("cat", "/proc/self/mountinfo", mounts=(mount,))
    lines = [line.split() for line in seen.stdout.decode(errors="replace").splitlines()]
    found = next((line for line in reversed(lines) if len(line) > 4 and line[4] == _IN_CONTAINER), None)
    if seen.status or found is None:
        return f"it cannot be seen in the guest: {text(seen.stderr)}"
    kind = found[found.index("-") + 1]
    name = evidence.run("cat", f"/sys/dev/block/{found[2]}/dm/name", mounts=(mount,))
    if kind != "erofs" or name.status or text(name.stdout) != f"extension-{image.name}":
        return f"it is mounted as {kind} from {found[2]}, which is not the dm-verity device extension-{image.name}"
    paths = [str(Path(_IN_CONTAINER, path)) for path in expected]
    if not paths:
        return None
    read = evidence.run("sha256sum", *paths, mounts=(mount,))
    if read.status:
        return f"reading its files failed: {text(read.stderr)}"
    digests = {line[66:]: line[:64] for line in read.stdout.decode(errors="surrogateescape").splitlines()}
    wrong = [path for path, digest in expected.items() if digests.get(f"{_IN_CONTAINER}/{path}") != digest]
    return f"{wrong[0]} has other bytes in the guest" if wrong else None


CHECKS: tuple[Check[Evidence], ...] = (
    Check("extensions", "every extension image is mounted, and checked by dm-verity", extension_images),
)
