"""The checks that hold a set to the budgets of its spec; what every proof measures is kept without a limit too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...checks import FAIL, PASS, SKIP, Check, Skipped, Verdict
from ...errors import CheckError
from ...figures import FIGURES, Figure
from ..evidence import Evidence

_MIB = 1 << 20


def _check(figure: Figure) -> Check[Evidence]:
    def run(evidence: Evidence) -> Verdict:
        limit = evidence.built.limits.get(figure.name)
        try:
            found = _found(figure, evidence)
        except Skipped:
            if limit is None:
                raise Skipped("no budget is set") from None
            raise
        evidence.measurements[figure.name] = round(found, 3)
        if limit is None:
            return Verdict(SKIP, f"{found:.2f} {figure.unit}; no budget is set")
        if found <= limit:
            return Verdict(PASS, f"{found:.2f} {figure.unit} of {limit:g}")
        remedy = f"make it smaller, or raise budgets.{figure.name}"
        return Verdict(FAIL, f"{found:.2f} {figure.unit}, the budget is {limit:g}", remedy)

    return Check(figure.check, figure.title, run, wanted=lambda e: figure.always or figure.name in e.built.limits)


def _found(figure: Figure, evidence: Evidence) -> float:
    if figure.name in _SIZES:
        return _SIZES[figure.name](evidence)
    if figure.kind == "time":
        return evidence.boot().seconds_to_agent
    figures = evidence.figures()
    evidence.measurements.update(figures.as_json())
    value = getattr(figures, figure.name)
    if value is None:
        raise Skipped("the agent does not report it")
    return float(value)


def _image_mib(evidence: Evidence) -> float:
    image = evidence.built.image
    if image is None:
        raise Skipped("the set has no image")
    return _on_disk(image.path)


def _initrd_mib(evidence: Evidence) -> float:
    initrd = evidence.configuration().initrd
    if initrd is None:
        raise Skipped("the set has no initrd")
    return _on_disk(initrd)


def _on_disk(path: Path) -> float:
    try:
        return path.stat().st_blocks * 512 / _MIB
    except OSError as error:
        raise CheckError(f"{path.name}: {error.strerror}") from error


def _vmlinux_mib(evidence: Evidence) -> float:
    kernel = evidence.configuration().kernel
    try:
        return kernel.stat().st_size / _MIB
    except OSError as error:
        raise CheckError(f"{kernel.name}: {error.strerror}") from error


_SIZES: dict[str, Callable[[Evidence], float]] = {
    "image_mib": _image_mib,
    "initrd_mib": _initrd_mib,
    "vmlinux_mib": _vmlinux_mib,
}

CHECKS: tuple[Check[Evidence], ...] = tuple(_check(figure) for figure in FIGURES)
