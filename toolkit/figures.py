"""The figures of a set, said once: their names, units, kinds, and what each is. All of them can have a budget.

``instructions`` and ``accesses`` are counted in an emulated guest and are the same on every host, to four digits;
``size`` is of files; ``memory`` varies by some KiB; ``time`` and ``throughput`` (MiB a second) are this host's, and no
proof of anything elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """``check``: the id of the check that holds it to its budget. ``always``: it is measured in every proof."""

    name: str
    kind: str
    unit: str
    title: str
    check: str
    always: bool = False


FIGURES: tuple[Figure, ...] = (
    Figure("image_mib", "size", "MiB", "image, allocated on disk", "budget-image", always=True),
    Figure("initrd_mib", "size", "MiB", "initrd", "budget-initrd"),
    Figure("vmlinux_mib", "size", "MiB", "kernel (vmlinux)", "budget-vmlinux", always=True),
    Figure("kernel_minstr", "instructions", "M instructions", "the kernel's part of the boot (K)", "budget-kernel"),
    Figure("boot_minstr", "instructions", "M instructions", "boot to the agent (T)", "budget-boot", always=True),
    Figure("check_minstr", "instructions", "M instructions", "to the agent's first answer (R)", "budget-check"),
    Figure("output_minstr", "instructions", "M instructions", "to a container's first output (C)", "budget-output"),
    Figure("guest_overhead_mib", "memory", "MiB", "guest memory overhead (O)", "budget-overhead", always=True),
    Figure("guest_overhead_2048_mib", "memory", "MiB", "the same of a guest of 2,048 MiB", "budget-overhead-2048"),
    Figure("exits_port", "accesses", "accesses", "port accesses up to the agent's answer", "budget-exits-port"),
    Figure("exits_mmio", "accesses", "accesses", "MMIO accesses up to the agent's answer", "budget-exits-mmio"),
    Figure("exits_firmware", "accesses", "accesses", "of these, the firmware's", "budget-exits-firmware"),
    Figure("exits_polls", "accesses", "accesses", "reads of a clock in a loop", "budget-exits-polls"),
    Figure("exits_irqchip", "accesses", "accesses", "accesses to interrupt controllers", "budget-exits-irqchip"),
    Figure("seconds_to_agent", "time", "s", "to the agent's first answer, on this host", "budget-seconds"),
)

KINDS: Mapping[str, str] = {
    **{figure.name: figure.kind for figure in FIGURES},
    **dict.fromkeys(
        (
            "virtio_fs_read_mibs",
            "virtio_fs_write_mibs",
            "9p_read_mibs",
            "9p_write_mibs",
            "root_read_mibs",
            "blk_read_mibs",
            "blk_write_mibs",
            "network_read_mibs",
        ),
        "throughput",
    ),
    **dict.fromkeys(("seconds_of_kernel", "seconds_to_console", "seconds_to_agent_port", "seconds_to_output"), "time"),
}
"""Each figure's kind, for whoever compares two of them; also of those that no budget can hold."""
