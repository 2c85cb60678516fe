"""`build` as its users see it: the same bytes anywhere, nothing done twice, nothing left behind.

The kernel is the one of the built set, taken as prebuilt: everything around it is made here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jsonschema
import pytest

pytestmark = pytest.mark.tool


@pytest.fixture
def spec(built_set: Path, tmp_path: Path) -> Path:
    """A spec whose kernel is there already, beside it."""
    shutil.copy(next((built_set / "share/kata-containers").glob("vmlinux-*")), tmp_path / "vmlinux")
    path = tmp_path / "toy.yaml"
    path.write_text(
        "version: 1\nname: toy\n"
        "kernel: {source: {kind: prebuilt, vmlinux: {path: vmlinux}}}\n"
        "runtime: {hypervisors: {qemu: {settings: {default_memory: 256}}}}\n"
    )
    return path


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="kata-toolkit-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Builder:
    """Runs the program with a cache of its own."""

    def __init__(self, tool: Path, cache: Path) -> None:
        self.tool = tool
        self.env = {**os.environ, "KATA_TOOLKIT_CACHE": str(cache)}

    def __call__(self, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.tool, *words], env={**self.env, **environment}, capture_output=True, text=True, check=False
        )


@pytest.fixture
def run(tool: Path, tmp_path: Path) -> Builder:
    return Builder(tool, tmp_path / "cache")


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Each file's sha256 and mode."""
    import hashlib

    return {
        str(p.relative_to(folder)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mode)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_nothing_is_done_twice_and_only_what_changed_is_done_again(run: Builder, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run("build", spec, "-o", out)
    assert first.returncode == 0, first.stderr
    before = digests(out)
    again = run("build", spec, "-o", out)
    assert again.stdout == f"{out} is up to date (8 stages cached)\n"
    log = (tmp_path / "out.report" / "build.log").read_text()
    assert "== agent" in log  # of the build that did something

    spec.write_text(spec.read_text().replace("default_memory: 256", "default_memory: 512"))
    plan = json.loads(run("plan", "--json", spec).stdout)
    todo = {s["stage"]: s["reasons"] for s in plan["stages"] if not s["cached"]}
    assert list(todo) == ["runtime_config", "wiring"]  # a RuntimeClass says what the guest's own memory costs
    assert any("default_memory changed: 256 → 512" in reason for reason in todo["runtime_config"])
    events = [json.loads(line) for line in run("build", "--json", spec, "-o", out).stdout.splitlines()]
    assert [e["stage"] for e in events if e["event"] == "started"] == ["runtime_config", "wiring"]
    changed = {path for path, digest in digests(out).items() if digest != before.get(path)}
    assert {Path(path).suffix for path in changed} <= {".toml", ".json", ".yaml", ".args"}


def test_the_same_bytes_for_anybody_anywhere(
    run: Builder,
    spec: Path,
    tmp_path: Path,
    anybodys: Path,
    unprivileged: Callable[[Sequence[str | Path]], list[str]],
) -> None:
    """Another user, cache, folder, umask, locale, time zone, hash seed, python and number of jobs."""
    assert run("build", spec, "-o", tmp_path / "one", "--jobs", "2").returncode == 0
    place = anybodys / "ö x"
    place.mkdir()
    place.chmod(0o777)
    for file in (spec, spec.with_name("vmlinux")):
        shutil.copy(file, place)
        (place / file.name).chmod(0o644)
    script = f'umask 027; cd "{place}"; exec "$@"'
    argv = unprivileged(
        ["sh", "-c", script, "sh", *debian_python(anybodys), "build", "toy.yaml", "-o", "two", "--jobs", "1"]
    )
    env = {
        "PATH": "/usr/bin:/bin",
        "KATA_TOOLKIT_CACHE": str(place / "cache"),
        "HOME": str(place),
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "7",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(anybodys / "lib"),
    }
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digests(place / "two") == digests(tmp_path / "one")


def debian_python(folder: Path) -> list[str | Path]:
    """The program, copied to where everybody can read it, run by the distribution's python and its packages."""
    root = Path(__file__).resolve().parent.parent
    for name in ("toolkit", "schemas", "templates", "kernel-configs", "agent", "wrapper", "licences"):
        shutil.copytree(root / name, folder / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "lib").mkdir()
    (folder / "lib" / "kata_toolkit").symlink_to(folder / "src" / "toolkit")
    for path in (folder / "src").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return ["/usr/bin/python3", "-c", "from kata_toolkit.cli.app import main; main()"]


def test_the_manifest_fits_its_schema_and_its_files(run: Builder, spec: Path, tmp_path: Path, root: Path) -> None:
    out = tmp_path / "out"
    assert run("build", "-q", spec, "-o", out).returncode == 0
    document = json.loads((out / "manifest.json").read_text())
    jsonschema.validate(document, json.loads((root / "schemas/manifest.schema.json").read_text()))
    found = {path: digest for path, (digest, _) in digests(out).items()}
    assert {a["path"] for a in document["artifacts"]} == found.keys() - {"manifest.json"}
    assert all(found[a["path"]] == a["sha256"] for a in document["artifacts"])
    assert document["partial"] is False
    text = (out / "manifest.json").read_text()
    assert str(tmp_path) not in text


def test_a_part_of_a_set_says_that_it_is_one(run: Builder, spec: Path, tmp_path: Path) -> None:
    """`--only image` needs no kernel: the one named here does not even exist."""
    spec.write_text("version: 1\nname: toy\nkernel: {source: {kind: debian, package: linux-source-0.0}}\n")
    out = tmp_path / "out"
    done = run("build", "-q", spec, "-o", out, "--only", "image")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "manifest.json").read_text())["partial"] is True
    assert [p.name for p in sorted(out.rglob("*")) if p.is_file()] == [
        "manifest.json",
        "sbom.cdx.json",
        "sbom.spdx.json",
        "toy.img",
        "copyright",
        "sources.json",
    ]
    wrong = run("build", spec, "-o", out, "--only", "imgae")
    assert wrong.returncode == 2
    assert "no stage is named imgae" in wrong.stderr


def test_an_output_folder_that_cannot_be_written(
    run: Builder, spec: Path, tmp_path: Path, unprivileged: Callable[[Sequence[str | Path]], list[str]]
) -> None:
    (tmp_path / "file").write_text("")
    done = run("build", "-q", spec, "-o", tmp_path / "file" / "out")
    assert done.returncode == 3
    assert "Not a directory" in done.stderr
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("precious")
    done = run("build", "-q", spec, "-o", taken)
    assert done.returncode == 2
    assert "holds files that kata-toolkit did not make" in done.stderr
    assert (taken / "thesis.txt").read_text() == "precious"


def test_a_full_disk_is_said_and_leaves_nothing(run: Builder, spec: Path, tmp_path: Path) -> None:
    """A file-size limit of 1 MiB stops the image the way a full disk does: with an error in the middle of a write."""
    script = 'ulimit -f 1024; trap "" XFSZ; exec "$@"'
    argv = ["bash", "-c", script, "sh", run.tool, "build", "-q", spec, "-o", tmp_path / "out"]
    done = subprocess.run(argv, env=run.env, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    assert run("build", "-q", spec, "-o", tmp_path / "out").returncode == 0


def test_killed_in_the_middle_the_next_build_just_works(run: Builder, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for delay in (0.2, 0.5, 0.9, 1.5):
        process = subprocess.Popen(
            [run.tool, "build", spec, "-o", out], env=run.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        process.kill()
        process.wait()
        assert not out.exists() or json.loads((out / "manifest.json").read_text())["partial"] is False
    done = run("build", "-q", spec, "-o", out)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".out")] == []
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_several_specs_keep_going(run: Builder, spec: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nname: bad\nkernel: {source: {kind: prebuilt, vmlinux: {path: toy.yaml}}}\n")
    done = subprocess.run(
        [run.tool, "build", "-q", "--keep-going", bad, spec],
        env=run.env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "toy.yaml" in done.stderr
    assert (tmp_path / "out/toy/manifest.json").exists()
    assert not (tmp_path / "out/bad").exists()
