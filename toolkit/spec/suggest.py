"""Did-you-mean: the known word that is nearest to a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Words that people use for ours, too far apart in letters for the nearest-match to find.
_SYNONYMS = {
    "amd64": "x86_64",
    "x86": "x86_64",
    "x64": "x86_64",
    "x86-64": "x86_64",
    "aarch64": "arm64",
    "armv8": "arm64",
    "ppc64el": "ppc64le",
    "powerpc64le": "ppc64le",
    "riscv": "riscv64",
    "s390": "s390x",
    "llvm": "clang",
    "gnu": "gcc",
    "gz": "gzip",
    "zst": "zstd",
    "off": "none",
    "golang": "go",
    "rust": "rs",
    "runtime-rs": "rs",
    "deb": "debian",
    "directory": "tree",
    "folder": "tree",
    "command_line": "cmdline",
    "kernel_params": "cmdline",
    "configs": "options",
    "digest": "sha256",
    "checksum": "sha256",
    "file": "path",
    "uri": "url",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was probably meant to be, or None."""
    choices = list(known)
    lowered = word.lower()
    synonym = _SYNONYMS.get(lowered)
    if synonym in choices:
        return synonym
    plain = {_plain(choice): choice for choice in reversed(choices)}
    if _plain(word) in plain:
        return plain[_plain(word)]
    close = difflib.get_close_matches(lowered[:200], [choice.lower() for choice in choices], n=1, cutoff=0.62)
    return next((choice for choice in choices if close and choice.lower() == close[0]), None)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The hint for a misspelt word, or None when nothing is near."""
    match = nearest(word, known)
    return f'did you mean "{match}"?' if match else None


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
