"""The files that translations are tried on: each flavour as we write it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kata_toolkit.errors import InputError
from kata_toolkit.kata.flavours import flavours
from kata_toolkit.kata.render import render
from kata_toolkit.kata.request import Built, Request
from kata_toolkit.kata.tree import config_tree
from kata_toolkit.kata.values import config_values
from kata_toolkit.spec.model import Dialect, Hypervisor


def cases() -> Iterator[tuple[str, Dialect, str, str]]:
    """Every flavour, dialect, architecture and way to boot that there is."""
    for name, flavour in flavours().items():
        for dialect, arches in flavour.arches.items():
            for arch in arches:
                for boot in flavour.boots.get(dialect, ()):
                    yield name, dialect, arch, boot  # type: ignore[misc] -- the data's dialects are ours


def written(name: str, dialect: Dialect, arch: str, boot: str, **settings: Any) -> str:
    """The file that a spec would get."""
    hypervisor = Hypervisor(name, boot=boot, dialects=(dialect,), settings=settings)
    request = Request("guest", "/opt/guest", arch, "4.1", hypervisor, kernel_params=("mitigations=off",))
    values = config_values(request, Built("6.12.48"))[dialect]
    tree = config_tree(dialect, flavours()[name].vmm, values)
    return render(dialect, name, "4.1", arch, tree, ["About."])


def usable(name: str, dialect: Dialect, arch: str, boot: str) -> str | None:
    """The same, or None where our generator refuses that combination."""
    try:
        return written(name, dialect, arch, boot)
    except InputError:
        return None
