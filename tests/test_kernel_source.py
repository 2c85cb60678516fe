"""Unpacking and identifying a kernel source: archives good and hostile, patches, the scratch tree's life."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.spec.model import GivenFile, TarballKernel, TreeKernel
from kernel_harness import FILES, VERSION, Bench, deb, kernel_stages, member, tarball, tree_members

pytest_plugins = ("kernel_fixtures",)
pytestmark = pytest.mark.tool

PATCH = """\
--- a/init/main.c
+++ b/init/main.c
@@ -1,2 +1,3 @@
 const char banner[] = BANNER, where[] = __FILE__, config[] = CONFIG;
+const char patched[] = "yes";
 void _start(void) { __asm__ volatile("hlt" :: "r"(banner), "r"(where), "r"(config)); }
"""


def source_of(bench: Bench, archive: Path, *patches: Path) -> dict[str, object]:
    """Build up to kernel_source; what source.json says."""
    stages = kernel_stages(TarballKernel(GivenFile(path=archive)), patches=patches)
    entry = bench.build(stages, "kernel_source")["kernel_source"]
    facts: dict[str, object] = json.loads(entry.path("source.json").read_bytes())
    return facts


def scratch_tree(bench: Bench) -> Path:
    (found,) = [p for p in (bench.cache / "scratch").glob("kernel-source-*") if p.is_dir()]
    return found


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
def test_every_usual_tarball_works(bench: Bench, tmp_path: Path, suffix: str, mode: str) -> None:
    assert source_of(bench, tarball(tmp_path / f"linux.{suffix}", tree_members(), mode))["version"] == VERSION
    assert (scratch_tree(bench) / "net" / "Kconfig").read_text() == FILES["net/Kconfig"]


def test_a_zstd_tarball_works(bench: Bench, tmp_path: Path) -> None:
    from kata_toolkit import run

    run.run(["zstd", "-q", str(tarball(tmp_path / "linux.tar", tree_members(), "w"))])
    assert source_of(bench, tmp_path / "linux.tar.zst")["version"] == VERSION


def test_a_tarball_without_a_folder_at_its_top_works(bench: Bench, tmp_path: Path) -> None:
    assert source_of(bench, tarball(tmp_path / "l.tar", tree_members("."), "w"))["version"] == VERSION


def test_a_package_and_the_tarball_in_it_are_the_same_source(bench: Bench, tmp_path: Path) -> None:
    """Whether a kernel was built from the .deb or from the installed package must not show in its id."""
    inner = tarball(tmp_path / "inner.tar.xz", tree_members())
    from_tarball = source_of(bench, inner)
    other = Bench(tmp_path / "other")
    assert source_of(other, deb(tmp_path / "linux.deb", inner)) == from_tarball


def test_a_package_that_is_no_source_package_is_refused(bench: Bench, tmp_path: Path) -> None:
    inner = tarball(tmp_path / "inner.tar.xz", tree_members())
    with pytest.raises(InputError, match=r"has no usr/src/linux-source-\*.tar"):
        source_of(bench, deb(tmp_path / "x.deb", inner, "usr/bin/program"))


def hostile(name: str) -> list[tuple[tarfile.TarInfo, bytes]]:
    link = {"type": tarfile.SYMTYPE}
    return {
        "dotdot": [member("linux/../../etc/passwd", b"x")],
        "absolute": [member("/etc/passwd", b"x")],
        "link out": [member("linux/link", linkname="../../etc", **link)],
        "link to root": [member("linux/link", linkname="/etc", **link)],
        "below a link": [member("linux/link", linkname="init", **link), member("linux/link/x", b"x")],
        "hard link out": [member("linux/x", type=tarfile.LNKTYPE, linkname="../../etc/passwd")],
        "device": [member("linux/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        "pipe": [member("linux/pipe", type=tarfile.FIFOTYPE)],
    }[name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dotdot", "would lie outside of it: linux/../../etc/passwd"),
        ("absolute", "would lie outside of it: /etc/passwd"),
        ("link out", "leads outside of it: linux/link -> ../../etc"),
        ("link to root", "leads outside of it: linux/link -> /etc"),
        ("below a link", "a member below a symbolic link: linux/link/x"),
        ("hard link out", "would lie outside of it: ../../etc/passwd"),
        ("device", "is no file, folder or link: linux/null"),
        ("pipe", "is no file, folder or link: linux/pipe"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(bench: Bench, tmp_path: Path, name: str, message: str) -> None:
    archive = tarball(tmp_path / "l.tar.gz", [*tree_members("linux"), *hostile(name)], "w:gz")
    with pytest.raises(InputError) as caught:
        source_of(bench, archive)
    assert message in str(caught.value)
    assert list((bench.cache / "scratch").iterdir()) == []


def test_links_that_stay_inside_are_kept(bench: Bench, tmp_path: Path) -> None:
    """The kernel has such: include/dt-bindings is linked from elsewhere in the tree."""
    link = member("linux/scripts/net", type=tarfile.SYMTYPE, linkname="../net")
    hard = member("linux/Kconfig.copy", type=tarfile.LNKTYPE, linkname="linux/Kconfig")
    source_of(bench, tarball(tmp_path / "l.tar", [*tree_members("linux"), link, hard], "w"))
    tree = scratch_tree(bench)
    assert (tree / "scripts" / "net" / "Kconfig").read_text() == FILES["net/Kconfig"]
    assert (tree / "Kconfig.copy").read_text() == FILES["Kconfig"]


@pytest.mark.parametrize("keep", [0.5, 0.95])
@pytest.mark.parametrize(("suffix", "mode"), [("tar.xz", "w:xz"), ("tar.gz", "w:gz"), ("tar", "w"), ("deb", "")])
def test_a_truncated_archive_is_refused(bench: Bench, tmp_path: Path, keep: float, suffix: str, mode: str) -> None:
    padding = [member("linux-6.12.9/big", os.urandom(200_000))]
    whole = tarball(tmp_path / "inner", [*tree_members(), *padding], mode or "w:xz")
    if suffix == "deb":
        whole = deb(tmp_path / "whole.deb", whole)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * keep)])
    with pytest.raises(InputError, match="damaged or truncated"):
        source_of(bench, cut)
    assert [p for p in (bench.cache / "scratch").iterdir() if p.is_dir()] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a tar archive"),
        (b"hello " * 100, "is not a tar archive"),
        (b"\xfd7zXZ\x00" + b"x" * 600, "damaged or truncated"),
        (b"!<arch>\nnonsense", "damaged or truncated"),
    ],
)
def test_what_is_no_archive_is_refused(bench: Bench, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match=message):
        source_of(bench, tmp_path / "x")


def test_a_wrong_digest_is_refused(bench: Bench, tmp_path: Path) -> None:
    archive = tarball(tmp_path / "k.tar.gz", tree_members("x"), "w:gz")
    source = TarballKernel(GivenFile(path=archive, sha256="a" * 64))
    with pytest.raises(InputError, match=f"has the sha256 [0-9a-f]{{64}}, not {'a' * 64} as kernel.source.sha256 says"):
        bench.build(kernel_stages(source), "kernel_source")


def test_a_missing_archive_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        source_of(bench, tmp_path / "gone.tar")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("x/readme", b"hello")], "there is no Kconfig at its top"),
        ([member("x/Kconfig", b""), member("x/Makefile", b"all:\n")], "its Makefile states no version"),
        ([member("x/Kconfig", b"")], "it has no Makefile"),
    ],
)
def test_an_archive_of_something_else_is_refused(
    bench: Bench, tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        source_of(bench, tarball(tmp_path / "x.tar", members, "w"))


# -- patches -----------------------------------------------------------------------------------------------------


def test_patches_are_applied_and_decide_the_identity(bench: Bench, tmp_path: Path) -> None:
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    patch = tmp_path / "0001-x.patch"
    patch.write_text(PATCH)
    plain, patched = source_of(bench, archive), source_of(bench, archive, patch)
    assert plain["identity"] == patched["identity"]
    assert plain["patches"] != patched["patches"]
    trees = [p for p in (bench.cache / "scratch").glob("kernel-source-*") if p.is_dir()]
    assert sorted("patched" in (t / "init" / "main.c").read_text() for t in trees) == [False, True]
    assert not list(trees[0].parent.rglob("*.orig"))


def test_a_failing_hunk_is_shown(bench: Bench, tmp_path: Path) -> None:
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    patch = tmp_path / "0001-x.patch"
    patch.write_text(PATCH.replace(" void _start(void)", " void start(int)").replace(" const char banner", " char b"))
    with pytest.raises(InputError) as caught:
        source_of(bench, archive, patch)
    message = caught.value.problems[0].message
    assert "0001-x.patch does not apply" in message
    assert "Hunk #1 FAILED" in message
    assert '+const char patched[] = "yes";' in message
    assert [p for p in (bench.cache / "scratch").iterdir() if p.is_dir()] == []


def test_a_patch_already_applied_is_an_error_not_a_reversal(bench: Bench, tmp_path: Path) -> None:
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    patch = tmp_path / "0001-x.patch"
    patch.write_text(PATCH)
    with pytest.raises(InputError, match="does not apply"):
        source_of(bench, archive, patch, patch)


# -- the scratch tree --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["gone", "edited", "file lost", "marker lost"])
def test_the_scratch_tree_is_made_again_when_it_is_not_whole(bench: Bench, tmp_path: Path, harm: str) -> None:
    """It lies in a cache for weeks: tmp cleaners and curious editors must not get into a kernel."""
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    stages = kernel_stages(TarballKernel(GivenFile(path=archive)))
    before = bench.build(stages)["kernel"]
    tree = scratch_tree(bench)
    if harm == "gone":
        shutil.rmtree(tree)
    elif harm == "edited":
        (tree / "init" / "main.c").write_text("int edited;\n")
    elif harm == "file lost":
        (tree / "net" / "Kconfig").unlink()
    else:
        tree.with_suffix(".json").unlink()
    shutil.rmtree(bench.cache / "objects" / "kernel")
    for folder in (bench.cache / "scratch").glob("kernel-build-*"):
        shutil.rmtree(folder, ignore_errors=True)
    after = bench.build(stages)["kernel"]
    assert bench.ran == ["kernel"]
    assert {n: f.sha256 for n, f in after.files.items()} == {n: f.sha256 for n, f in before.files.items()}
    assert (tree / "init" / "main.c").read_text() == FILES["init/main.c"]


def test_what_a_killed_unpacking_left_is_swept(bench: Bench, tmp_path: Path) -> None:
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    source_of(bench, archive)
    tree = scratch_tree(bench)
    half = tree.with_name(f".{tree.name}")
    tree.with_suffix(".json").unlink()
    tree.rename(half)
    (half / "half-written").write_text("x")
    shutil.rmtree(bench.cache / "objects")
    source_of(bench, archive)
    assert not half.exists()
    assert not (scratch_tree(bench) / "half-written").exists()


# -- a tree of the user's own --------------------------------------------------------------------------------------


def test_the_identity_of_a_tree_is_its_content(bench: Bench, tree: Path, tmp_path: Path) -> None:
    def identity(of: Path) -> object:
        stages = kernel_stages(TreeKernel(of))
        entry = bench.build(stages, "kernel_source")["kernel_source"]
        return json.loads(entry.path("source.json").read_bytes())["identity"]

    first = identity(tree)
    copy = shutil.copytree(tree, tmp_path / "copy")
    (copy / ".git").mkdir()
    (copy / ".git" / "index").write_text("x")
    assert identity(copy) == first, "where a tree lies, its times and its .git do not count"
    main = tree / "init" / "main.c"
    main.write_text(main.read_text() + "/* x */\n")
    edited = identity(tree)
    assert edited != first
    (tree / "scripts" / "conf.py").chmod(0o755)
    assert identity(tree) != edited


def test_an_edit_that_keeps_size_and_mtime_is_seen(bench: Bench, tree: Path) -> None:
    stages = kernel_stages(TreeKernel(tree))
    bench.build(stages, "kernel_source")
    main = tree / "init" / "main.c"
    info = main.stat()
    main.write_text(main.read_text().replace("hlt", "nop"))
    os.utime(main, ns=(info.st_atime_ns, info.st_mtime_ns))
    bench.build(stages, "kernel_source")
    assert bench.ran == ["kernel_source"]


@pytest.mark.parametrize("leftover", [".config", "include/config/auto.conf", "include/generated/autoconf.h"])
def test_a_tree_that_was_built_in_is_refused_with_the_way_out(bench: Bench, tree: Path, leftover: str) -> None:
    (tree / leftover).parent.mkdir(parents=True, exist_ok=True)
    (tree / leftover).write_text("x")
    with pytest.raises(InputError, match="has been built in") as caught:
        bench.build(kernel_stages(TreeKernel(tree)))
    assert caught.value.problems[0].hint == f"make -C {tree} mrproper"


def test_a_folder_that_is_no_tree_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a kernel source tree: it has no Makefile"):
        bench.build(kernel_stages(TreeKernel(tmp_path)))
