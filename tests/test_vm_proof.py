"""The tables of the proof, without a guest: names, words, what is promised, and what is skipped for which reason."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from kata_toolkit.checks import FAIL, PASS, Check, Report, Skipped, Verdict
from kata_toolkit.cli.render_report import counted
from kata_toolkit.errors import CheckError, InputError
from kata_toolkit.vm import other_roots, page, sharing
from kata_toolkit.vm.built_set import BuiltSet, Guest
from kata_toolkit.vm.checks.container_table import CASES
from kata_toolkit.vm.evidence import Evidence
from kata_toolkit.vm.guests import GUESTS, Basis
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.proof import CHECKS, ESSENTIAL, QUICK, chosen

IDS = [check.id for check in CHECKS]


def guest(tmp_path: Path, config: str = "", **changes: object) -> Guest:
    (tmp_path / "config").write_text(config)
    base = {"kernel": tmp_path / "vmlinux", "boot": "image", "kernel_config": tmp_path / "config"}
    return Guest(**{**base, **changes})  # type: ignore[arg-type]  # a table of fields


def basis(found: Guest, folder: Path) -> Basis:
    return Basis(found, Options(accel="tcg"), lambda: folder)


def test_names_are_unique_and_of_the_schemas_form(root: Path) -> None:
    schema = json.loads((root / "schemas" / "checks.schema.json").read_text())
    form = schema["properties"]["checks"]["items"]["properties"]["id"]["pattern"]
    assert len(set(IDS)) == len(IDS)
    assert all(re.search(form, name) for name in IDS)
    assert set(ESSENTIAL) <= {check.id for check in QUICK} < set(IDS)


def test_more_than_thirty_behaviours_of_containers_each_with_a_name_and_words() -> None:
    containers = [check for check in CHECKS if check.id.startswith("container-")]
    assert len(containers) > 60
    assert all(check.title and (check.run.__doc__ or "").strip() for check in containers)
    for case in CASES:
        re.compile(case.out)
        re.compile(case.err or "")
        assert case.script or case.process.get("args"), case.name


def test_every_check_outside_the_budgets_says_what_it_does() -> None:
    assert [c.id for c in CHECKS if not c.id.startswith("budget-") and not inspect.getdoc(c.run)] == []


def test_the_page_is_the_one_that_the_tables_make(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["page", str(tmp_path / "verify.md")])
    page.main()
    assert (tmp_path / "verify.md").read_text() == (root / "docs" / "verify.md").read_text(), "run `make docs`"


def test_checks_are_chosen_by_pattern_in_the_tables_order() -> None:
    assert [check.id for check in chosen(("power-off", "root-*"))] == [
        name for name in IDS if name.startswith("root-") or name == "power-off"
    ]
    with pytest.raises(InputError, match="no check is called container-nothing"):
        chosen(("container-nothing", "*"))


@pytest.mark.parametrize(
    ("name", "config", "reason"),
    [
        ("virtio-blk", "", "CONFIG_VIRTIO_BLK"),
        ("ext4", "CONFIG_EXT4_FS=y\nCONFIG_BLK_DEV_PMEM=y\n", "CONFIG_FS_DAX"),
        ("erofs", "# CONFIG_EROFS_FS is not set\n", "CONFIG_EROFS_FS"),
        ("initrd", "CONFIG_BLK_DEV=y\n", "CONFIG_BLK_DEV_INITRD"),
        ("verity", "CONFIG_DM_VERITY=y\nCONFIG_VIRTIO_BLK=y\n", "CONFIG_DM_INIT"),
        ("verity-tampered", "", "CONFIG_DM_VERITY"),
    ],
)
def test_what_the_kernel_does_not_promise_is_skipped_with_the_symbol(
    tmp_path: Path, name: str, config: str, reason: str
) -> None:
    with pytest.raises(Skipped, match=f"built without {reason}: .* is not promised"):
        GUESTS[name].plan(basis(guest(tmp_path, config), tmp_path))


def test_a_kernel_whose_configuration_is_not_there_promises_nothing(tmp_path: Path) -> None:
    found = replace(guest(tmp_path), kernel_config=tmp_path / "gone")
    with pytest.raises(Skipped):
        GUESTS["virtio-blk"].plan(basis(found, tmp_path))


@pytest.mark.parametrize("name", ["hot-plug", "sharing"])
def test_a_machine_without_pci_has_no_place_for_them(tmp_path: Path, name: str) -> None:
    found = guest(tmp_path, "CONFIG_VIRTIO_FS=y\n", machine_type="microvm")
    with pytest.raises(Skipped, match="microvm"):
        GUESTS[name].plan(basis(found, tmp_path))


def test_a_set_with_an_initrd_has_no_image_to_make_others_of(tmp_path: Path) -> None:
    found = guest(tmp_path, boot="initrd", initrd=tmp_path / "initrd")
    for make in (other_roots.ext4, other_roots.erofs, other_roots.verity, other_roots.initrd, other_roots.tampered):
        with pytest.raises(Skipped, match="has no image"):
            make(found, tmp_path)


@pytest.mark.parametrize("content", [b"", bytes(4 << 20), b"\xff" * (8 << 20)])
@pytest.mark.parametrize("verity", ["", "root_hash=00,salt=00,data_blocks=1,data_block_size=512,hash_block_size=512"])
def test_an_image_that_cannot_be_read_is_a_failure_that_names_it(tmp_path: Path, content: bytes, verity: str) -> None:
    (tmp_path / "root.img").write_bytes(content)
    found = guest(tmp_path, image=tmp_path / "root.img", verity=verity)
    for make in (other_roots.ext4, other_roots.erofs, other_roots.initrd, other_roots.tampered):
        with pytest.raises(CheckError, match=r"root\.img: "):
            make(found, tmp_path)


def test_the_guest_to_plug_into_has_room_and_looks_like_one_that_starts_cpus(tmp_path: Path) -> None:
    plan = GUESTS["hot-plug"].plan(basis(guest(tmp_path, maxvcpus=1), tmp_path))
    assert plan.guest.maxvcpus == 4
    assert plan.options.cpu_flags == "-hypervisor"
    assert "type=1,serial=VMware-56" in plan.options.extra
    real = replace(basis(guest(tmp_path), tmp_path), options=Options(accel="kvm"))
    assert GUESTS["hot-plug"].plan(real).options == Options(accel="kvm", vcpus=1)


@pytest.mark.parametrize("reason", [None, "there is no device"])
def test_the_agent_is_reached_over_vsock_where_the_host_has_it(
    built_set: Path, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    asked: list[str] = []

    def boot(found: Guest, options: Options, **more: object) -> None:
        asked.append(options.channel)
        raise Skipped("enough")

    monkeypatch.setattr("kata_toolkit.vm.vsock.unusable", lambda: reason)
    monkeypatch.setattr("kata_toolkit.vm.session.Session.boot", boot)
    with Evidence(BuiltSet.load(built_set), Options(), note=print) as evidence, pytest.raises(Skipped, match="enough"):
        evidence.boot()
    assert asked == ["auto" if reason else "vsock"]


def test_shares_that_the_kernel_lacks_are_told_one_by_one(tmp_path: Path) -> None:
    with ExitStack() as undo:
        options, shares = sharing.share(Options(), {"CONFIG_NET_9P_VIRTIO": "y"}, undo)
        assert set(shares.folders) == {"9p"}
        assert "CONFIG_VIRTIO_FS" in str(shares.missing["virtio-fs"])
        assert (shares.folders["9p"] / sharing.FROM_HOST).read_bytes() == sharing.FROM_HOST_TEXT
        assert options.memory_backend == ""
    assert not shares.folders["9p"].exists()


@pytest.mark.skipif(not Path("/usr/lib/qemu/virtiofsd").exists(), reason="no virtiofsd")
def test_the_daemon_ends_and_its_folder_goes_with_the_guest() -> None:
    with ExitStack() as undo:
        options, shares = sharing.share(Options(), {"CONFIG_VIRTIO_FS": "y"}, undo)
        socket = next(word for word in options.extra if word.startswith("socket,")).rpartition("path=")[2]
        assert Path(socket).is_socket()
        assert options.memory_backend == "memory-backend-memfd,share=on"
        daemons = _running(socket)
        assert daemons
    assert not Path(socket).parent.exists()
    assert not _running(socket)
    assert not shares.folders["virtio-fs"].exists()


def _running(word: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_no_daemon_is_a_reason_and_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sharing, "_FOLDERS", (str(tmp_path),))
    monkeypatch.setenv("PATH", str(tmp_path))
    if shutil.which("virtiofsd", path="/usr/sbin:/sbin"):
        pytest.skip("there is a virtiofsd where every tool is looked for")
    with ExitStack() as undo:
        _, shares = sharing.share(Options(), {"CONFIG_VIRTIO_FS": "y"}, undo)
    assert str(shares.missing["virtio-fs"]) == "virtiofsd is not installed"
    assert "apt-get install virtiofsd" in str(shares.missing["virtio-fs"].remedy)


@pytest.mark.vm
def test_each_form_of_the_root_is_written_once_and_read_back(built_set: Path, tmp_path: Path) -> None:
    found = BuiltSet.load(built_set).bootable()
    verity = other_roots.verity(found, tmp_path)
    assert other_roots.verity(found, tmp_path) is verity
    tampered = other_roots.tampered(found, tmp_path)
    assert verity.image is not None
    assert tampered.image is not None
    one, other = verity.image.read_bytes(), tampered.image.read_bytes()
    assert [left ^ right for left, right in zip(one, other, strict=True) if left != right] == [1]
    initrd = other_roots.initrd(found, tmp_path)
    assert initrd.initrd is not None
    assert b"sbin/init" in initrd.initrd.read_bytes()
    small = replace(found, memory_mib=4)
    with pytest.raises(Skipped, match="more than 1 MiB"):
        other_roots.initrd(small, tmp_path / "small")


def test_a_part_that_was_looked_at_is_no_proof() -> None:
    report = Report({"clock": Verdict(PASS, "x"), "overlay": Verdict(FAIL, "y")})
    assert "proved" not in report.as_json()
    assert counted(report) == "1 passed, 1 failed"


def test_a_partial_set_skips_every_check_that_boots(built_set: Path) -> None:
    whole = BuiltSet.load(built_set)
    partial = replace(whole, guest=None, partial=True)
    with Evidence(partial, Options(accel="tcg"), note=lambda text: None) as evidence:
        booted = [check for check in CHECKS if check.id.startswith(("root-", "container-", "hotplug-", "share-"))]
        assert {_status(check, evidence) for check in booted} == {"skip"}


def _status(check: Check[Evidence], evidence: Evidence) -> str:
    return check.verdict(evidence).status
