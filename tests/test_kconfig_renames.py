"""The table of renamed symbols, held to the real tree: the new name is there, the old one is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.kconfig.renames import fate_of, load_renames
from kata_toolkit.kconfig.scan import scan
from kata_toolkit.kconfig.versions import version_tuple

pytest_plugins = ("kernel_fixtures",)


@pytest.mark.kernel
def test_the_table_agrees_with_the_real_tree(real_tree: Path) -> None:
    known = scan(real_tree, "x86").definitions.keys() | scan(real_tree, "arm64").definitions.keys()
    here = [r for r in load_renames() if version_tuple(r.since) <= (6, 12)]
    assert len(here) > 40
    assert [r.old for r in here if r.old.removeprefix("CONFIG_") in known] == []
    assert [r.new for r in here if r.new and r.new.removeprefix("CONFIG_") not in known] == []


def test_both_directions_and_names_ported_back_are_told() -> None:
    old, new = "CONFIG_RETPOLINE", "CONFIG_MITIGATION_RETPOLINE"
    after = fate_of(old, "6.12.1", {"MITIGATION_RETPOLINE"})
    assert after is not None
    assert (after.told, after.name) == (f"since Linux 6.9 it is called {new}", new)
    ported = fate_of(old, "6.6.1", {"MITIGATION_RETPOLINE"})
    assert ported is not None
    assert ported.told == f"in this kernel it is called {new}"
    before = fate_of(new, "6.1.1", {"RETPOLINE"})
    assert before is not None
    assert (before.told, before.name) == (f"before Linux 6.9 it is called {old}", old)
    assert fate_of("CONFIG_SLAB", "6.6.1", set()) is None, "it was still there"
