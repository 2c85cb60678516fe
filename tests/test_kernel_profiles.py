"""Every profile on every architecture: each request met by the kernel's own conf, and what the profiles promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from kata_toolkit.arch import arches
from kata_toolkit.errors import ToolError, Where
from kata_toolkit.kconfig.config import read_config, same_value
from kata_toolkit.kconfig.fragments import Feature, load_library
from kata_toolkit.kconfig.profile_page import excluded, left_out_of_parity, missing, page, savings
from kata_toolkit.kconfig.requests import Wishes, collect
from kata_toolkit.kernel_tree import version_of
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store, cache_folder
from kata_toolkit.spec.model import DebianKernel, FeatureChanges
from kata_toolkit.stages.sources import SourcesStage

pytest_plugins = ("kernel_fixtures",)

LIBRARY = load_library()
PROFILES = sorted(LIBRARY.profiles)
QUICK, ALL = ("x86_64", "arm64"), tuple(arches())
# What make and conf read of a kernel's source: a hundredth of it.
KCONFIG_FILES = ("*/Kconfig*", "*/Makefile*", "*/Kbuild*", "*/scripts/*", "*/arch/*/tools/*", "*/arch/*/*.sh")


@pytest.fixture(scope="session")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Debian's other kernel source, linux-source-6.1: its Kconfig files and scripts only."""
    store = Store(cache_folder())
    try:
        with (store.cache / "test.log").open("w") as log:
            stage = SourcesStage(DebianKernel("linux-source-6.1"))
            entry = Engine("tests", [stage], store, BuildInputs(store), lambda _: None, log, 1).build(["sources"])
    except ToolError as error:
        pytest.skip(f"no linux-source-6.1 here, and it cannot be fetched: {error}")
    folder = tmp_path_factory.mktemp("linux-6.1")
    script = (
        'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "*linux-source-6.1.tar.xz" | tar -xJ --wildcards "${@:2}"'
    )
    package = entry["sources"].path("kernel")
    subprocess.run(["bash", "-c", script, "unpack", package, *KCONFIG_FILES], cwd=folder, check=True)
    yield folder / "linux-source-6.1"
    shutil.rmtree(folder)


@cache
def configure(tree: Path, folder: Path, requests: str, arch: str) -> dict[str, str]:
    """What the tree's conf makes of the requests, with the compiler that would build it; conf is compiled once."""
    prefix = "" if arches()[arch].native else arches()[arch].cross_prefix
    if not shutil.which(f"{prefix}gcc"):
        pytest.skip(f"{prefix}gcc is not installed")
    (folder / "requests").write_text(requests)
    (folder / ".config").unlink(missing_ok=True)
    subprocess.run(
        ["make", "-C", tree, f"O={folder}", f"ARCH={arches()[arch].make}", f"CROSS_COMPILE={prefix}", "allnoconfig"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "KCONFIG_ALLCONFIG": str(folder / "requests")},
        check=True,
        capture_output=True,
    )
    return read_config((folder / ".config").read_text())


@cache
def known(tree: Path) -> frozenset[str]:
    """Every symbol that some Kconfig file of the tree defines."""
    texts = (path.read_text(errors="replace") for path in tree.rglob("Kconfig*") if path.is_file())
    return frozenset(f"CONFIG_{n}" for text in texts for n in re.findall(r"^\s*(?:menu)?config\s+(\w+)", text, re.M))


def disappointments(tree: Path, folder: Path, wishes: Wishes, arch: str) -> list[str]:
    """Requests that came out otherwise, or are for nothing; a wish for "n" can be for nothing and nobody notices."""
    values = configure(tree, folder, wishes.allconfig(), arch)
    found = []
    for request in wishes.requests:
        met = same_value(request.value, values.get(request.symbol))
        if not met and request.allowed is None:
            found.append(f"{request.where}: {request.symbol} became {values.get(request.symbol, 'n')}")
        elif met and request.allowed is not None:
            found.append(f"{request.allowed_at}: {request.symbol} is met, and needs no allowance")
        elif request.symbol not in known(tree) and request.allowed is None:
            found.append(f"{request.where}: this kernel has no {request.symbol}")
    return found


@pytest.mark.kernel
@pytest.mark.parametrize("arch", [a if a in QUICK else pytest.param(a, marks=pytest.mark.full) for a in ALL])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_request_is_met_on_6_12(real_tree: Path, conf_folder: Path, profile: str, arch: str) -> None:
    wishes = collect(LIBRARY, profile, (), arch=arch, kernel=version_of(real_tree))
    assert disappointments(real_tree, conf_folder, wishes, arch) == []


@pytest.mark.kernel
@pytest.mark.full
@pytest.mark.parametrize("arch", ALL)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_request_is_met_on_6_1(old_tree: Path, conf_folder: Path, profile: str, arch: str) -> None:
    wishes = collect(LIBRARY, profile, (), arch=arch, kernel=version_of(old_tree))
    assert disappointments(old_tree, conf_folder, wishes, arch) == []


@pytest.mark.kernel
@pytest.mark.parametrize("arch", [a if a in QUICK else pytest.param(a, marks=pytest.mark.full) for a in ALL])
def test_features_of_no_profile_are_met_on_top_of_default(real_tree: Path, conf_folder: Path, arch: str) -> None:
    """All at once, those apart that exclude a feature of default."""
    used = {f.name for p in LIBRARY.profiles.values() for f in LIBRARY.closure(p.features, arch)}
    kernel = tuple(map(int, version_of(real_tree).split(".")))
    spare = [f for n, f in LIBRARY.features.items() if n not in used and not f.conflicts and f.is_for(arch, kernel)]
    changes = FeatureChanges(add={feature.name: Where("spec.yaml", 1) for feature in spare})
    wishes = collect(LIBRARY, "default", (), arch=arch, kernel=version_of(real_tree), changes=changes)
    assert {"nfs", "ceph-rbd", "iscsi"} <= set(wishes.features)
    assert disappointments(real_tree, conf_folder, wishes, arch) == []


@pytest.mark.kernel
@pytest.mark.parametrize("arch", QUICK)
def test_parity_has_all_that_upstream_has(real_tree: Path, conf_folder: Path, arch: str) -> None:
    """But for a list of what is no feature; an entry that neither kernel gives a reason for is one too many."""
    on = {}
    for profile in ("upstream", "parity"):
        wishes = collect(LIBRARY, profile, (), arch=arch, kernel=version_of(real_tree))
        values = configure(real_tree, conf_folder, wishes.allconfig(), arch)
        on[profile] = {symbol for symbol, value in values.items() if value in ("y", "m")}
    listed = {symbol for symbols, _ in left_out_of_parity() for symbol in symbols}
    assert on["upstream"] - on["parity"] <= listed
    assert len(listed) < 20
    for symbol in ("CRYPTO_FIPS", "SECURITY_SELINUX", "SWIOTLB", "MLX5_CORE"):
        assert f"CONFIG_{symbol}" in on["parity"]


@pytest.mark.kernel
def test_a_microvm_has_neither_acpi_nor_pci(real_tree: Path, conf_folder: Path) -> None:
    for profile in ("firecracker", "edge"):
        for arch in QUICK:
            wishes = collect(LIBRARY, profile, (), arch=arch, kernel=version_of(real_tree))
            values = configure(real_tree, conf_folder, wishes.allconfig(), arch)
            assert {"CONFIG_ACPI", "CONFIG_PCI", "CONFIG_VIRTIO_PCI"} & values.keys() == set(), (profile, arch)
            assert values["CONFIG_VIRTIO_MMIO"] == values["CONFIG_VIRTIO_BLK"] == values["CONFIG_EXT4_FS"] == "y"
            assert values["CONFIG_VIRTIO_VSOCKETS"] == values["CONFIG_VIRTIO_CONSOLE"] == "y"
    assert values["CONFIG_OF"] == "y"


def test_the_page_of_profiles_is_up_to_date(root: Path) -> None:
    assert (root / "docs" / "kernel-profiles.md").read_text() == page(), "run `make docs`"


def test_the_page_says_who_loses_each_feature_that_default_leaves_out() -> None:
    assert len(missing(LIBRARY)) > 30
    assert [f.name for f in missing(LIBRARY) if not f.who] == []


@pytest.mark.parametrize("feature", missing(LIBRARY), ids=lambda f: f.name)
def test_the_line_that_switches_a_feature_on_works(feature: Feature) -> None:
    """On each architecture it is for: no feature contradicts or excludes another."""
    place = Where("spec.yaml", 1)
    changes = FeatureChanges({feature.name: place}, dict.fromkeys(excluded(LIBRARY, feature), place))
    for arch in sorted(feature.arch or ALL):
        wishes = collect(LIBRARY, "default", (), arch=arch, kernel="6.12.117", changes=changes)
        assert feature.name in wishes.features


def test_what_a_feature_saves_is_read_from_the_table_of_costs() -> None:
    rows = (
        '{"features": [{"feature": "xfs", "cost": {"bzimage": 524288, "boot_minstr": 1.25, "overhead_mib": null}},'
        ' {"feature": "nfs", "cost": null}]}'
    )
    assert savings(rows) == {"xfs": "512 KiB of bzImage, 1.2 M instructions"}
