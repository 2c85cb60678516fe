"""Requests held to what the real kernel's own conf made of them, and the reason for each that it did not meet."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.errors import Where
from kata_toolkit.kconfig.config import config_line, count_on, read_config, same_value
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.requests import Request, collect
from kata_toolkit.kconfig.unmet import explain, unmet
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
    missed = [r for r in unmet(wishes.requests, values) if r.allowed is None]
    assert [str(p) for p in explain(missed, values, real_tree, "x86")] == []
    assert values["CONFIG_IKCONFIG_PROC"] == "y"


@pytest.mark.kernel
def test_nothing_is_on_that_would_cost_every_guest_for_nothing(real_config: dict[str, str]) -> None:
    for symbol in ("DEBUG_INFO", "MODULES", "KALLSYMS_ALL", "FTRACE", "USB_SUPPORT", "NUMA", "UNWINDER_ORC", "SUSPEND"):
        assert f"CONFIG_{symbol}" not in real_config


UNMET = {
    "misspelt": (
        {"VIRTIO_MEMM": "y"},
        "CONFIG_VIRTIO_MEMM: this kernel has no such symbol (did you mean CONFIG_VIRTIO_MEM?)",
    ),
    "nothing like it": ({"XYZZY_PLUGH": "y"}, "CONFIG_XYZZY_PLUGH: this kernel has no such symbol"),
    "dependency": (
        {"VIRTIO_FS": "y"},
        "CONFIG_VIRTIO_FS: wanted y, got n: depends on FUSE_FS (fs/fuse/Kconfig:33): CONFIG_FUSE_FS is off",
    ),
    "either of two": (
        {"FS_DAX": "y"},
        (
            "CONFIG_FS_DAX: wanted y, got n: depends on ZONE_DEVICE || FS_DAX_LIMITED (fs/Kconfig:63): "
            "CONFIG_ZONE_DEVICE is off, CONFIG_FS_DAX_LIMITED is off"
        ),
    ),
    "menu and block": (
        {"KVM_GUEST": "y"},
        (
            "CONFIG_KVM_GUEST: wanted y, got n: depends on HYPERVISOR_GUEST (arch/x86/Kconfig:793): "
            "CONFIG_HYPERVISOR_GUEST is off; depends on PARAVIRT (arch/x86/Kconfig:834): CONFIG_PARAVIRT is off"
        ),
    ),
    "selected": (
        {"NET": "y", "BPF": "n"},
        "CONFIG_BPF: wanted n, got y: selected by CONFIG_NET (net/Kconfig:10) (switch that off, or leave this one on)",
    ),
    "no prompt, off": (
        {"64BIT": "n"},
        "CONFIG_64BIT: wanted n, got y: nobody can switch it off here: it has no prompt (arch/x86/Kconfig:3)",
    ),
    "no prompt, on": (
        {"VIRTIO_PCI_LIB": "y"},
        (
            "CONFIG_VIRTIO_PCI_LIB: wanted y, got n: nobody can set it: it has no prompt (drivers/virtio/Kconfig:13) "
            "(it comes with one of: CONFIG_PDS_VDPA, CONFIG_VIRTIO_PCI, CONFIG_VP_VDPA)"
        ),
    ),
    "choice": (
        {"HZ_100": "y", "HZ_1000": "y"},
        (
            "CONFIG_HZ_100: wanted y, got n: its choice went to CONFIG_HZ_1000 (kernel/Kconfig.hz:20) "
            "(ask for CONFIG_HZ_1000=n as well)"
        ),
    ),
    "range": (
        {"SMP": "y", "NR_CPUS": "9999"},
        "CONFIG_NR_CPUS: wanted 9999, got 512: the value is out of its range (arch/x86/Kconfig:1033)",
    ),
    "text for a number": (
        {"NR_CPUS": '"x"'},
        'CONFIG_NR_CPUS: wanted "x", got 1: it is an int, and "x" is not a number',
    ),
    "number for a bool": ({"SMP": "2"}, "CONFIG_SMP: wanted 2, got n: it is a bool, and 2 is not y or n"),
    "module of a bool": ({"SMP": "m"}, "CONFIG_SMP: wanted m, got n: it is a bool, and only a tristate can be m"),
    "module without modules": (
        {"NET": "y", "VSOCKETS": "m"},
        "CONFIG_VSOCKETS: wanted m, got y: it cannot be a module (ask for CONFIG_VSOCKETS=y)",
    ),
    "text without quotes": (
        {"DEFAULT_HOSTNAME": "kata"},
        (
            'CONFIG_DEFAULT_HOSTNAME: wanted kata, got "(none)": it is a string, and its value must be in '
            "double quotes: '\"text\"'"
        ),
    ),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", UNMET)
def test_the_reason_is_found_in_the_real_tree(real_tree: Path, conf_folder: Path, name: str) -> None:
    wanted, message = UNMET[name]
    requests = [
        Request(f"CONFIG_{symbol}", value, "a reason", Where("my.yaml", line, 3), ("spec",))
        for line, (symbol, value) in enumerate(wanted.items(), 1)
    ]
    text = "".join(config_line(r.symbol, r.value) for r in requests)
    values = conf(real_tree, conf_folder, text)
    problems = explain(unmet(requests, values), values, real_tree, "x86")
    assert [str(p).split(": ", 1)[1] for p in problems] == [message]
    assert all(p.where and p.where.file == "my.yaml" for p in problems)
