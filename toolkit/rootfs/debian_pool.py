"""Packages by digest: fetched into the pool of downloads, and laid out as the repository that mmdebstrap reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import run
from ..download import Pool, copy_file
from ..dpkg import control_values
from ..errors import InputError, ToolError
from ..pipeline.stage import Missing
from .debian_apt import PrivateApt

Package = Mapping[str, Any]
"""One of the packages that `PrivateApt.resolve` answers."""

_BATCH = 40  # packages in one call of apt: enough for its connections to be kept, few enough to tell how far it is
Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and words."""


def local_file(package: Package) -> Path | None:
    """The package's file, where its mirror is a folder of this machine."""
    scheme, _, path = str(package["uri"]).partition(":")
    return Path("/" + path.lstrip("/")) if scheme in ("file", "copy") else None


def missing(packages: Sequence[Package], pool: Pool) -> list[Missing]:
    """What would have to be fetched over the network."""
    return [
        Missing(f"{p['name']} {p['version']} ({p['architecture']})", p["sha256"], p["size"])
        for p in packages
        if local_file(p) is None and not pool.has(p["sha256"])
    ]


def fetch(
    packages: Sequence[Package], pool: Pool, apt: PrivateApt, scratch: Path, log: run.Log, tell: Progress
) -> None:
    """Bring every package into the pool, each held to its digest. Raises InputError, ToolError."""
    wanted = [package for package in packages if pool.find(package["sha256"]) is None]
    total, done, count = sum(package["size"] for package in wanted), 0, 0
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        remote = [(p["uri"], scratch / p["sha256"], p["sha256"]) for p in batch if local_file(p) is None]
        if remote:
            apt.fetch(remote, log)
        for package in batch:
            source = local_file(package) or scratch / package["sha256"]
            pool.bring(package["sha256"], lambda part, source=source: copy_file(source, part), package["uri"])  # type: ignore[misc]
            done, count = done + package["size"], count + 1
            tell(done, total, f"{count} of {len(wanted)} packages")
        for _, file, _ in remote:
            file.unlink(missing_ok=True)


def repository(packages: Sequence[Package], pool: Pool, folder: Path) -> list[dict[str, str]]:
    """Lay the packages out with an index of their own; returns the control fields of each, in the order given.

    Raises InputError when a package is not what it was said to be, ToolError when the disk does not play along.
    """
    stanzas, found = [], []
    (folder / "pool").mkdir(parents=True)
    for package in packages:
        digest = package["sha256"]
        target = folder / "pool" / f"{digest}.deb"
        copy_file(pool.folder / digest, target)
        target.chmod(0o644)  # apt reads it as one of the namespace's other users
        text = _control(target, package)
        fields = control_values(text)
        said = (fields.get("Package"), fields.get("Version"), fields.get("Architecture"))
        if said != (package["name"], package["version"], package["architecture"]):
            raise InputError(f"{package['uri']} holds {' '.join(map(str, said))}, which is another package")
        size = target.stat().st_size
        if size != package["size"]:
            raise InputError(
                f"{package['uri']} has {size} bytes, not {package['size']}",
                hint="its digest is the right one, so a lock file that says so was edited: lock again",
            )
        stanzas.append(f"{text.strip()}\nFilename: ./pool/{digest}.deb\nSize: {package['size']}\nSHA256: {digest}\n")
        found.append(fields)
    index = folder / "Packages"
    try:
        index.write_text("\n".join(stanzas), encoding="utf-8", errors="surrogateescape")
        for path in (folder, folder / "pool"):
            path.chmod(0o755)
        index.chmod(0o644)
    except OSError as error:
        raise ToolError(f"cannot write {index}: {error.strerror}") from error
    return found


def _control(file: Path, package: Package) -> str:
    done = run.run(["dpkg-deb", "--field", str(file)], check=False)
    if done.status:
        raise InputError(f"{package['uri']} is no Debian package: {done.output.strip()[:200]}")
    return done.output
