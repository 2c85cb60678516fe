"""Holds a ``.config`` that the kernel's own ``conf`` made to what was asked, and reports on every request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .config import same_value
from .hardening import compare
from .requests import Wishes

if TYPE_CHECKING:
    from .findings import Finding
    from .symbols import Tree

Conf = Callable[[str], Mapping[str, str]]
"""Runs conf on the text of a KCONFIG_ALLCONFIG file; the values of the ``.config`` that it makes."""


@dataclass(frozen=True, slots=True)
class Source:
    """A kernel tree for one architecture.

    ``root``: its folder; ``srcarch``: its folder below arch/; ``kernel``: its version; ``identity``: what names it
    with its patches for good, such as the digest of kernel_source's source.json.
    """

    root: Path
    srcarch: str
    kernel: str
    identity: str

    def scan(self, cache: Path) -> Tree:
        """What its Kconfig files say; from the cache when they were read before."""
        from .index import load_tree

        return load_tree(self.root, self.srcarch, self.identity, cache)


def check(wishes: Wishes, values: Mapping[str, str], source: Source, *, cache: Path, conf: Conf) -> Sequence[Finding]:
    """Hold the values of a ``.config`` to the wishes: what is worth telling though it is no error.

    The tree is looked at, and ``conf`` run again, only when a request was not met, or was met though it is allowed
    to be missing. Raises InputError with a finding for each of these that is an error, and a fix where one works.
    """
    if all(same_value(r.value, values.get(r.symbol)) and not r.allowed for r in wishes.requests):
        return []
    from .fixes import with_fixes
    from .overruled import gathered
    from .unmet import Inquiry

    inquiry = Inquiry(source.scan(cache), source, values, wishes.requests)
    findings = inquiry.findings()
    errors = [f for f in findings if f.is_error]
    if errors:
        overruled, others = gathered(errors, wishes, conf)
        raise InputError.many(f.problem() for f in [*overruled, *with_fixes(inquiry, others, conf)])
    return findings


def report(
    wishes: Wishes, values: Mapping[str, str], findings: Sequence[Finding], *, arch: str, kernel: str, profile: str
) -> bytes:
    """kernel-config.json: who asked for each symbol, why, what it became, and how it compares with what is recommended
    against attacks."""
    document = {
        **wishes.report(values, arch=arch, kernel=kernel, profile=profile),
        "findings": [f.as_json() for f in findings],
        "hardening": compare(values, kernel=kernel, arch=arch).summary(),
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
