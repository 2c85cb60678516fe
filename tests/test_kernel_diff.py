"""`kernel diff`: what an argument may be, what is said of it, and all that it cannot be."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.errors import InputError
from kata_toolkit.kconfig.difference import Side, difference
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kernel_session import named_source
from kata_toolkit.spec.model import DebianKernel, TreeKernel
from kernel_harness import Bench, fake_library
from package_parts import boot_files, config, deb_of

pytest_plugins = ("kernel_fixtures",)

BANNER = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.9 Kernel Configuration\n#\n"
OLD = BANNER + "CONFIG_64BIT=y\nCONFIG_NET=y\nCONFIG_VSOCKETS=y\nCONFIG_NR_CPUS=8\n# CONFIG_EXPERT is not set\n"
NEW = "CONFIG_64BIT=y\nCONFIG_NET=y\nCONFIG_NR_CPUS=64\nCONFIG_EXPERT=y\n"


@pytest.fixture
def place(bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec on the fake tree, two ``.config`` files, and a library of one feature and two profiles."""
    monkeypatch.setenv("KATA_TOOLKIT_CACHE", str(bench.cache))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel-configs/profiles/bare.yaml").write_text("profile: bare\ntitle: Less\nfeatures: [cpus]\n")
    (tmp_path / "kernel-configs/features/cpus.yaml").write_text(
        'feature: cpus\ntitle: Many CPUs\nsymbols:\n  CONFIG_NR_CPUS: {value: 64, why: "there are many of them"}\n'
    )
    (tmp_path / "s.yaml").write_text(f"version: 1\nname: s\nkernel: {{source: {{kind: tree, path: {tree}}}}}\n")
    (tmp_path / "old.config").write_text(OLD)
    (tmp_path / "new").write_text(NEW)
    return tmp_path


SHOWN = """\
A: profile:default@./linux  (Linux 6.12.9, x86_64, 2 options on)
B: profile:bare@./linux  (Linux 6.12.9, x86_64, 0 options on)
3 symbols differ: 2 only in A, 0 only in B, 1 changed; 0 are the same
features only in A: net
features only in B: cpus

what features ask for
  net   -2            NET VSOCKETS
  cpus  ~1            NR_CPUS

--symbols lists every symbol with its values
"""

ALL = """\
A: old.config  (Linux 6.1.9, x86_64, 3 options on)
B: new  (3 options on)
3 symbols differ: 1 only in A, 1 only in B, 1 changed; 2 are the same

what features ask for
  cpus                   ~1
      CONFIG_NR_CPUS: 8 → 64
  net                    -1
      CONFIG_VSOCKETS: y → off

what came along with it
  (no tree to ask where) +1
      CONFIG_EXPERT: off → y
"""


def test_profiles_by_feature(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "diff", "profile:default@./linux", "profile:bare@./linux"]) == 0
    assert capsys.readouterr().out == SHOWN


def test_two_config_files_with_every_symbol(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "diff", "old.config", "new", "--symbols"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [" ".join(line.split()) for line in ALL.splitlines()]


def test_the_exit_status(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "diff", "old.config", "new"]) == 0
    assert run(["kernel", "diff", "old.config", "new", "--exit-code"]) == 1
    assert run(["kernel", "diff", "new", "new", "--exit-code"]) == 0
    assert "no symbol differs" in capsys.readouterr().out
    assert run(["kernel", "diff", "s.yaml", "profile:default@linux/", "--exit-code"]) == 0


def test_gzip_as_in_proc(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "config.gz").write_bytes(gzip.compress(OLD.encode()))
    assert run(["kernel", "diff", "config.gz", "old.config", "--exit-code"]) == 0
    (place / "config.gz").write_bytes(gzip.compress(OLD.encode())[:-20])
    assert run(["kernel", "diff", "config.gz", "old.config"]) == 2
    (place / "config.gz").write_bytes(gzip.compress(bytes(5 << 20)))
    assert run(["kernel", "diff", "config.gz", "old.config"]) == 2
    err = capsys.readouterr().err
    assert "config.gz: error: it cannot be unpacked: " in err
    assert "config.gz: error: it is bigger than 4 MiB, unpacked" in err


@pytest.mark.parametrize("words", [["old.config", "new"], ["s.yaml", "new"], ["s.yaml", "profile:bare@./linux"]])
def test_json_is_as_its_schema_says(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run(["kernel", "diff", *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads((root / "schemas/kernel-diff.schema.json").read_text()))
    changes = [change for group in document["groups"] for change in group["changes"]]
    assert document["differ"]
    assert len(changes) == sum(document["counts"][kind] for kind in ("added", "removed", "changed"))


BAD = {
    "nothing": ("nowhere", 'there is no file or folder "nowhere"', "profile:NAME"),
    "no name": ("", 'there is no file or folder ""', "profile:NAME"),
    "a bare profile": ("default", 'there is no file or folder "default"', "a profile is written profile:default"),
    "no spec": ("nowhere.yaml", "nowhere.yaml: error: no such file", ""),
    "broken spec": ("broken.yaml", "broken.yaml:1:10: error:", ""),
    "misspelt profile": ("profile:defalt", 'there is no kernel profile "defalt"', 'did you mean "default"?'),
    "empty profile": ("profile:", 'there is no kernel profile ""', "there are: bare, default"),
    "no source": ("profile:default@", '"" is no kernel source', "@linux-source-6.1"),
    "odd source": ("profile:default@6.12-rc1", '"6.12-rc1" is no kernel source', "@linux-source-6.1"),
    "no tree": ("profile:default@./nowhere", "there is no folder", ""),
    "folder that is no set": ("empty", "empty is not a built set: it has no manifest.json", "build one"),
    "source tree": ("linux", "linux is a kernel's source tree", "profile:default@./linux"),
    "set without a kernel": ("set", "", ""),
    "empty file": ("nothing.config", "this is no kernel configuration", "a .config, or /proc/config.gz"),
    "text": ("s.txt", "this is no kernel configuration", "a .config, or /proc/config.gz"),
    "binary": ("vmlinux", "is not UTF-8", ""),
    "zeros": ("zeros", "control character U+0000", "binary"),
    "device": ("/dev/null", "is a device, not a file", ""),
    "pipe": ("pipe", "is a pipe, not a file", ""),
    "too big": ("big", "at most 4 MiB is read", "is it the right file?"),
    "prebuilt without a config": ("prebuilt.yaml", "its kernel is prebuilt", "kernel.source.config"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("first", [True, False])
def test_a_mistake_is_told(place: Path, case: str, first: bool, capsys: pytest.CaptureFixture[str]) -> None:
    word, message, hint = BAD[case]
    (place / "empty").mkdir()
    (place / "set").mkdir()
    (place / "set/manifest.json").write_text('{"version": 1, "name": "s", "arch": "x86_64", "artifacts": []}')
    (place / "broken.yaml").write_text("version: 2\n")
    (place / "nothing.config").write_text("")
    (place / "s.txt").write_text("a = b\n")
    (place / "vmlinux").write_bytes(b"\x7fELF\xff\xfe" + bytes(range(256)))
    (place / "zeros").write_bytes(bytes(100))
    (place / "big").write_text("# CONFIG_X is not set\n" * 250_000)
    os.mkfifo(place / "pipe")
    (place / "prebuilt.yaml").write_text(
        "version: 1\nname: p\nkernel: {source: {kind: prebuilt, vmlinux: {path: vmlinux}}}\n"
    )
    words = [word, "new"] if first else ["new", word]
    assert run(["kernel", "diff", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert hint in err


def test_a_prebuilt_kernels_own_configuration(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "p.yaml").write_text(
        "version: 1\nname: p\nkernel:\n  source: {kind: prebuilt, vmlinux: {path: new}, config: {path: old.config}}\n"
    )
    assert run(["kernel", "diff", "p.yaml", "old.config", "--exit-code"]) == 0


def test_a_packages_own_configuration(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deb_of(place / "k.deb", boot_files())
    (place / "p.yaml").write_text(
        "version: 1\nname: p\nkernel: {source: {kind: prebuilt, deb: {path: k.deb}}}\n"
        "initrd: {enabled: true}\nruntime: {hypervisors: {qemu: {boot: initrd}}}\n"
    )
    (place / "its.config").write_bytes(config())
    assert run(["kernel", "diff", "p.yaml", "its.config", "--exit-code"]) == 0, capsys.readouterr().err
    assert run(["kernel", "hardening", "p.yaml"]) == 0
    capsys.readouterr()
    assert run(["kernel", "explain", "NET", "p.yaml"]) == 2
    assert "kata-toolkit kernel diff p.yaml profile:default" in capsys.readouterr().err


def test_the_features_of_a_kernel_that_cannot_have_a_symbol_do_not_claim_it(tmp_path: Path) -> None:
    folder = fake_library(tmp_path)
    (folder / "features/late.yaml").write_text(
        'feature: late\ntitle: Of later\nkernel: ">=6.6"\nsymbols:\n  CONFIG_X: {value: y, why: "it is nice to have"}\n'
    )
    library = load_library(folder)
    sides = [Side(name, "6.1.9", "x86_64", None, 0, ()) for name in "AB"]
    found = difference(sides[0], sides[1], {"CONFIG_X": "y"}, {}, library)
    assert [(group.kind, group.name) for group in found.groups] == [("unknown", "")]
    newer = Side("B", "6.12.1", "x86_64", None, 0, ())
    found = difference(sides[0], newer, {"CONFIG_X": "y"}, {}, library)
    assert [(group.kind, group.name) for group in found.groups] == [("feature", "late")]


@pytest.mark.parametrize("text", ["6.1", "linux-source-6.1"])
def test_a_source_by_its_version(text: str) -> None:
    assert named_source(text) == DebianKernel("linux-source-6.1")


def test_a_source_by_its_folder(tmp_path: Path) -> None:
    assert named_source(f"{tmp_path}") == TreeKernel(tmp_path)
    for word in ("", "linux", "linux-source-", "6.1;x"):
        with pytest.raises(InputError):
            named_source(word)


@pytest.mark.kernel
def test_the_real_profiles(tool: Path, root: Path, real_tree: Path, built_set: Path) -> None:
    """Grouped by our own features, with the menus of the real tree for what came along."""
    words = ["profile:default", "profile:minimal", "--json"]
    text = subprocess.run([tool, "kernel", "diff", *words], cwd=root, capture_output=True, text=True, check=True).stdout
    document = json.loads(text)
    jsonschema.validate(document, json.loads((root / "schemas/kernel-diff.schema.json").read_text()))
    groups = {(group["kind"], group["name"]): group for group in document["groups"]}
    assert {change["symbol"] for change in groups["feature", "nftables"]["changes"]} >= {"CONFIG_NFT_CT"}
    assert groups["feature", "cpu-few"]["changes"][0]["symbol"] == "CONFIG_NR_CPUS"
    assert "nftables" in document["features_only_in_a"]
    assert any(kind == "menu" for kind, _ in groups)
    assert not any(kind == "unknown" for kind, _ in groups)
    text = subprocess.run(
        [tool, "kernel", "diff", built_set, next(built_set.glob("share/kata-containers/config-*"))],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert text.endswith("no symbol differs\n")
