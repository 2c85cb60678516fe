"""Requests held to what the real kernel's own conf made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.kconfig.config import count_on, read_config, same_value
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.requests import collect
from kata_toolkit.kconfig.resolve import Source
from kata_toolkit.kconfig.unmet import Inquiry
from kata_toolkit.kernel_tree import version_of
from kernel_harness import conf

pytest_plugins = ("kernel_fixtures",)


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("y", "y", True),
        ("y", None, False),
        ("n", None, True),
        ("n", "n", True),
        ("n", "y", False),
        ("m", "y", False),
        ("64", "64", True),
        ("0x10", "0x10", True),
        ("16", "0x10", True),
        ("64", "65", False),
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('""', None, False),
    ],
)
def test_a_result_is_compared_exactly(wanted: str, got: str | None, same: bool) -> None:
    assert same_value(wanted, got) is same


def test_a_config_is_read() -> None:
    text = '#\n# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C="x=y"\nCONFIG_D=m\nCONFIG_E=0x1f\n\nnonsense\n'
    values = read_config(text)
    assert values == {"CONFIG_B": "y", "CONFIG_C": '"x=y"', "CONFIG_D": "m", "CONFIG_E": "0x1f"}
    assert count_on(values) == 2


@pytest.mark.kernel
@pytest.mark.parametrize("profile", sorted(load_library().profiles))
def test_every_request_of_our_profiles_is_met(real_tree: Path, conf_folder: Path, profile: str) -> None:
    wishes = collect(load_library(), profile, (), arch="x86_64", kernel=version_of(real_tree))
    values = conf(real_tree, conf_folder, wishes.allconfig())
    source = Source(real_tree, "x86", version_of(real_tree), str(real_tree))
    found = Inquiry(source.scan(conf_folder / "cache"), source, values, wishes.requests).findings()
    assert [str(f.problem()) for f in found if f.is_error] == []
    assert values["CONFIG_IKCONFIG_PROC"] == "y"


@pytest.mark.kernel
def test_nothing_is_on_that_would_cost_every_guest_for_nothing(real_config: dict[str, str]) -> None:
    for symbol in ("DEBUG_INFO", "MODULES", "KALLSYMS_ALL", "FTRACE", "USB_SUPPORT", "NUMA", "UNWINDER_ORC", "SUSPEND"):
        assert f"CONFIG_{symbol}" not in real_config
