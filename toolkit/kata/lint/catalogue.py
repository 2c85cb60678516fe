"""The rules of lint: id, usual level, what it is about, and what to do. docs/config.md and SARIF tell them as they are.

Levels: *error*: a runtime refuses the file or what it describes, or what was written is lost by mistake. *warning*:
the runtime does something else than what is written. *note*: worth knowing, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..keys import DIALECTS, tables
from ..rules import RULES as TOGETHER
from ..rules import SEVERITIES
from .findings import Level


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of finding. ``title`` completes "found: …"; ``help`` says why it matters and what to do."""

    id: str
    level: Level
    title: str
    help: str


_TEXT = (
    Rule(
        "syntax",
        "error",
        "The file is not TOML",
        "Both runtimes refuse a file that is not TOML. The place is where reading stops; the mistake is there or "
        "shortly before.",
    ),
    Rule(
        "duplicate-key",
        "error",
        "A key or a table is there twice",
        "Both parsers refuse the file. Keep one of the two.",
    ),
    Rule(
        "not-utf8",
        "error",
        "The file is not UTF-8",
        "TOML is UTF-8. Convert the file, for instance by iconv -f latin1 -t utf-8.",
    ),
    Rule(
        "byte-order-mark",
        "note",
        "The file starts with a byte order mark",
        "The Go runtime accepts one; other readers of TOML need not. Save the file without it.",
    ),
    Rule(
        "dialect-assumed",
        "note",
        "Nothing in the file says which runtime reads it",
        "The Go and the Rust runtime have different keys. Say which one it is by --dialect go or --dialect rs.",
    ),
)
_TABLES = (
    Rule(
        "no-hypervisor",
        "error",
        "No hypervisor table is in use",
        "The Go runtime takes the one [hypervisor.NAME] table there is, the Rust runtime the one that "
        "runtime.hypervisor_name names.",
    ),
    Rule(
        "several-hypervisors",
        "error",
        "Several hypervisor tables in one file",
        "The Go runtime uses one of them, by the random order of a map: it can be another one at each start. Keep one "
        "table in a file.",
    ),
    Rule(
        "unused-hypervisor",
        "note",
        "A hypervisor table that runtime.hypervisor_name does not name",
        "The Rust runtime checks the table, but does not use it.",
    ),
    Rule(
        "unknown-hypervisor",
        "error",
        "A hypervisor that the runtime does not know",
        "Both runtimes refuse a [hypervisor.NAME] table with a name that they do not know. The name is case-sensitive.",
    ),
    Rule(
        "several-agents",
        "error",
        "Several agent tables in one file",
        "The Go runtime uses one of them, by the random order of a map. Keep [agent.kata].",
    ),
    Rule(
        "agent-name",
        "error",
        "runtime.agent_name names no agent table",
        "The Rust runtime takes the table [agent.NAME] that runtime.agent_name names.",
    ),
    Rule(
        "unknown-table",
        "error",
        "A table that the runtime does not know",
        "What is in an unknown table has no effect, or stops the runtime where its parser is strict.",
    ),
)
_KEYS = (
    Rule(
        "unknown-key",
        "error",
        "A key that the runtime does not know",
        "Both runtimes ignore most keys that they do not know without a word: what was meant does not happen.",
    ),
    Rule(
        "wrong-table",
        "error",
        "A key in a table where it does nothing",
        "The runtime knows the key, but looks for it in another table.",
    ),
    Rule(
        "other-dialect",
        "error",
        "A key of the other runtime",
        "The Go and the Rust runtime have different names, units and places for the same setting. The hint says what "
        "this runtime calls it; kata-toolkit config translate translates whole files.",
    ),
    Rule(
        "key-case",
        "warning",
        "A key in other capitals and small letters",
        "The Go runtime matches keys whatever their case, the Rust runtime does not.",
    ),
    Rule(
        "same-key-twice",
        "error",
        "One setting under two spellings",
        "The Go runtime matches keys whatever their case, and takes one of the two values at random.",
    ),
    Rule(
        "dead-key",
        "warning",
        "A key that is common in files and does nothing",
        "Files that come with Kata have keys that their own parser does not know. They can go.",
    ),
    Rule(
        "inert-key",
        "warning",
        "A key that is read and then not used",
        "The parser knows the key, but nothing in the runtime asks for its value.",
    ),
    Rule(
        "not-heeded",
        "warning",
        "A key that does nothing with this hypervisor",
        "All hypervisor tables share one set of keys, and each hypervisor uses some of them. A note where the value is "
        "the runtime's default anyway.",
    ),
    Rule(
        "needs-setting",
        "warning",
        "A key that needs another one",
        "The key means something only with a certain value of another one.",
    ),
    Rule("deprecated-key", "warning", "A deprecated key", "It works in this version and will be dropped."),
    Rule(
        "not-in-version",
        "error",
        "A key that this version of Kata does not have",
        "The runtime of the version in question (--kata) treats it as any key that it does not know.",
    ),
    Rule(
        "internal-key",
        "warning",
        "A key that the runtime fills in itself",
        "It is part of the file's structure for the runtime's own use; a file should not have it.",
    ),
    Rule("missing-key", "error", "A key is missing", "The runtime refuses the table without it."),
)
_VALUES = (
    Rule(
        "wrong-type",
        "error",
        "A value of the wrong type",
        "Both parsers refuse the whole file when one value has another type than the key. Only whole numbers are taken "
        "where a number may have a fraction.",
    ),
    Rule(
        "out-of-range", "error", "A number that does not fit", "The parser refuses numbers that its type cannot hold."
    ),
    Rule(
        "wraps",
        "error",
        "A negative number that becomes a huge one",
        "The Go runtime reads negative numbers into unsigned 64-bit fields without a word: -1 becomes 2^64 - 1.",
    ),
    Rule(
        "clamped",
        "warning",
        "A number that is replaced by another",
        "The runtime uses another number than the file says.",
    ),
    Rule("not-allowed", "error", "A value that the runtime does not accept", "The key has a fixed set of values."),
    Rule("not-finite", "error", "A number that is none", "nan and inf pass the parser; no size follows from them."),
    Rule(
        "relative-path",
        "warning",
        "A relative path",
        "It is looked up from wherever the runtime happens to be started.",
    ),
    Rule(
        "unexpanded-variable",
        "warning",
        "A template variable that was not filled in",
        "The file was made from a template, and something like @NAME@ was left in it.",
    ),
)
_DROP_INS = (
    Rule(
        "drop-in-entry",
        "error",
        "Something in config.d that cannot be read as a drop-in",
        "Every entry of config.d is read, whatever its name. The Rust runtime refuses entries that are no regular "
        "files.",
    ),
)
_HOST = (
    Rule(
        "missing-path",
        "error",
        "A path that does not exist on this host",
        "Found with --host only. The runtime checks most paths when it loads the file, and refuses it when one is "
        "missing.",
    ),
    Rule("not-executable", "error", "A program that cannot be executed", "Found with --host only."),
    Rule(
        "wrong-kind",
        "error",
        "A file of another kind than the key says",
        "Found with --host only: a kernel must be an ELF file or a bootable kernel image, a file must not be empty.",
    ),
)

# What the rules of `kata.rules` are about, for those who see only the title.
_TITLES = {
    "image-and-initrd": "image and initrd exclude each other",
    "image-or-initrd": "There is neither an image nor an initrd",
    "initrd-ignored": "An initrd that is never looked at",
    "initrd-size": "An initrd that does not fit into the guest's memory (with --host)",
    "image-size": "An image as large as the guest's memory (with --host)",
    "empty-file": "An image or initrd that is empty (with --host)",
    "vcpus-above-maximum": "More vCPUs at boot than the VM may have",
    "memory-above-maximum": "More memory at boot than the VM may have",
    "numa": "NUMA nodes that need static sizing, or another architecture",
    "nvdimm-microvm": "An NVDIMM on a machine that has none",
    "nvdimm-confidential": "An NVDIMM for a guest whose memory is encrypted",
    "nvdimm-arm64": "An NVDIMM on arm64 without firmware",
    "nvdimm-arch": "An NVDIMM on an architecture that has none",
    "root-device-name": "An image that the guest looks for under another name",
    "dax-arm64": "An NVDIMM on arm64, where there is no DAX",
    "mmio-confidential": "A virtio-mmio disk for a confidential guest",
    "guest-selinux-left-out": "SELinux in the guest, by leaving a key out",
    "verity": "A dm-verity description that is incomplete",
    "extension": "An extension image whose name or description is refused",
    "sector-order": "Logical sectors larger than physical ones",
    "hot-plug-or-cold-plug": "Ports for hot-plug and for cold-plug at once",
    "root-ports-or-switch-ports": "PCIe root ports and switch ports at once",
    "sharing-daemon": "File sharing without its daemon",
    "no-way-to-root": "A container has no way to its root file system",
    "no-file-sharing": "File sharing with a VMM that has none",
    "block-devices-off": "A setting that switching block devices off takes along",
    "dax-window": "Two keys that disagree about the DAX window",
    "burst-without-rate": "A burst without a rate",
    "rate-unit": "A rate whose unit is not the described one",
    "root-driver-from-block-driver": "A root driver that another key decides",
    "root-driver-overruled": "A root driver that the VMM does not take",
    "dragonball-empty": "A key that must be empty with dragonball",
    "path-needed": "A VMM without its path",
    "scsi-scan": "virtio-scsi, which adds to the kernel's command line",
    "known-vmm": "A VMM that the runtime does not have on this architecture",
    "network-namespace": "No network namespace of its own, and a network model that needs one",
    "remote-network": "A network setting that peer pods do not have",
    "remote": "A key that peer pods do not admit",
    "template-shares-nothing": "VM templates with virtio-fs",
    "template-confidential": "VM templates with a confidential guest",
    "cache-needs-qemu": "The VM cache with another VMM than QEMU",
    "cache-or-template": "VM cache and VM templates at once",
    "create-timeout-left-out": "No time to make a container in, by leaving a key out",
    "vfio-mode-left-out": "VFIO mode vfio, by leaving a key out",
    "dial-timeouts": "Timeouts towards the agent that contradict each other",
    "mem-agent-order": "Settings of the memory agent that reach it too early",
    "bind-mounts": "Bind mounts with the same name",
    "shared-mounts": "A shared mount that is incomplete",
    "valid-paths": "A list of admitted paths without the path in use",
}
_BY_SEVERITY: dict[str, Level] = {"error": "error", "override": "warning", "hazard": "warning", "note": "note"}
_BY_RULE: dict[str, Level] = {
    "create-timeout-left-out": "error",  # no container starts
    "no-way-to-root": "note",  # images that the guest pulls need none; who pulls them is not said in this file
    "valid-paths": "note",  # only what a pod asks for is held to the lists
}
_ACTS = {
    "error": "refuses it",
    "override": "takes something else than what is written",
    "hazard": "takes it, and hardly what was meant comes of it",
    "note": "takes it",
}


def level_of(rule: str, severity: str) -> Level:
    """The level of a finding of one of the rules of `kata.rules`, by its severity there."""
    return _BY_RULE.get(rule, _BY_SEVERITY[severity])


def _together() -> Iterator[Rule]:
    """The rules about settings that must fit together, with what each runtime does."""
    for rule in TOGETHER:
        verdicts = [(tables().title(dialect), rule.verdict(dialect)) for dialect in DIALECTS]
        found = [(title, verdict[0]) for title, verdict in verdicts if verdict]
        worst = min((severity for _, severity in found), key=SEVERITIES.index)
        yield Rule(rule.id, level_of(rule.id, worst), _TITLES[rule.id], _told(found))


def _told(verdicts: list[tuple[str, str]]) -> str:
    """What the runtimes do: (title, severity) as a sentence."""
    (title, severity), *others = verdicts
    text = f"The {title} {_ACTS[severity]}"
    for other, same in others:
        text += f", and so does the {other}" if same == severity else f"; the {other} {_ACTS[same]}"
    return f"{text}."


RULES: dict[str, Rule] = {
    rule.id: rule for rules in (_TEXT, _TABLES, _KEYS, _VALUES, _DROP_INS, _HOST, _together()) for rule in rules
}
"""Every rule by its id, in the order of the documentation."""
