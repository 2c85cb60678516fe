"""How large the parts of a set are: its files, what lies in the image, what the kernel's features take."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ToolError
from ..image.filesystem import DamagedError, walk
from ..image.layout import layout_of
from ..image.mbr import SIZE
from ..image.readback import reader_of
from ..image.verity import parse
from ..resources import resource
from ..vm.built_set import BuiltSet

_SHOWN = 12  # files of the image named one by one
_KINDS = {
    "kernel": "kernel",
    "bzimage": "kernel, compressed",
    "image": "image",
    "initrd": "initrd",
    "extension": "extension image",
    "wrapper": "wrapper",
}


def artifact_sizes(built: BuiltSet) -> list[dict[str, Any]]:
    """``[{"what", "path", "bytes", "allocated"}]``, the largest first; ``allocated``: as it lies on the disk."""
    found = []
    for entry in built.manifest.get("artifacts", ()):
        kind = _KINDS.get(entry.get("role"))
        if kind is None:
            continue
        try:
            info = (built.folder / entry["path"]).stat()
        except OSError:
            continue  # the proof's digests say so
        found.append({"what": kind, "path": entry["path"], "bytes": info.st_size, "allocated": info.st_blocks * 512})
    return sorted(found, key=lambda each: (-each["allocated"], each["path"]))


def image_contents(built: BuiltSet) -> list[dict[str, Any]]:
    """``[{"path", "bytes"}]`` of the image's largest files, and one line for the rest; empty without an image.

    Raises ToolError when the image is damaged.
    """
    image = built.image
    if image is None:
        return []
    try:
        with image.path.open("rb") as stream:
            fd = stream.fileno()
            blocks = parse(image.verity).data_blocks if image.verity else None
            layout = layout_of(os.fstat(fd).st_size, image.dax, os.pread(fd, SIZE, 0), blocks)
            reader = reader_of(image.rootfs_type, fd, layout)
            # A file with many names, such as busybox, is one file.
            named: dict[int, tuple[str, int]] = {}
            for path, inode in walk(reader):
                if stat.S_ISREG(inode.mode):
                    here = "/" + path.decode(errors="replace")
                    known = named.get(inode.number, (here, inode.size))
                    named[inode.number] = (min(known[0], here, key=_plain), inode.size)
            sizes = dict(named.values())
    except (OSError, DamagedError, ValueError) as error:
        raise ToolError(f"cannot read {image.path.name}: {error}") from error
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    found = [{"path": path, "bytes": size} for path, size in ordered[:_SHOWN] if size]
    rest = ordered[len(found) :]
    if rest:
        found.append({"path": f"{len(rest)} more files", "bytes": sum(size for _, size in rest)})
    return found


def feature_costs(features: Iterable[str]) -> dict[str, Any] | None:
    """What was measured of these kernel features: ``{"kernel", "profile", "features": [...]}``; None: of none.

    The figures are the project's own, taken with one kernel by leaving out (or adding) a feature; see
    docs/kernel-cost.md.
    """
    measured = json.loads(resource("kernel-configs", "kernel-cost.json").read_bytes())
    wanted = set(features)
    rows = [_cost(row) for row in measured["features"] if row["feature"] in wanted and row["cost"]]
    if not rows:
        return None
    return {
        "kernel": measured["kernel"],
        "profile": measured["profile"],
        "features": sorted(rows, key=lambda row: -row["vmlinux"]),
    }


def _plain(path: str) -> tuple[bool, str]:
    """Which of a file's names to show: the program's own before the applets' ones."""
    return not path.endswith("/busybox"), path


def _cost(row: Mapping[str, Any]) -> dict[str, Any]:
    cost = row["cost"]
    kept = {name: cost.get(name) for name in ("vmlinux", "boot_minstr", "overhead_mib")}
    return {"feature": row["feature"], **kept}


def kernel_features(folder: Path) -> list[str]:
    """The kernel's features as the set records them; empty for a kernel that others built."""
    try:
        return list(json.loads((folder / "kernel-config.json").read_bytes()).get("features", []))
    except (OSError, ValueError):
        return []
