"""Kernels that are booted to be measured: a tree whose make hands out a kernel that was built before."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.cost.costs import Row
from kata_toolkit.cost.measuring import measure_costs
from kata_toolkit.events import Event, Finished
from kata_toolkit.pipeline.store import Store
from kata_toolkit.spec.load import load_spec
from kernel_harness import Bench

pytest_plugins = ("kernel_fixtures",)
pytestmark = [pytest.mark.tool, pytest.mark.vm]

# What a kernel must have to see the machine and its root; the kernel that make hands out has it all.
SYMBOLS = {
    "machine": ("PVH", "PCI", "VIRTIO_PCI"),
    "pmem": ("BLK_DEV_PMEM",),
    "disk": ("VIRTIO_BLK",),
    "initrd": ("BLK_DEV_INITRD",),
    "spare": ("NET",),
}
HANDED_OUT = """
.PHONY: handed-out
handed-out: $(O)/vmlinux
	@cp {kernel} $(O)/vmlinux
vmlinux: handed-out
"""


def test_boots_are_counted_from_the_root_that_both_kernels_can_use(
    bench: Bench, tree: Path, tmp_path: Path, built_set: Path
) -> None:
    kernel = next((built_set / "share/kata-containers").glob("vmlinux-*"))
    symbols = {s for names in SYMBOLS.values() for s in names} - {"NET"}
    (tree / "Kconfig").write_text(
        (tree / "Kconfig").read_text() + "".join(f'\nconfig {s}\n\tbool "{s}"\n' for s in sorted(symbols))
    )
    (tree / "Makefile").write_text((tree / "Makefile").read_text() + HANDED_OUT.format(kernel=kernel))
    library = tmp_path / "kernel-configs"
    for name, wanted in SYMBOLS.items():
        settings = ", ".join(f'CONFIG_{s}: {{value: y, why: "to be seen"}}' for s in wanted)
        (library / "features" / f"{name}.yaml").write_text(f"feature: {name}\ntitle: {name}\nsymbols: {{{settings}}}\n")
    names = ", ".join(SYMBOLS)
    (library / "profiles/default.yaml").write_text(f"profile: default\ntitle: All of it\nfeatures: [{names}]\n")
    file = tmp_path / "small.yaml"
    file.write_text(f"version: 1\nname: small\nkernel:\n  source: {{kind: tree, path: {tree}}}\n")

    def measured(*features: str) -> tuple[dict[str, Row], list[Event]]:
        events: list[Event] = []
        with (tmp_path / "log").open("w") as log:
            costs = measure_costs(
                load_spec(file),
                Store(bench.cache),
                events.append,
                log,
                features=features,
            )
        assert costs.root == "nvdimm"
        assert costs.base.boot_minstr is not None
        assert costs.base.boot_minstr > 30
        assert costs.base.overhead_mib is not None
        assert 10 < costs.base.overhead_mib < 100
        return {row.feature: row for row in costs.rows}, events

    rows, _ = measured("spare", "pmem", "machine")
    for name, root in (("spare", None), ("pmem", "virtio-blk")):
        row = rows[name]
        assert row.root == root
        assert row.problem is None
        assert row.cost is not None
        assert row.cost.boot_minstr == pytest.approx(0, abs=0.3), "it is the same kernel"
        assert row.cost.overhead_mib == pytest.approx(0, abs=0.5)
    lost = rows["machine"]
    assert str(lost.problem).startswith("does not boot: ")
    assert "CONFIG_PVH" in str(lost.problem)
    assert lost.cost is not None
    assert lost.cost.bzimage is not None
    assert lost.cost.boot_minstr is None

    again, events = measured("spare", "pmem")
    assert [row.cost for row in again.values()] == [rows["spare"].cost, rows["pmem"].cost]
    assert [e.stage for e in events if isinstance(e, Finished)] == ["kernel_cost"], "boots are kept as well"
