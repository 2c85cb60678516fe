"""Reading a built set: every way a manifest can be wrong is the user's mistake, named, and never a traceback."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.vm.built_set import BuiltSet

DIGEST = "a" * 64
GOOD: dict[str, Any] = {
    "version": 1,
    "name": "mini",
    "arch": "x86_64",
    "partial": False,
    "artifacts": [{"path": "share/vmlinux", "size": 3, "sha256": DIGEST, "stage": "kernel", "stage_id": "0"}],
    "root": {
        "kernel": "share/vmlinux",
        "bzimage": None,
        "kernel_config": None,
        "image": "share/mini.img",
        "initrd": None,
        "rootfs_type": "ext4",
        "dax": True,
        "agent": {"kind": "builtin", "path": "/sbin/init", "sha256": DIGEST},
    },
    "guests": [
        {
            "hypervisor": "qemu",
            "boot": "image",
            "rootfs_driver": "nvdimm",
            "vcpus": 1,
            "maxvcpus": 0,
            "memory_mib": 512,
            "memory_slots": 10,
            "maxmemory_mib": 0,
            "debug": False,
            "disable_guest_selinux": True,
            "block_device_driver": "virtio-scsi",
            "kernel_params": ["quiet"],
            "agent_params": ["agent.cdh_api_timeout=50"],
        }
    ],
    "budgets": {"image_mib": 4},
}


def write(folder: Path, manifest: object) -> Path:
    (folder / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return folder


def changed(*keys: str | int, value: object) -> dict[str, Any]:
    manifest: Any = copy.deepcopy(GOOD)
    place = manifest
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return dict(manifest)


def test_a_good_set_is_read_with_absolute_paths(tmp_path: Path) -> None:
    built = BuiltSet.load(write(tmp_path, GOOD))
    assert built.guest is not None
    assert built.guest.image == tmp_path / "share/mini.img"
    assert (built.guest.memory_mib, built.guest.memory_slots, built.guest.vcpus) == (512, 10, 1)
    assert built.guest.kernel_params == ("quiet",)
    assert built.guest.agent_params == ("agent.cdh_api_timeout=50",)
    assert built.limits == {"image_mib": 4}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("", "damaged"),
        ('{"version": 1,', "damaged"),
        ("[" * 100_000, "damaged"),
        ("\x00\xff", "damaged"),
        ([], "not a JSON object"),
        (changed("version", value=2), "version 2 is not known"),
        (changed("version", value=None), "version None is not known"),
        (changed("name", value=7), "name: expected a string, found 7"),
        (changed("partial", value="no"), 'partial: expected true or false, found "no"'),
        (changed("artifacts", value={}), "artifacts: expected a list"),
        (changed("artifacts", 0, value=[]), "an entry is not an object"),
        (changed("artifacts", 0, "path", value="../x"), "leads out of the set"),
        (changed("artifacts", 0, "path", value="a/../../x"), "leads out of the set"),
        (changed("artifacts", 0, "path", value="/etc/passwd"), "leads out of the set"),
        (changed("artifacts", 0, "path", value=""), "leads out of the set"),
        (changed("artifacts", 0, "path", value="link/x"), "by a symbolic link"),
        (changed("artifacts", 0, "size", value=-1), "size: -1 is below 0"),
        (changed("artifacts", 0, "size", value=True), "size: expected a whole number"),
        (changed("artifacts", 0, "sha256", value="ABC"), "is not a sha256"),
        (changed("artifacts", value=GOOD["artifacts"] * 2), "listed twice"),
        (changed("root", value=[]), "root: expected an object"),
        (changed("guests", value={}), "guests: expected a list"),
        (changed("guests", 0, value="x"), "guests: an entry is not an object"),
        (changed("root", "kernel", value="/boot/vmlinuz"), "leads out of the set"),
        (changed("guests", 0, "boot", value="disk"), "'disk' is neither image nor initrd"),
        (changed("guests", 0, "memory_mib", value="256"), "memory_mib: expected a whole number"),
        (changed("guests", 0, "kernel_params", value=[1]), "not a list of strings"),
        (changed("root", "agent", "sha256", value="x"), "is not a sha256"),
        (changed("budgets", "image_mib", value="4"), "budgets.image_mib: expected a number"),
        (changed("budgets", "image_mib", value=True), "budgets.image_mib: expected a number"),
    ],
)
def test_a_wrong_manifest_is_an_input_error(tmp_path: Path, manifest: object, message: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(InputError, match=message):
        BuiltSet.load(write(tmp_path, manifest))


def test_a_missing_folder_a_file_and_a_folder_without_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        BuiltSet.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not a built set"):
        BuiltSet.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        BuiltSet.load(tmp_path / "file")


def test_a_partial_set_loads_but_does_not_boot(tmp_path: Path) -> None:
    partial = {**GOOD, "partial": True, "guests": []}
    built = BuiltSet.load(write(tmp_path, partial))
    with pytest.raises(InputError, match="partial set"):
        built.bootable()


@pytest.mark.parametrize(
    ("gone", "message"),
    [("vmlinux", "the kernel .*vmlinux is missing"), ("mini.img", "the image .*mini.img is missing")],
)
def test_a_missing_artefact_is_named_when_it_is_needed(tmp_path: Path, gone: str, message: str) -> None:
    (tmp_path / "share").mkdir()
    for name in {"vmlinux", "mini.img"} - {gone}:
        (tmp_path / "share" / name).touch()
    built = BuiltSet.load(write(tmp_path, GOOD))
    with pytest.raises(InputError, match=message):
        built.bootable()


def test_the_first_guest_that_qemu_boots_is_the_one(tmp_path: Path) -> None:
    other = {**GOOD["guests"][0], "hypervisor": "clh", "qemu": False, "memory_mib": 77}
    mixed = {**GOOD, "guests": [other, {**GOOD["guests"][0], "qemu": True}]}
    built = BuiltSet.load(write(tmp_path, mixed))
    assert built.guest
    assert built.guest.memory_mib == GOOD["guests"][0]["memory_mib"]
    assert built.elsewhere == ()


def test_a_set_for_other_vmms_says_so(tmp_path: Path) -> None:
    others = [{**GOOD["guests"][0], "hypervisor": name, "qemu": False} for name in ("clh", "fc")]
    built = BuiltSet.load(write(tmp_path, {**GOOD, "guests": others}))
    assert built.guest is None
    assert built.elsewhere == ("clh", "fc")
    with pytest.raises(InputError, match="is for clh, fc, which QEMU cannot stand in for: it is not booted here"):
        built.bootable()
