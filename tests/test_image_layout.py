"""Where things lie in an image: header bytes against known digests, tables read by real tools, alignment."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.image import dax
from kata_toolkit.image.layout import MIB, Layout, default_align_mib, layout_for, layout_of
from kata_toolkit.image.mbr import Partition, mbr, partitions_of
from kata_toolkit.kata.guest import plugs_dimms
from kata_toolkit.spec import model


def test_the_dax_header_is_the_one_the_kernel_expects() -> None:
    """The digest is that of the block in images which Kata's own builder writes."""
    block = dax.pfn_block()
    assert len(block) == 4096
    assert hashlib.sha256(block).hexdigest() == "b502df4b37a7b6ba1f3c93416b77768a9f6df41ce2ec7fe46804180ca2191553"
    assert int.from_bytes(block[4088:], "little") == 0x685B032BE3943830
    assert dax.pfn_problem(block) is None


def test_fletcher64_wraps() -> None:
    assert dax.fletcher64(b"") == 0
    assert dax.fletcher64(struct.pack("<II", 1, 2)) == 4 << 32 | 3
    assert dax.fletcher64(b"\xff" * 8) == 0xFFFFFFFD << 32 | 0xFFFFFFFE


@pytest.mark.parametrize(
    ("at", "message"),
    [(0, "signature"), (16, "checksum"), (56, "checksum"), (72, "checksum"), (100, "checksum"), (4088, "checksum")],
)
def test_damage_to_the_header_is_seen(at: int, message: str) -> None:
    block = bytearray(dax.pfn_block())
    block[at] ^= 4
    problem = dax.pfn_problem(bytes(block))
    assert problem is not None
    assert message in problem


@pytest.mark.parametrize(("at", "name"), [(56, "dataoff"), (84, "align"), (72, "mode")])
def test_a_header_that_is_sound_but_another_is_seen(at: int, name: str) -> None:
    block = bytearray(dax.pfn_block())
    block[at : at + 4] = (3).to_bytes(4, "little")
    block[4088:] = dax.fletcher64(bytes(block[:4088]) + bytes(8)).to_bytes(8, "little")
    problem = dax.pfn_problem(bytes(block))
    assert problem is not None
    assert name in problem


@pytest.mark.tool
@pytest.mark.parametrize("size", [4 * MIB, 125 * MIB, 9000 * MIB])
def test_sfdisk_reads_the_table(tmp_path: Path, size: int) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as stream:
        stream.write(mbr((Partition(MIB, size),), 0xCAFE1234))
        stream.truncate(MIB + size)
    subprocess.run(["sfdisk", "--verify", "-q", path], check=True)
    table = json.loads(subprocess.run(["sfdisk", "-J", path], check=True, capture_output=True).stdout)["partitiontable"]
    assert (table["label"], table["id"]) == ("dos", "0xcafe1234")
    [partition] = table["partitions"]
    assert (partition["start"] * 512, partition["size"] * 512, partition["type"]) == (MIB, size, "83")


def test_tables_that_cannot_be() -> None:
    for partition in (Partition(100, MIB), Partition(MIB, 0), Partition(MIB, 1 << 41)):
        with pytest.raises(ValueError, match="does not fit an MBR"):
            mbr((partition,), 0)
    with pytest.raises(ValueError, match="four"):
        mbr((Partition(MIB, MIB),) * 5, 0)
    with pytest.raises(ValueError, match="no partition table"):
        partitions_of(bytes(512))


def test_where_things_lie() -> None:
    with_header = layout_for(1, True, 2)
    assert with_header == Layout(True, 4 * MIB, 3 * MIB, MIB)
    assert with_header.tables == ((0, (Partition(3 * MIB, MIB),)), (2 * MIB, (Partition(MIB, MIB),)))
    without = layout_for(1, False, 2)
    assert without == Layout(False, 2 * MIB, MIB, MIB)
    assert without.tables == ((0, (Partition(MIB, MIB),)),)


@pytest.mark.parametrize("dax", [True, False])
@pytest.mark.parametrize("huge", [True, False])
@pytest.mark.parametrize("verity", [True, False])
def test_a_layout_is_known_again_by_its_table(dax: bool, huge: bool, verity: bool) -> None:
    layout = layout_for(5 * MIB, dax, 2, with_verity=verity, huge=huge)
    assert layout.start == (2 * MIB if dax else 0) + (2 * MIB if huge else MIB)
    table = mbr(layout.tables[0][1], 1)
    assert layout_of(layout.size, dax, table, layout.filesystem_size // 4096 if verity else None) == layout
    # Of a table that is none, or says something else, the usual place is left: what differs is told when it is read.
    for other in (bytes(512), mbr((Partition(7 * MIB, MIB),), 1)):
        assert layout_of(layout.size, dax, other).start == (3 * MIB if dax else MIB)


@pytest.mark.parametrize("align", [2, 4, 6, 128])
@pytest.mark.parametrize("size", [1, MIB, MIB + 1, 125 * MIB, 125 * MIB + 4096])
def test_sizes_are_multiples_and_no_larger_than_needed(align: int, size: int) -> None:
    for with_dax in (True, False):
        layout = layout_for(size, with_dax, align)
        assert layout.size % (align * MIB) == 0
        assert size <= layout.filesystem_size < size + align * MIB


def test_sizes_that_cannot_work() -> None:
    with pytest.raises(InputError, match="multiple of 2"):
        layout_for(1, True, 3)
    with pytest.raises(InputError, match="above 0"):
        layout_for(1, False, 0)
    with pytest.raises(InputError, match="2 TiB"):
        layout_for(1 << 41, False, 2)
    assert layout_for(1, False, 1).size == 2 * MIB


def spec_with(*hypervisors: model.Hypervisor, dax: bool = True) -> model.Spec:
    source = model.DebianKernel("linux-source-6.12")
    return model.Spec(
        file=Path("s.yaml"), digest="", name="s", arch="x86_64", kernel=model.Kernel(source),
        agent=model.BuiltinAgent(), rootfs=model.MinimalRootfs(), image=model.Image(dax=dax), initrd=model.Initrd(),
        kata="4.1", hypervisors=hypervisors, wrapper="s", prefix="/opt/s", budgets={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "align"),
    [
        ({}, 128),
        ({"default_memory": 256}, 128),
        ({"memory_slots": 0}, 128),  # Kata takes 0 for its default of 10
        ({"default_maxmemory": 0}, 128),
        ({"default_maxmemory": 4096, "default_memory": 2048}, 128),
        ({"default_maxmemory": 2048, "default_memory": 2048}, 2),
        ({"default_maxmemory": 2048}, 2),
        ({"enable_virtio_mem": True}, 2),
        ({"enable_virtio_mem": False}, 128),
        ({"disable_image_nvdimm": True}, 2),
        ({"runtime.static_sandbox_resource_mgmt": True}, 2),
        ({"vm_rootfs_driver": "virtio-blk-pci"}, 2),  # the Rust runtime's word for disable_image_nvdimm
    ],
)
def test_alignment_follows_from_whether_dimms_can_be_plugged(settings: dict[str, model.Setting], align: int) -> None:
    spec = spec_with(model.Hypervisor("qemu", dialects=("go",), settings=settings))
    assert default_align_mib(dimms=plugs_dimms(spec)) == align


def test_no_dimms_where_there_is_no_nvdimm_image() -> None:
    assert plugs_dimms(spec_with(model.Hypervisor("qemu")))
    assert not plugs_dimms(spec_with(model.Hypervisor("qemu"), dax=False))
    assert not plugs_dimms(spec_with(model.Hypervisor("qemu", boot="initrd")))
    assert not plugs_dimms(spec_with())
