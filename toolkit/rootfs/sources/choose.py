"""The source that a part of a spec asks for; only its own code is loaded."""

from __future__ import annotations

from ...spec.model import DebianRootfs, FolderRootfs, OciRootfs, Rootfs, TarballRootfs
from .source import Source


def source_of(rootfs: Rootfs, arch: str, *, fetched: str = "rootfs", foreign: bool = False) -> Source:
    """``arch``: the guest's. ``fetched``: what a tar by url is called in the sources stage. ``foreign``: busybox comes
    from the busybox stage, not from this machine."""
    if isinstance(rootfs, FolderRootfs):
        from .folder import FolderSource

        return FolderSource(rootfs)
    if isinstance(rootfs, OciRootfs):
        from .oci import OciSource

        return OciSource(rootfs, arch)
    if isinstance(rootfs, DebianRootfs):
        from .debian import DebianSource

        return DebianSource(rootfs)
    if isinstance(rootfs, TarballRootfs):
        from .tarball import TarballSource

        return TarballSource(rootfs, fetched=fetched)
    from .minimal import MinimalSource

    return MinimalSource(rootfs, foreign)
