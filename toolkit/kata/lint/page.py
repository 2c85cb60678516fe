"""Renders docs/config-lint-rules.md from the catalogue: ``python -m kata_toolkit.kata.lint.page``."""

from __future__ import annotations

from pathlib import Path

from .catalogue import RULES

_HEAD = """\
# Rules of `config lint`

Rendered by `make docs`; see [config.md](config.md) for how to use it. The level is the usual one: a finding can be
milder where nothing is lost.

| rule | level | what was found |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    rows = (f"| `{rule.id}` | {rule.level} | {rule.title}. {rule.help} |\n" for rule in RULES.values())
    return _HEAD + "".join(rows)


def main() -> None:
    """Write docs/config-lint-rules.md below the current folder."""
    Path("docs/config-lint-rules.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
