"""The checks that hold a set to the budgets of its spec; every figure is kept, with or without a limit."""

from __future__ import annotations

from collections.abc import Callable

from ...checks import FAIL, PASS, SKIP, Check, Skipped, Verdict
from ...errors import CheckError
from ..evidence import Evidence

_MIB = 1 << 20


def _budget(name: str, unit: str, figure: Callable[[Evidence], float]) -> Callable[[Evidence], Verdict]:
    def check(evidence: Evidence) -> Verdict:
        limit = getattr(evidence.built.limits, name)
        try:
            found = figure(evidence)
        except Skipped:
            if limit is None:
                raise Skipped("no budget is set") from None
            raise
        evidence.measurements[name] = round(found, 3)
        if limit is None:
            return Verdict(SKIP, f"{found:.2f} {unit}; no budget is set")
        if found <= limit:
            return Verdict(PASS, f"{found:.2f} {unit} of {limit:g}")
        remedy = f"make it smaller, or raise budgets.{name}"
        return Verdict(FAIL, f"{found:.2f} {unit}, the budget is {limit:g}", remedy)

    return check


def _image_mib(evidence: Evidence) -> float:
    image = evidence.built.image
    if image is None:
        raise Skipped("the set has no image")
    try:
        return image.path.stat().st_blocks * 512 / _MIB
    except OSError as error:
        raise CheckError(f"{image.path.name}: {error.strerror}") from error


def _vmlinux_mib(evidence: Evidence) -> float:
    kernel = evidence.configuration().kernel
    try:
        return kernel.stat().st_size / _MIB
    except OSError as error:
        raise CheckError(f"{kernel.name}: {error.strerror}") from error


def _figure(name: str) -> Callable[[Evidence], float]:
    def figure(evidence: Evidence) -> float:
        figures = evidence.figures()
        evidence.measurements.update(figures.as_json())
        value = getattr(figures, name)
        if value is None:
            raise Skipped("the agent does not report it")
        return float(value)

    return figure


CHECKS: tuple[Check[Evidence], ...] = (
    Check("budget-image", "image, allocated on disk", _budget("image_mib", "MiB", _image_mib)),
    Check("budget-vmlinux", "kernel (vmlinux)", _budget("vmlinux_mib", "MiB", _vmlinux_mib)),
    Check("budget-boot", "boot to the agent (T)", _budget("boot_minstr", "M instructions", _figure("boot_minstr"))),
    Check(
        "budget-overhead",
        "guest memory overhead (O)",
        _budget("guest_overhead_mib", "MiB", _figure("guest_overhead_mib")),
    ),
)
