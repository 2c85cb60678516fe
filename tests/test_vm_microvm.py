"""A guest on QEMU's microvm: no PCI, no ACPI, every device by virtio-mmio; proved like any other, and quick.

$KATA_TOOLKIT_TEST_MICROVM names a built set to use instead of building one with the profile `firecracker`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.evidence import Evidence
from kata_toolkit.vm.measure import measure
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.proof import prove
from kata_toolkit.vm.session import Session

pytestmark = [pytest.mark.full, pytest.mark.kernel, pytest.mark.vm]


@pytest.fixture(scope="module")
def microvm_set(tool: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("KATA_TOOLKIT_TEST_MICROVM")
    if given:
        return Path(given).absolute()
    target = tmp_path_factory.mktemp("microvm") / "set"
    subprocess.run([tool, "build", "-q", root / "benchmarks/specs/firecracker.yaml", "-o", target], check=True)
    return target


def test_it_is_proved_on_the_machine_its_configuration_names(microvm_set: Path) -> None:
    with Evidence(BuiltSet.load(microvm_set), Options(accel="tcg"), note=lambda text: None) as evidence:
        verdicts = {check.id: verdict for check, verdict in prove(evidence, starting=lambda check: None)}
    assert not [name for name, verdict in verdicts.items() if verdict.status == "fail"], verdicts
    for name in ("boots", "kernel-config", "container-output", "container-exit-codes", "container-stdin", "power-off"):
        assert verdicts[name].status == "pass", verdicts[name]
    with Session.boot(BuiltSet.load(microvm_set).bootable(), Options(accel="tcg"), note=lambda text: None) as session:
        assert "microvm," in " ".join(session.vmm.argv)
        seen = session.run(
            ["/bin/sh", "-c", "ls /sys/bus/virtio/devices | wc -l; ls -d /sys/bus/pci /sys/firmware/acpi"]
        )
    assert int(seen.stdout.split()[0]) >= 3  # console and agent, root, random numbers
    assert seen.status != 0  # neither of the two folders is there


def test_it_takes_few_instructions_and_few_exits(microvm_set: Path) -> None:
    found, again = (measure(BuiltSet.load(microvm_set).bootable(), container=False) for _ in range(2))
    assert found.boot_minstr is not None
    assert again.boot_minstr is not None
    assert found.boot_minstr < 37.4  # 0.12 of what Kata's own options take
    assert again.boot_minstr == pytest.approx(found.boot_minstr, rel=0.005)
    assert sum(found.exits_by_device.values()) < 1000
    assert not [name for name in found.exits_by_device if name.startswith(("pci", "acpi"))]
