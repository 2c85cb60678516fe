"""Every source in every format, built twice by the real program in two worlds that share nothing: the same bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NOBODY
from worlds import IMAGES, INITRDS, World, built

AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
IN_2031 = ("faketime", "-f", "@2031-05-06 07:08:09 x3")
OTHER_HOST = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
ONE_CORE = ("taskset", "-c", "0")
ODD_ENVIRONMENT = {
    "TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "USER": "somebody",
    "SOURCE_DATE_EPOCH": "86400", "PYTHONHASHSEED": "7", "PYTHONOPTIMIZE": "2", "E2FSPROGS_FAKE_TIME": "12345",
    "GZIP": "-1", "XZ_DEFAULTS": "-0 -T4", "XZ_OPT": "-0", "ZSTD_CLEVEL": "3", "ZSTD_NBTHREADS": "4", "LZOP": "-1",
    "BZIP2": "-1", "MKE2FS_CONFIG": "/nonexistent", "POSIXLY_CORRECT": "1", "CFLAGS": "-O0", "MAKEFLAGS": "-j9",
}  # fmt: skip

ROOT = os.geteuid() == 0
WORLDS: dict[str, World] = {
    "another clock": World(IN_2031),
    "another host name": World(OTHER_HOST if ROOT else ()),
    "another environment": World(environment=ODD_ENVIRONMENT),
    "a tight umask": World(umask=0o077),
    "a loose umask": World(umask=0),
    "another user": World(AS_NOBODY, owner=NOBODY) if ROOT else World(),
    "one core": World(ONE_CORE, arguments=("--jobs", "1")),
    "another place": World(elsewhere=True),
    "files made in another order": World(backwards=True),
}
ALL_AT_ONCE = World(
    (*ONE_CORE, *OTHER_HOST, *AS_NOBODY, *IN_2031) if ROOT else (*ONE_CORE, *IN_2031),
    ODD_ENVIRONMENT,
    ("--jobs", "3"),
    umask=0o077,
    elsewhere=True,
    backwards=True,
    owner=NOBODY if ROOT else None,
)
FEW = {"images": ("folder-ext4",), "initrds": ("folder-initrd",)}


def need(world: World) -> None:
    for tool in ("faketime", "taskset", "unshare", "setpriv"):
        if tool in world.before and not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="kata-toolkit-worlds-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """The same on another file system, where there is one."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="kata-toolkit-worlds-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def plainly(disk: Path) -> dict[str, str]:
    return built(disk / "plain", World(), **FEW)


@pytest.mark.tool
@pytest.mark.parametrize("name", WORLDS)
def test_what_changes_nothing(memory: Path, plainly: dict[str, str], name: str) -> None:
    need(WORLDS[name])
    assert built(memory / name.replace(" ", "-"), WORLDS[name], **FEW) == plainly


@pytest.mark.tool
def test_every_source_in_every_format(disk: Path, memory: Path) -> None:
    need(ALL_AT_ONCE)
    one = built(disk / "all", World(), tuple(IMAGES), tuple(INITRDS))
    other = built(memory / "all", ALL_AT_ONCE, tuple(IMAGES), tuple(INITRDS))
    assert sorted(path for path in one | other if one.get(path) != other.get(path)) == []
    images = {digest for path, digest in one.items() if path.endswith((".img", ".initrd"))}
    assert len(images) >= len(IMAGES) + len(INITRDS)
