"""What the root file system becomes: an image, an initrd; and the extension images beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import Where
from .rootfs import FolderRootfs, OciRootfs, TarballRootfs


@dataclass(frozen=True, slots=True)
class Image:
    """The root-file-system image. ``align_mib`` None: 2, or 128 where the set can hot-plug DIMMs.

    ``layout``: auto, packed or huge. ``size_mib`` None: as small as can be, with ``free_mib`` left free; ``size_where``
    is the size's place in the spec.
    """

    format: str = "ext4"
    dax: bool = True
    align_mib: int | None = None
    verity: bool = False
    layout: str = "auto"
    size_mib: int | None = None
    free_mib: int = 0
    compression: str = "none"  # none | lz4 | lz4hc | zstd
    size_where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Extension:
    """A further read-only file system, as an EROFS image with dm-verity. ``where``: its place in the spec."""

    name: str
    source: TarballRootfs | FolderRootfs | OciRootfs
    compression: str = "none"  # none | lz4 | lz4hc | zstd
    where: Where | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Initrd:
    """The root file system as a newc cpio."""

    enabled: bool = False
    compression: str = "gzip"  # gzip | bzip2 | lzma | xz | lzo | lz4 | zstd | none
