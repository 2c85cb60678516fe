"""The same root file system, image and initrd, byte for byte, whoever builds them, where, when and under what."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from image_parts import AGENT, Given, build
from kata_toolkit.spec.model import Image, Initrd, MinimalRootfs
from kata_toolkit.stages.image import ImageStage
from kata_toolkit.stages.initrd import InitrdStage
from kata_toolkit.stages.rootfs import RootfsStage
stages = [Given("agent", {"init": AGENT, "default-policy.rego": b"package policy"}), RootfsStage(MinimalRootfs())]
packed = Image(format="erofs", dax=False, compression="lz4hc")
images = (ImageStage(Image(), 128), ImageStage(packed, 2))
initrds = (InitrdStage(Initrd(True, way)) for way in ("gzip", "bzip2", "lzma", "xz", "lzo", "lz4", "zstd"))
for last in (*images, *initrds):
    entry = build([*stages, last], last.name, Path(sys.argv[1]))
    for name in sorted(entry.files):
        print(last, name, entry.id, hashlib.sha256(entry.path(name).read_bytes()).hexdigest())
"""
TESTS = Path(__file__).parent


def built(folder: Path, command: list[str], env: dict[str, str], cwd: Path, umask: int = 0o022) -> str:
    folder.mkdir()
    folder.chmod(0o777)
    argv = [*command, sys.executable, "-c", SCRIPT, str(folder), str(TESTS)]
    plain = {"PATH": os.environ["PATH"], **env}
    done = subprocess.run(argv, env=plain, cwd=cwd, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plainly(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built(tmp_path_factory.mktemp("plain") / "b", [], {"TZ": "UTC", "LC_ALL": "C"}, Path("/"))


@pytest.mark.tool
@pytest.mark.parametrize("umask", [0, 0o077])
def test_another_umask(tmp_path: Path, plainly: str, umask: int) -> None:
    assert built(tmp_path / "b", [], {}, tmp_path, umask) == plainly


@pytest.mark.tool
@pytest.mark.parametrize(
    "env",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "LANG": "C", "HOME": "/nowhere", "USER": "somebody"},
        {
            "LC_ALL": "tr_TR.UTF-8",
            "SOURCE_DATE_EPOCH": "1",
            "GZIP": "-1",
            "ZSTD_CLEVEL": "3",
            "ZSTD_NBTHREADS": "4",
            "XZ_OPT": "-0",
            "BZIP2": "-1",
            "LZOP": "-1",
            "XZ_DEFAULTS": "-T4",
        },
        {"PYTHONHASHSEED": "1", "E2FSPROGS_FAKE_TIME": "12345", "POSIXLY_CORRECT": "1", "PYTHONOPTIMIZE": "2"},
    ],
)
def test_another_environment(tmp_path: Path, plainly: str, env: dict[str, str]) -> None:
    assert built(tmp_path / "b", [], env, TESTS) == plainly


@pytest.mark.tool
def test_another_clock(tmp_path: Path, plainly: str) -> None:
    if not shutil.which("faketime"):
        pytest.skip("faketime is not installed")
    assert built(tmp_path / "b", ["faketime", "-f", "@2031-05-06 07:08:09"], {}, tmp_path) == plainly


@pytest.mark.tool
def test_another_user(plainly: str, unprivileged: Callable[[list[str]], list[str]]) -> None:
    """As a user without any privilege, in a folder that is nobody's; device nodes and owners are in it all the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = Path("/tmp") / f"kata-toolkit-test-{os.getpid()}"
    try:
        assert built(folder, unprivileged([]), {"PYTHONDONTWRITEBYTECODE": "1"}, Path("/")) == plainly
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.tool
def test_one_processor(tmp_path: Path, plainly: str) -> None:
    if not shutil.which("taskset"):
        pytest.skip("taskset is not installed")
    assert built(tmp_path / "b", ["taskset", "-c", "0"], {}, tmp_path) == plainly


def test_the_digests_are_of_something(plainly: str) -> None:
    lines = plainly.splitlines()
    assert len(lines) == 18
    assert len({line.split()[-1] for line in lines}) == 18
    assert hashlib.sha256(b"").hexdigest() not in plainly
