"""Where Debian packages come from: the host's own apt sources, or those that the spec names.

The formats: sources.list(5), both the one-line one and that of Debian's control files (deb822).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError, Problem
from ..os_release import os_release
from ..spec.suggest import did_you_mean

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ETC_APT = Path("/etc/apt")
_OS_RELEASE = Path("/etc/os-release")
_SNAPSHOT = re.compile(r"/\d{8}T\d{6}Z/?$")  # how snapshots of an archive name a moment
_ONE_LINE = re.compile(
    r"^deb(?:\s+\[(?P<options>[^\]]*)\])?\s+(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+\S+)*)$"
)
_DEB = ("deb ", "deb\t")
_LOCAL = ("file:", "copy:")
SCHEMES = ("https:", "http:", "file:", "copy:")

# One-line option → field of deb822. What is not here (allow-insecure, …) would weaken what the digests rest on.
_OPTIONS = {
    "arch": "Architectures",
    "signed-by": "Signed-By",
    "trusted": "Trusted",
    "check-valid-until": "Check-Valid-Until",
    "by-hash": "By-Hash",
}
_KEPT = ("Signed-By", "Trusted", "Check-Valid-Until", "By-Hash")
_SUITE_SUFFIXES = ("", "-updates", "-security", "/updates")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One place with one suite. ``fields``: further ones, by their names in deb822, such as Signed-By."""

    uri: str
    suite: str
    components: tuple[str, ...]
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """It is a folder of this machine."""
        return self.uri.startswith(_LOCAL)

    @property
    def line(self) -> str:
        """As a line of sources.list, without what only this machine knows."""
        return " ".join(["deb", self.uri, self.suite, *self.components])

    def stanza(self) -> str:
        """As a stanza of a .sources file."""
        values = {"Types": "deb", "URIs": self.uri, "Suites": self.suite}
        if self.components:
            values["Components"] = " ".join(self.components)
        values |= {key: self.fields[key] for key in _KEPT if key in self.fields}
        if _SNAPSHOT.search(self.uri):
            values.setdefault("Check-Valid-Until", "no")  # it was valid at its moment
        return "".join(f"{key}: {value}\n" for key, value in values.items())


def host_suite() -> str:
    """The codename of this machine's own release. Raises InputError when it has none."""
    try:
        name = os_release(_OS_RELEASE.read_text(errors="replace")).get("VERSION_CODENAME")
    except OSError:
        name = None
    if not name:
        raise InputError(
            "this machine's release has no codename, so rootfs.suite must be said", hint="for example suite: bookworm"
        )
    return name


def named_source(text: str, suite: str, components: tuple[str, ...], keyring: Path | None) -> AptSource:
    """A mirror as the spec gives it: an address, or a whole ``deb`` line.

    Raises InputError, saying only what is wrong with the text: the caller knows where it stands.
    """
    if not text.startswith(_DEB):
        source = AptSource(text, suite, () if suite.endswith("/") else components)
    else:
        source = _parsed_line(text)
    if not source.uri.startswith(SCHEMES):
        raise InputError(f'"{source.uri}" is no address of a mirror', hint=f"it starts with {', '.join(SCHEMES)}")
    if source.suite.endswith("/") and source.components:
        raise InputError(f'the suite "{source.suite}" is a folder, which has no components', hint="leave them out")
    if not source.suite.endswith("/") and not source.components:
        raise InputError(f'the line names no components of "{source.suite}"', hint="for example: main")
    if source.fields.get("Trusted", "no") not in ("no", "yes"):
        raise InputError("trusted is yes or no")
    if source.fields.get("Trusted") == "yes" and not source.local:
        raise InputError(
            "trusted=yes would take packages over the network that nobody signed",
            hint="name the keyring that signs them: [signed-by=/path/to/keyring.gpg]",
        )
    signed = source.fields.get("Trusted") == "yes" or "Signed-By" in source.fields
    return source if signed else replace(source, fields={**source.fields, "Signed-By": str(keyring or KEYRING)})


def host_sources(
    suite: str, components: tuple[str, ...], arch: str, keyring: Path | None = None, etc: Path = _ETC_APT
) -> tuple[AptSource, ...]:
    """The host's own sources of that suite, its updates and its security updates, as far as they have the components.

    Others of the host's sources are left out: what an administrator added for this machine is not for a guest.
    Raises InputError when none is left.
    """
    suites = {suite + suffix for suffix in _SUITE_SUFFIXES}
    known: dict[str, set[str]] = {}
    found: list[AptSource] = []
    for source in _all(etc):
        if source.uri.startswith("cdrom:") or "Trusted" in source.fields or not source.components:
            continue
        known.setdefault(source.suite, set()).update(source.components)
        arches = source.fields.get("Architectures", arch).split()
        shared = tuple(name for name in source.components if name in components)
        if source.suite in suites and shared and arch in arches:
            signed = {"Signed-By": str(keyring)} if keyring else {}
            found.append(replace(source, components=shared, fields={**source.fields, **signed}))
    if not found and suite in known:
        raise InputError(
            f"in this machine's apt sources, {suite} has no {' or '.join(components)} for {arch}",
            hint=f"it has: {', '.join(sorted(known[suite]))}",
        )
    if not found:
        raise InputError(
            f"this machine's apt sources have no {suite} (they have: {', '.join(sorted(known)) or 'none'})",
            hint=did_you_mean(suite, known) or "say where it is: mirrors: [ADDRESS]",
        )
    return tuple({source.stanza(): source for source in found}.values())


def keyring_problems(sources: Iterable[AptSource]) -> Iterator[Problem]:
    """Keyrings that are named by path and are not there."""
    for path in dict.fromkeys(source.fields.get("Signed-By", "") for source in sources):
        if path.startswith("/") and not Path(path).is_file():
            hint = "apt-get install debian-archive-keyring" if Path(path) == KEYRING else "rootfs.keyring names another"
            yield Problem(f"the keyring {path} is not there", None, hint)


def _parsed_line(text: str) -> AptSource:
    match = _ONE_LINE.match(text.strip())
    if match is None:
        raise InputError(f'"{text}" is no line of apt sources', hint="deb [options] ADDRESS SUITE COMPONENT…")
    fields = {}
    for option in (match["options"] or "").split():
        key, equals, value = option.partition("=")
        if key not in _OPTIONS or not equals:
            raise InputError(f'the option "{option}" cannot be used here', hint=f"known: {', '.join(_OPTIONS)}")
        fields[_OPTIONS[key]] = value.replace(",", " ")
    return AptSource(match["uri"], match["suite"], tuple(match["components"].split()), fields)


def _all(etc: Path) -> Iterator[AptSource]:
    """Every enabled binary source of the host; what apt would not understand is passed over, as apt reads it itself."""
    folder = etc / "sources.list.d"
    lists = [etc / "sources.list", *sorted(folder.glob("*.list"))]
    for file in lists:
        for line in _text(file).splitlines():
            plain = line.partition("#")[0].strip()
            if plain.startswith(_DEB):
                try:
                    yield _parsed_line(plain)
                except InputError:
                    continue  # with an option that we do not take over
    for file in sorted(folder.glob("*.sources")):
        for stanza in re.split(r"\n[ \t]*\n", _text(file)):
            yield from _of_stanza(_fields_of(stanza))


def _of_stanza(values: Mapping[str, str]) -> Iterator[AptSource]:
    if "deb" not in values.get("types", "").split() or values.get("enabled", "yes").lower() in ("no", "false", "0"):
        return
    names = {name.lower(): name for name in _OPTIONS.values()}
    fields = {names[key]: value for key, value in values.items() if key in names}
    for uri in values.get("uris", "").split():
        for suite in values.get("suites", "").split():
            yield AptSource(uri, suite, tuple(values.get("components", "").split()), fields)


def _fields_of(stanza: str) -> dict[str, str]:
    """The fields of a stanza, names in small letters; lines that go on stay as they are (a key in Signed-By)."""
    values: dict[str, str] = {}
    key = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith((" ", "\t")) and key:
            values[key] += "\n" + line
        elif ":" in line:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            values[key] = value.strip()
    return values


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
