"""Patches: in order, held to their digests, inside the tree; and when one does not fit, which hunk of which file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from kata_toolkit import run
from kata_toolkit.errors import InputError, ToolError, Where
from kata_toolkit.patches import apply, require_inside
from kata_toolkit.spec.model import GivenFile, Patch, TarballKernel
from kata_toolkit.stages.kernel_source import KernelOrigin, KernelSourceStage
from kernel_harness import Bench, tarball, tree_members

pytestmark = pytest.mark.tool


def diff(file: str, number: int, before: str, after: str, *context: str) -> str:
    """A patch of one line, with the line after it as context."""
    lines = "".join(f" {line}\n" for line in context)
    count = 1 + len(context)
    return f"--- a/{file}\n+++ b/{file}\n@@ -{number},{count} +{number},{count} @@\n-{before}\n+{after}\n{lines}"


def tree(folder: Path) -> Path:
    (folder / "tree" / "net").mkdir(parents=True)
    for name in ("Makefile", "net/one.c", "net/two.c"):
        (folder / "tree" / name).write_text("".join(f"line {number}\n" for number in range(1, 40)))
    return folder / "tree"


def patch_of(folder: Path, text: str, name: str = "0007-x.patch") -> Path:
    (folder / name).write_text(text)
    return folder / name


def scratch(folder: Path) -> Path:
    (folder / "scratch").mkdir()
    return folder / "scratch"


def test_only_the_hunk_that_does_not_fit_is_shown_with_its_file(tmp_path: Path) -> None:
    source = tree(tmp_path)
    text = (
        diff("Makefile", 3, "line 3", "better 3", "line 4")
        + diff("net/one.c", 5, "line 5", "better 5", "line 6")
        + "@@ -20,2 +20,2 @@\n-line twenty\n+better 20\n line 21\n"
        + diff("net/two.c", 7, "line 7", "better 7", "line 8")
    )
    with pytest.raises(InputError) as caught:
        apply(patch_of(tmp_path, text), source, scratch(tmp_path))
    message = caught.value.problems[0].message
    assert "0007-x.patch does not apply:" in message
    assert "net/one.c: Hunk #2 FAILED at 20." in message
    assert "-line twenty" in message
    assert "+better 20" in message
    assert "better 5" not in message, "a hunk that fitted was shown"
    assert "two.c" not in message
    assert "rejects" not in message.replace("0007", ""), "the name of a scratch file was shown"


def test_each_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    text = diff("net/one.c", 5, "line V", "x", "line 6") + diff("net/two.c", 5, "line V", "y", "line 6")
    with pytest.raises(InputError) as caught:
        apply(patch_of(tmp_path, text), tree(tmp_path), scratch(tmp_path))
    message = caught.value.problems[0].message
    assert "net/one.c: Hunk #1 FAILED" in message
    assert "net/two.c: Hunk #1 FAILED" in message
    assert message.count("-line V") == 2


def test_a_long_hunk_is_cut(tmp_path: Path) -> None:
    text = "--- a/net/one.c\n+++ b/net/one.c\n@@ -5,1 +5,200 @@\n-line V\n" + "+more\n" * 200
    with pytest.raises(InputError) as caught:
        apply(patch_of(tmp_path, text), tree(tmp_path), scratch(tmp_path))
    assert "lines more" in caught.value.problems[0].message
    assert len(caught.value.problems[0].message.splitlines()) < 70


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("this is a letter\nand no patch\n", "Only garbage was found"),
        (diff("net/three.c", 1, "line 1", "x", "line 2"), "net/three.c"),
        (diff("net/one.c", 5, "line 5", "x", "line 6")[:-8], "net/one.c: Hunk #1 FAILED"),
        (diff("net/one.c", 6, "line 5", "x", "line 7"), "net/one.c: Hunk #1 FAILED"),
    ],
)
def test_what_is_no_patch_for_this_tree_is_refused(tmp_path: Path, text: str, said: str) -> None:
    source = tree(tmp_path)
    with pytest.raises(InputError, match=f"does not apply:(.|\n)*({said})"):
        apply(patch_of(tmp_path, text), source, scratch(tmp_path))
    assert not list(source.rglob("*.orig"))
    assert not list(source.rglob("*.rej"))


OUTSIDE = {
    "up": "--- a/../../etc/passwd\n+++ b/../../etc/passwd\n@@ -0,0 +1 @@\n+x\n",
    "absolute": "--- /dev/null\n+++ /etc/cron.d/x\n@@ -0,0 +1 @@\n+x\n",
    "rename": "diff --git a/net/one.c b/net/one.c\nsimilarity index 100%\nrename from net/one.c\nrename to ../one.c\n",
    "copy": "diff --git a/x b/x\nsimilarity index 100%\ncopy from /etc/shadow\ncopy to net/one.c\n",
    "index": "Index: ../../x\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n",
    "quoted": '--- "a/../../x"\n+++ "b/../../x"\n@@ -0,0 +1 @@\n+x\n',
    "context diff": "*** a/../x\n--- b/../x\n***************\n*** 1 ****\n! a\n--- 1 ----\n! b\n",
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_patch_that_climbs_out_of_the_tree_is_refused(tmp_path: Path, kind: str) -> None:
    """patch(1) would skip the file, and apply the rest."""
    good = diff("net/one.c", 5, "line 5", "better 5", "line 6")
    source = tree(tmp_path)
    with pytest.raises(InputError, match="names a file outside of the tree, in line"):
        apply(patch_of(tmp_path, good + OUTSIDE[kind]), source, scratch(tmp_path))
    assert "better" not in (source / "net/one.c").read_text(), "half of it was applied"


def test_a_patch_does_not_write_through_a_link_that_it_makes(tmp_path: Path) -> None:
    source, outside = tree(tmp_path), tmp_path / "outside"
    outside.mkdir()
    text = (
        f"diff --git a/way b/way\nnew file mode 120000\n--- /dev/null\n+++ b/way\n@@ -0,0 +1 @@\n+{outside}\n"
        "\\ No newline at end of file\n"
        "diff --git a/way/owned b/way/owned\nnew file mode 100644\n--- /dev/null\n+++ b/way/owned\n@@ -0,0 +1 @@\n+x\n"
    )
    with pytest.raises(InputError):
        apply(patch_of(tmp_path, text), source, scratch(tmp_path))
    assert list(outside.iterdir()) == []


def test_removed_lines_that_look_like_names_are_no_names(tmp_path: Path) -> None:
    hunk = "@@ -1,3 +1,3 @@\n --- a/y is a line\n--- /etc/passwd\n+++ ../x\n-rename to /x\n+a\n"
    require_inside(patch_of(tmp_path, f"--- a/x\n+++ b/x\n{hunk}"))
    with pytest.raises(InputError, match="in line 9: /x"):
        require_inside(patch_of(tmp_path, f"--- a/x\n+++ b/x\n{hunk}--- /x\n"))


def test_a_patch_that_does_not_apply_is_told_at_its_line_of_the_spec(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "cache")
    archive = tarball(tmp_path / "linux.tar.xz", tree_members())
    good = Patch(patch_of(tmp_path, diff("Kconfig", 1, 'mainmenu "A small kernel"', 'mainmenu "B"', ""), "a.patch"))
    bad = patch_of(tmp_path, diff("Kconfig", 1, "no such line", "x", ""), "b.patch")
    with pytest.raises(InputError, match=r"b\.patch does not apply") as caught:
        bench.build(stage_of(archive, good, Patch(bad, where=Where("my.yaml", 7, 9))))
    assert [str(problem.where) for problem in caught.value.problems] == ["my.yaml:7:9"]


def test_an_empty_patch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        apply(patch_of(tmp_path, "\n"), tree(tmp_path), scratch(tmp_path))


def stage_of(archive: Path, *patches: Patch) -> list[KernelSourceStage]:
    return [KernelSourceStage(KernelOrigin(TarballKernel(GivenFile(path=archive)), patches))]


def test_patches_are_applied_in_their_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "cache")
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    first = Patch(patch_of(tmp_path, diff("Kconfig", 1, 'mainmenu "A small kernel"', 'mainmenu "B"', ""), "b.patch"))
    second = Patch(patch_of(tmp_path, diff("Kconfig", 1, 'mainmenu "B"', 'mainmenu "C"', ""), "a.patch"))
    bench.build(stage_of(archive, first, second))
    (made,) = [p for p in (bench.cache / "scratch").glob("kernel-source-*") if p.is_dir()]
    assert (made / "Kconfig").read_text().startswith('mainmenu "C"')
    with pytest.raises(InputError, match=r"a\.patch does not apply"):
        bench.build(stage_of(archive, second, first))


def test_a_patch_is_held_to_its_digest(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "cache")
    archive = tarball(tmp_path / "l.tar", tree_members(), "w")
    path = patch_of(tmp_path, diff("Kconfig", 1, 'mainmenu "A small kernel"', 'mainmenu "B"', ""))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    bench.build(stage_of(archive, Patch(path, digest)))
    with pytest.raises(InputError, match=f"has the sha256 {digest}, not {'0' * 64} as kernel.patches says"):
        bench.build(stage_of(archive, Patch(path, "0" * 64)))
    with pytest.raises(InputError, match="No such file"):
        bench.build(stage_of(archive, Patch(tmp_path / "gone.patch")))


def test_without_patch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "which", lambda tool: None)
    path = patch_of(tmp_path, diff("net/one.c", 5, "line 5", "x", "line 6"))
    with pytest.raises(ToolError, match="patch is not installed"):
        apply(path, tree(tmp_path), scratch(tmp_path))
