"""The rules of lint: id, usual level, what it is about, and what to do. docs/config.md and SARIF tell them as they are.

Levels: *error*: a runtime refuses the file or what it describes, or what was written is lost by mistake. *warning*:
the runtime does something else than what is written. *note*: worth knowing, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..keys import DIALECTS, tables
from ..rules import RULES as TOGETHER
from ..rules import SEVERITIES
from ..show import constraints
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
    Rule(
        "other-version",
        "note",
        "The version in question is none that the tables were read from",
        "The file is judged by the keys of the versions that are known, minus those that came later (--kata).",
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

_NAMED = 3  # settings in a title
_BY_SEVERITY: dict[str, Level] = {"error": "error", "override": "warning", "hazard": "warning", "note": "note"}
_BY_RULE: dict[str, Level] = {
    "create-timeout-left-out": "error",  # no container starts
    "no-way-to-root": "note",  # images that the guest pulls need none; who pulls them is not said in this file
    "rate-unit": "warning",  # eight times the rate that is written
    "mem-agent-order": "warning",  # what is written has no effect
    "valid-paths": "note",  # only what a pod asks for is held to the lists
}
_ACTS = {
    "error": "refuses it",
    "override": "takes something else than what is written",
    "hazard": "takes it, and hardly what was meant comes of it",
    "note": "takes it",
}


# What these do, where the general words would mislead.
OWN_ACTS = {
    "create-timeout-left-out": "takes 0 s for it, and every container fails at once",
    "no-way-to-root": "takes it; it works only where the guest pulls the images",
    "rate-unit": "lets through eight times as much as the description says",
    "mem-agent-order": "passes them on, and the agent ignores them",
    "valid-paths": "uses the path all the same: the list is about what a pod may ask for",
}


def level_of(rule: str, severity: str) -> Level:
    """The level of a finding of one of the rules of `kata.rules`, by its severity there."""
    return _BY_RULE.get(rule, _BY_SEVERITY[severity])


def _together() -> Iterator[Rule]:
    """The rules about settings that must fit together, with what each runtime does."""
    words = {entry["rule"]: _title(entry["settings"], entry["text"]) for entry in constraints()}
    for rule in TOGETHER:
        verdicts = [(tables().title(dialect), rule.verdict(dialect)) for dialect in DIALECTS]
        found = [(title, verdict[0]) for title, verdict in verdicts if verdict]
        worst = min((severity for _, severity in found), key=SEVERITIES.index)
        yield Rule(rule.id, level_of(rule.id, worst), words[rule.id], _told(rule.id, found))


def _title(settings: Sequence[str], text: str) -> str:
    """What a rule is about, and what it wants: ``image, initrd: Only one of the two can be given``."""
    named = ", ".join(settings[:_NAMED]) + (", …" if len(settings) > _NAMED else "")
    return f"{named}: {text.rstrip('.')}"


def _told(rule: str, verdicts: list[tuple[str, str]]) -> str:
    """What the runtimes do: (title, severity) as a sentence."""
    (title, severity), *others = verdicts
    if rule in OWN_ACTS:
        return f"The runtime {OWN_ACTS[rule]}."
    text = f"The {title} {_ACTS[severity]}"
    for other, same in others:
        text += f", and so does the {other}" if same == severity else f"; the {other} {_ACTS[same]}"
    return f"{text}."


RULES: dict[str, Rule] = {
    rule.id: rule for rules in (_TEXT, _TABLES, _KEYS, _VALUES, _DROP_INS, _HOST, _together()) for rule in rules
}
"""Every rule by its id, in the order of the documentation."""
