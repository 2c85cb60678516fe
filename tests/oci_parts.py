"""Container images for tests: layouts made by hand, and what is in them once their layers are applied."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from kata_toolkit.archive import plain_tar
from kata_toolkit.rootfs.oci_image import find_image, image_tree
from kata_toolkit.rootfs.tree import Kind, read_padded

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
Layer = dict[str, Any]  # path → bytes of a file, None for a folder, "-> x" for a symbolic link, "= x" for a hard one


def layer_tar(files: Layer) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in files.items():
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if what is None else 0o644
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                info.type = tarfile.SYMTYPE if what.startswith("-> ") else tarfile.LNKTYPE
                info.linkname = what.split(" ", 1)[1]
            else:
                info.size = len(what)
            tar.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


class Layout:
    """An OCI image layout under construction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifests: list[dict[str, Any]] = []
        (folder / "blobs/sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media: str = "", **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data), **more}

    def image(self, *layers: Layer, arch: str = "amd64", tag: str | None = None, **more: Any) -> dict[str, Any]:
        tars = [layer_tar(files) for files in layers]
        diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
        config = {"architecture": arch, "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [self.blob(gzip.compress(tar, mtime=0), LAYER) for tar in tars],
        }
        if tag:
            more["annotations"] = {"org.opencontainers.image.ref.name": tag}
        described = self.blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json", **more)
        self.manifests.append(described)
        return described

    def done(self) -> Path:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.manifests}))
        return self.folder


def files_of(folder: Path, scratch: Path, **options: Any) -> dict[bytes, bytes | None]:
    """Path → bytes of a file, its target for a link, None for a folder."""
    scratch.mkdir(exist_ok=True)
    image = find_image(folder, **{"tag": None, "arch": "amd64", **options})
    with image_tree(image, scratch, plain_tar) as tree:
        return {
            path: read_padded(n.content, 0, n.size) if n.content else n.target if n.kind is Kind.SYMLINK else None
            for path, n in tree.walk()
            if path
        }
