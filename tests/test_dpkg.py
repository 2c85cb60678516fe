"""What dpkg knows of an installed file, read from its files: against a database made here, and against dpkg itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from kata_toolkit.dpkg import owner, source_of
from kata_toolkit.rootfs.debian_slim import vendor
from kata_toolkit.rootfs.tree import Bytes, Kind, Node, Tree

STATUS = """Package: box
Status: install ok installed
Architecture: amd64
Source: box-src (2:1.0-3)
Version: 2:1.0-3+b1
Built-Using: glibc (= 2.36-9)
Description: x
 Package: not-this

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: lib
Status: install ok installed
Architecture: arm64
Version: 7

Package: lib
Status: install ok installed
Architecture: amd64
Version: 8
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info.parent / "status").write_text(STATUS)
    (info / "box.md5sums").write_text(f"{'1' * 32}  bin/box\n{'2' * 32}  usr/bin/box-x\n")
    (info / "lib:arm64.md5sums").write_text(f"{'3' * 32}  usr/lib/arm64/x.a\n")
    (info / "lib:amd64.md5sums").write_text(f"{'4' * 32}  usr/lib/amd64/x.a\n")
    (info / "gone.md5sums").write_text(f"{'5' * 32}  bin/gone\n")
    (tmp_path / "usr/share/doc/box").mkdir(parents=True)
    (tmp_path / "usr/share/doc/box/copyright").write_text("text")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="X"\nVERSION_ID=1\nID="raspbian"\n')
    return tmp_path


def test_an_installed_package(root: Path) -> None:
    found = owner("box", Path("/usr/bin/box"), root)
    assert found is not None
    assert (found.version, found.arch, found.vendor) == ("2:1.0-3+b1", "amd64", "raspbian")
    assert (found.source, found.source_version, found.md5) == ("box-src", "2:1.0-3", "1" * 32)
    assert found.built_using == "glibc (= 2.36-9)"
    assert found.copyright == root / "usr/share/doc/box/copyright"


def test_of_two_architectures_the_one_that_has_the_file(root: Path) -> None:
    for arch, version, md5 in (("arm64", "7", "3"), ("amd64", "8", "4")):
        found = owner("lib", Path(f"/usr/lib/{arch}/x.a"), root)
        assert found is not None
        assert (found.arch, found.version, found.md5, found.copyright) == (arch, version, md5 * 32, None)


@pytest.mark.parametrize(
    ("package", "file"), [("box", "/bin/bo"), ("box", "/x/bin/box"), ("gone", "/bin/gone"), ("not-this", "/bin/box")]
)
def test_what_is_not_its_file_or_not_installed(root: Path, package: str, file: str) -> None:
    assert owner(package, Path(file), root) is None


def test_no_dpkg_at_all(tmp_path: Path) -> None:
    assert owner("box", Path("/bin/box"), tmp_path) is None


def test_the_source_package() -> None:
    assert source_of({"Package": "a", "Version": "1+b1", "Source": "b (1)"}) == ("b", "1")
    assert source_of({"Package": "a", "Version": "1", "Source": "b"}) == ("b", "1")
    assert source_of({"Package": "a", "Version": "1"}) == ("a", "1")


@pytest.mark.tool
def test_it_says_what_dpkg_says() -> None:
    if not shutil.which("dpkg-query"):
        pytest.skip("this is no Debian")
    shell = Path("/bin/dash")
    found = owner("dash", shell)
    assert found is not None
    format_ = "${Version} ${Architecture} ${source:Package} ${source:Version}"
    said = subprocess.run(["dpkg-query", "-W", f"-f={format_}", "dash"], capture_output=True, text=True, check=True)
    assert said.stdout.split() == [found.version, found.arch, found.source, found.source_version]
    summed = subprocess.run(["md5sum", shell], capture_output=True, text=True, check=True)
    assert summed.stdout.split()[0] == found.md5


@pytest.mark.parametrize(
    ("text", "whose"), [('NAME="U"\nID=ubuntu\n', "ubuntu"), ("ID_LIKE=debian\n", "debian"), ("", "debian")]
)
def test_whose_packages_a_tree_has(text: str, whose: str) -> None:
    tree = Tree()
    tree.add(b"usr/lib/os-release", Node(Kind.FILE, 0o644, content=Bytes(text.encode())))
    tree.add(b"etc/os-release", Node(Kind.SYMLINK, 0o777, target=b"../usr/lib/os-release"))
    assert vendor(tree) == whose
