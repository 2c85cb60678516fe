"""kernel-configs/prebuilt.yaml: what a kernel that others have built must bring, and which modules symbols become."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .. import resources
from ..errors import InputError, Problem, Where
from ..spec.schema import check, load_schema
from ..spec.yamltree import load_yaml


@dataclass(frozen=True, slots=True)
class Guest:
    """How one hypervisor boots the set: what its root comes from, and where the spec says so.

    ``conditions``: of kernel-configs/prebuilt.yaml's ``when``.
    """

    name: str
    boot: str  # image | initrd
    conditions: frozenset[str]
    where: Where | None = field(default=None, compare=False)


class PrebuiltRules:
    """kernel-configs/prebuilt.yaml. Raises InputError when that file is wrong."""

    def __init__(self) -> None:
        tree = load_yaml(resources.resource("kernel-configs", "prebuilt.yaml"))
        mistakes = [problem for _, problem in check(tree, load_schema("prebuilt"))]
        if mistakes:
            raise InputError.many(mistakes)
        self._data: dict[str, Any] = tree.value

    @property
    def needs(self) -> list[dict[str, Any]]:
        """What no guest starts without: ``what`` in words, its ``symbols``, and for which guests."""
        needs: list[dict[str, Any]] = self._data["needs"]
        return needs

    @cached_property
    def tuning(self) -> frozenset[str]:
        """Symbols whose value no program notices."""
        return frozenset(self._data["tuning"])

    @cached_property
    def at_boot(self) -> frozenset[str]:
        """Symbols whose modules are loaded before the agent starts."""
        return frozenset(self._data["boot"])

    def modules_of(self, symbol: str, there: Container[str]) -> tuple[str, ...] | None:
        """The modules that a symbol becomes, of those ``there``; None when no name is known for it."""
        listed = self._data["modules"].get(symbol)
        if listed is not None:
            found = tuple(name for name in listed if name in there)
            return found if found or not listed else None
        for pattern in self._data["patterns"]:
            if symbol.startswith(pattern["prefix"]):
                rest = symbol.removeprefix(pattern["prefix"])
                name = pattern["module"].format(lower=rest.lower(), upper=rest)
                if name in there:
                    return (name,)
        name = symbol.removeprefix("CONFIG_").lower()
        return (name,) if name in there else None

    def unmet(
        self, values: Mapping[str, str], guests: Sequence[Guest], kernel: str, where: Where | None, *, modules: bool
    ) -> list[Problem]:
        """Why no guest of this set could start. ``values``: of the .config; ``kernel``: what messages call it.

        ``modules``: they come with the kernel; otherwise what is a module might as well be off.
        """
        found: dict[Problem, None] = {}
        for need in self._data["needs"]:
            for guest in guests:
                if need["when"] != "always" and need["when"] not in guest.conditions:
                    continue
                lacking = [s for s in need["symbols"] if values.get(s) not in ("y", "m")]
                if lacking:
                    found[
                        Problem(f"{kernel} cannot be a guest's kernel: no {need['what']} ({_off(lacking)})", where)
                    ] = None
                late = [s for s in need["symbols"] if values.get(s) == "m" and (need.get("builtin") or not modules)]
                if late and not lacking:
                    late_or_never = _too_late if modules else _no_modules
                    found[late_or_never(kernel, need["what"], late, guest, where)] = None
        return _merged(found)


def _off(symbols: Iterable[str]) -> str:
    return ", ".join(f"{s}=n" for s in symbols)


def _too_late(kernel: str, what: str, symbols: list[str], guest: Guest, where: Where | None) -> Problem:
    said = ", ".join(f"{s}=m" for s in symbols)
    if guest.boot == "initrd":
        return Problem(f"{kernel} cannot be a guest's kernel: {what} needs {said} built in", where)
    return Problem(
        f"{kernel} cannot boot the image of {guest.name}: {what} needs a module, which lies in that image ({said})",
        guest.where,
        f"boot the initrd, which has the modules: set initrd: {{enabled: true}}, and "
        f"runtime.hypervisors.{guest.name}.boot: initrd",
    )


def _no_modules(kernel: str, what: str, symbols: list[str], _: Guest, where: Where | None) -> Problem:
    said = ", ".join(f"{s}=m" for s in symbols)
    return Problem(
        f"{kernel} cannot be a guest's kernel without its modules: {what} needs {said}",
        where,
        "give the package that it is from, which has them: kernel.source: {kind: prebuilt, package: …} or deb: …",
    )


def _merged(problems: Iterable[Problem]) -> list[Problem]:
    """One problem a hint: an image that cannot be reached is one mistake, however many modules it takes."""
    kept: dict[tuple[Where | None, str | None], Problem] = {}
    for problem in problems:
        key = (problem.where, problem.hint)
        if problem.hint is None:
            key = (None, problem.message)
        kept.setdefault(key, problem)
    return list(kept.values())
