"""Where the kernel's Kconfig files define a symbol, and under which conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
from kata_toolkit.kconfig import expression as ex
from kata_toolkit.kconfig.scan import Tree, scan

pytest_plugins = ("kernel_fixtures",)

TOP = """\
mainmenu "A kernel"
comment "a comment"
source "arch/$(SRCARCH)/Kconfig"

if NET
source "net/Kconfig"
endif

menu "Drivers"
	depends on PCI   # a comment behind

config DRIVER
	bool "A driver" if EXPERT
	depends on A \\
		|| B
	select HELPER if C
	help
\t  config NOT_A_SYMBOL
\t  depends on this is prose

\t  if you read this, the help text did not end

config "QUOTED"
	string 'a prompt with # in it'

endmenu

choice
	prompt "One of"
	depends on TIMER

config FIRST
	bool "first"

config SECOND
	bool "second"

endchoice

config HELPER
	tristate
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "Kconfig").write_text(TOP)
    for folder, text in (
        ("arch/x86", "config X86\n\tdef_bool y\n"),
        ("arch/arm64", "config ARM64\n\tdef_bool y\n"),
        ("net", 'config VSOCKETS\n\ttristate "vsock"\n\tdepends on UNIX\n\nsource "net/gone/Kconfig"\n'),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "Kconfig").write_text(text)
    return scan(tmp_path, "x86")


def conditions(tree: Tree, symbol: str) -> list[tuple[str, str, int]]:
    (definition,) = tree.definitions[symbol]
    return [(c.text, c.file, c.line) for c in definition.depends]


def test_only_the_asked_architecture_is_read(tree: Tree) -> None:
    assert "X86" in tree.definitions
    assert "ARM64" not in tree.definitions


def test_conditions_come_from_the_block_the_menu_and_the_file_that_sources_it(tree: Tree) -> None:
    assert conditions(tree, "VSOCKETS") == [("NET", "Kconfig", 5), ("UNIX", "net/Kconfig", 3)]
    assert conditions(tree, "DRIVER")[0] == ("PCI", "Kconfig", 10)
    assert conditions(tree, "HELPER") == []


def test_a_continued_line_is_one_condition_where_it_begins(tree: Tree) -> None:
    text, file, line = conditions(tree, "DRIVER")[1]
    assert text.split() == ["A", "||", "B"]
    assert (file, line) == ("Kconfig", 14)


def test_help_texts_define_nothing(tree: Tree) -> None:
    assert "NOT_A_SYMBOL" not in tree.definitions
    assert len(conditions(tree, "DRIVER")) == 2


def test_prompts_types_selects_and_choices_are_kept(tree: Tree) -> None:
    (driver,) = tree.definitions["DRIVER"]
    assert driver.type == "bool"
    assert driver.prompt is not None
    assert driver.prompt.text == "EXPERT"
    (helper,) = tree.definitions["HELPER"]
    assert helper.prompt is None
    (select,) = tree.selects["HELPER"]
    assert (select.by, select.condition.text, select.condition.line) == ("DRIVER", "C", 16)
    first, second = tree.definitions["FIRST"][0], tree.definitions["SECOND"][0]
    assert first.choice == second.choice is not None
    assert conditions(tree, "FIRST") == [("TIMER", "Kconfig", 30)]


@pytest.mark.kernel
def test_the_real_tree_agrees_with_its_own_conf(real_tree: Path, real_config: dict[str, str]) -> None:
    """Whatever conf switched on must be possible as we read it: one condition misread would show here."""
    values = {n.removeprefix("CONFIG_"): v.strip('"') for n, v in real_config.items()}
    known = scan(real_tree, "x86")
    assert len(known.definitions) > 10_000
    wrong = [
        name
        for name, value in values.items()
        if value in ("y", "m")
        and not any(all(ex.evaluate(c.parsed(), values) for c in d.depends) for d in known.definitions[name])
    ]
    assert wrong == []
