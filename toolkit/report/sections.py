"""The report as sections with a table each: what the terminal and Markdown show, and the page beside its charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Section:
    """A table under a title. ``id``: its anchor in the page; ``numbers``: the columns that are set to the right."""

    id: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    numbers: tuple[int, ...] = ()


def sections(document: Mapping[str, Any]) -> list[Section]:
    """Every section that has something to show, in the order of the page."""
    return [section for section in _all(document) if section.rows]


def verdict(document: Mapping[str, Any]) -> str:
    """``proved: 40 passed, 3 skipped`` and the like."""
    proof = document["proof"]
    if not proof:
        return "not proved yet: kata-toolkit verify boots it"
    statuses = [check["status"] for check in proof["checks"]]
    words = (("pass", "passed"), ("fail", "failed"), ("warn", "warned"), ("skip", "skipped"))
    counted = ", ".join(f"{statuses.count(s)} {word}" for s, word in words if s in statuses)
    return f"{'proved' if proof.get('proved', proof['ok']) else 'NOT proved'}: {counted}"


def heading(document: Mapping[str, Any]) -> str:
    """What the set is, in one line."""
    about = document["set"]
    kernel = f"Linux {about['kernel']}" if about["kernel"] else "without a kernel"
    return f"{about['name']}: {kernel}, {about['arch']}, Kata {about['kata']}"


def _all(document: Mapping[str, Any]) -> Iterator[Section]:
    boot = document["boot"]
    yield _phases("boot", "From power-on to a container, in guest instructions", boot["instructions"], "M instructions")
    yield _phases("time", "The same in seconds of this host", boot["seconds"], "s")
    yield from _memory(document["memory"])
    yield Section(
        "sizes",
        "Size by component",
        ("what", "file", "bytes", "on disk"),
        tuple(
            (s["what"], s["path"].rpartition("/")[2], f"{s['bytes']:,}", mib(s["allocated"])) for s in document["sizes"]
        ),
        numbers=(2, 3),
    )
    yield Section(
        "contents",
        "What is in the image",
        ("file", "bytes"),
        tuple((c["path"], f"{c['bytes']:,}") for c in document["contents"]),
        numbers=(1,),
    )
    yield from _features(document["features"])
    yield from _comparison(document["comparison"])
    yield _figures(document["proof"])
    yield _proof(document["proof"])
    yield Section(
        "stages",
        "Where the build's time went",
        ("stage", "seconds", "CPU seconds"),
        tuple((s["stage"], f"{s['seconds']:.1f}", f"{s['cpu_seconds']:.1f}") for s in document["stages"]),
        "Stages that were in the store took none.",
        (1, 2),
    )
    yield from _provenance(document["provenance"])


def _phases(id_: str, title: str, phases: Sequence[Mapping[str, Any]], unit: str) -> Section:
    total = sum(phase["value"] for phase in phases)
    rows = [(p["phase"], f"{p['value']:.2f}", _share(p["value"] / total)) for p in phases]
    if rows:
        rows.append(("together", f"{total:.2f}", ""))
    return Section(id_, title, ("phase", unit, "share"), tuple(rows), numbers=(1, 2))


def _share(part: float) -> str:
    return "< 1 %" if part < 0.01 else f"{100 * part:.0f} %"


def _memory(memory: Mapping[str, Any] | None) -> Iterator[Section]:
    """What `density` measured: inside a guest, a guest more, a pod."""
    if not memory:
        return
    parts = memory["guest"]["parts_kib"] or {}
    yield Section(
        "memory",
        f"Where the memory of a guest of {memory['guest']['memory_mib']} MiB goes",
        ("part", "MiB"),
        tuple((part, _mib_of_kib(kib)) for part, kib in parts.items()),
        numbers=(1,),
    )
    rows = [
        (way, str(row["count"]), *(_mib_of_kib(row[of][kind]) for of, kind in _FOOTPRINT))
        for way, measured in memory["ways"].items()
        for row in measured["vms"]
    ]
    yield Section(
        "density",
        "Many guests at once",
        ("guests", "number", "PSS", "RSS", "the last: PSS", "its own"),
        tuple(rows),
        "MiB; PSS counts a page that several guests share by each one's part of it, so that it adds up.",
        (1, 2, 3, 4, 5),
    )
    yield Section(
        "pods",
        "A pod on its host",
        ("memory", "guest", "VMM", "virtiofsd", "in all, MiB"),
        tuple(_pod(pod) for pod in memory["pods"]),
        "Upstream's RuntimeClasses reserve "
        + ", ".join(f"{mib} MiB ({name})" for name, mib in memory["upstream_mib"].items())
        + ".",
        (0, 1, 2, 3, 4),
    )


_FOOTPRINT = (("total", "pss_kib"), ("total", "rss_kib"), ("last", "pss_kib"), ("last", "private_kib"))


def _pod(pod: Mapping[str, Any]) -> tuple[str, ...]:
    daemon = pod["virtiofsd_kib"]
    return (
        f"{pod['memory_mib']} MiB",
        _mib_of_kib(pod["guest_kib"]),
        _mib_of_kib(pod["vmm_kib"]),
        "" if daemon is None else _mib_of_kib(daemon),
        f"{pod['total_mib']:.1f}",
    )


def _mib_of_kib(kib: int) -> str:
    return f"{kib / 1024:.2f}"


def _features(measured: Mapping[str, Any] | None) -> Iterator[Section]:
    if not measured:
        return
    rows = tuple(
        (
            feature["feature"],
            mib(feature["vmlinux"]),
            _number(feature["boot_minstr"]),
            _number(feature["overhead_mib"]),
        )
        for feature in measured["features"]
    )
    yield Section(
        "features",
        "What kernel features take",
        ("feature", "vmlinux", "boot, M instructions", "memory, MiB"),
        rows,
        f"Each measured by itself with Linux {measured['kernel']}, profile {measured['profile']}.",
        (1, 2, 3),
    )


def _comparison(comparison: Mapping[str, Any] | None) -> Iterator[Section]:
    if not comparison:
        return
    names = [each["name"] for each in comparison["sets"]]
    rows = []
    for figure in comparison["figures"]:
        values = [each["figures"].get(figure) for each in comparison["sets"]]
        rows.append((figure, *("" if v is None else f"{v:,.2f}" for v in values)))
    yield Section(
        "comparison", "Beside others", ("figure", *names), tuple(rows), numbers=tuple(range(1, len(names) + 1))
    )


def _figures(proof: Mapping[str, Any] | None) -> Section:
    measured = proof["measurements"] if proof else {}
    kinds = proof.get("kinds", {}) if proof else {}
    rows = tuple(
        (
            name,
            f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value),
            kinds.get(name, ""),
        )
        for name, value in measured.items()
    )
    return Section("figures", "Figures", ("figure", "value", "kind"), rows, numbers=(1,))


def _proof(proof: Mapping[str, Any] | None) -> Section:
    checks = proof["checks"] if proof else ()
    rows = tuple(
        (check["id"], check["status"], check["detail"] + (f" → {check['remedy']}" if check["remedy"] else ""))
        for check in checks
    )
    return Section("proof", "The proof", ("check", "", "found"), rows)


def _provenance(provenance: Mapping[str, Any]) -> Iterator[Section]:
    rows = [("kata-toolkit", provenance["toolkit"] or "")]
    rows += [(f"{what}, sha256", provenance[key]) for what, key in _DIGESTS if provenance[key]]
    for name, source in provenance["sources"].items():
        rows.append((f"source of {name}", ", ".join(f"{k} {v}" for k, v in source.items() if v)))
    yield Section("provenance", "Where it comes from", ("what", ""), tuple(rows))
    yield Section(
        "components",
        "Components",
        ("component", "version", "role", "licence"),
        tuple((c["name"], c["version"], c["role"], c["licence"]) for c in provenance["components"]),
    )


_DIGESTS = (("spec", "spec_sha256"), ("lock file", "lock_sha256"))


def mib(size: int | None) -> str:
    """Bytes as MiB for people."""
    return "" if size is None else f"{size / _MIB:.2f} MiB"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"
