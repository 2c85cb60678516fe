"""Where the kernel's Kconfig files define a symbol, and under which conditions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kata_toolkit.kconfig import expression as ex
from kata_toolkit.kconfig.chain import Ways
from kata_toolkit.kconfig.index import help_text, load_tree
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


MORE = """\
source "scripts/Kconfig.include"
menu "Hidden unless asked for"
\tvisible if SHOWN
rsource "lib/Kconfig"
orsource "lib/gone"
osource "also/gone"
endmenu

config MODS
\tbool "modules"
\tmodules

choice
\tprompt "An optional one" if SHOWN
\toptional
\tdefault ONE if X86
config ONE
\tbool "one"
if INNER
choice
\tprompt "nested"
config INSIDE
\tbool "inside"
endchoice
endif
config TWO
\tbool "two"
endchoice

config TWICE
\tint "first" if "$(ARCH)" = "x86_64"
\trange 1 LIMIT if SMALL
\trange 1 64
\tdefault 8 if SMALL
\tdefault $(shell,test -n "if x") if ODD
\timply HELPER if ONE
comment "nothing"
\tdepends on LOST
config TWICE
\tint
\tdefault 9
\tdepends on A if B
"""


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A tree of rarer constructs."""
    for name, text in {
        "Kconfig": MORE,
        "scripts/Kconfig.include": "if-success = $(shell,x)\nmenu := 1\ncc-option = $(if-success,$(1),y,n)\n",
        "lib/Kconfig": 'config DEEP\n\tbool "deep"\nrsource "more/Kconfig"\n',
        "lib/more/Kconfig": 'config DEEPER\n\tbool\n\tprompt "deeper" if EXPERT\n\thelp\n\t  First.\n\n\t    Second.\n',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_sources_are_found_from_the_top_or_from_their_own_folder(more: Path) -> None:
    found = scan(more, "x86")
    assert {"DEEP", "DEEPER", "TWO"} <= found.definitions.keys()
    assert [d.place for d in found.definitions["DEEPER"]] == ["lib/more/Kconfig:1"]
    assert found.modules == "MODS"


def test_visibility_concerns_the_prompt_alone(more: Path) -> None:
    (deeper,) = scan(more, "x86").definitions["DEEPER"]
    assert deeper.depends == []
    assert [(c.text, c.place) for c in deeper.visible] == [("SHOWN", "Kconfig:3")]
    assert [c.text for c in deeper.needs] == ["SHOWN", "EXPERT"]
    assert (deeper.title, deeper.menus) == ("deeper", ("Hidden unless asked for",))
    assert help_text(more, deeper) == "First.\n\n  Second."


def test_choices_their_members_and_their_own_conditions(more: Path) -> None:
    found = scan(more, "x86")
    outer, inner = found.choices[1], found.choices[2]
    assert (outer.title, outer.optional, outer.members) == ("An optional one", True, ["ONE", "TWO"])
    assert [(d.value, d.condition.text) for d in outer.defaults] == [("ONE", "X86")]
    assert (inner.members, inner.optional) == (["INSIDE"], False)
    (two,) = found.definitions["TWO"]
    assert [c.text for c in two.needs] == ["SHOWN"]
    assert [c.text for c in found.definitions["INSIDE"][0].depends] == ["INNER"]
    assert found.winner(1, {"TWO": "y"}) == "TWO"
    assert found.winner(1, {}) is None


def test_defaults_ranges_and_implies_of_a_symbol_that_is_defined_twice(more: Path) -> None:
    found = scan(more, "x86")
    first, second = found.definitions["TWICE"]
    assert first.prompt is not None
    assert first.prompt.text == '"x86_64" = "x86_64"'
    assert [(r.low, r.high, r.condition.text) for r in first.ranges] == [("1", "LIMIT", "SMALL"), ("1", "64", "y")]
    assert [(d.value, d.condition.text) for d in first.defaults] == [
        ("8", "SMALL"),
        ('$(shell,test -n "if x")', "ODD"),
    ]
    assert [(d.text, d.place) for d in second.depends] == [("(A) || !(B)", "Kconfig:42")]
    assert [(s.by, s.condition.text) for s in found.implies["HELPER"]] == [("TWICE", "ONE")]
    assert found.type_of("TWICE") == "int"
    values = {"SMALL": "y", "LIMIT": "0x10"}
    assert found.range_of("TWICE", values) == (first.ranges[0], 1, 16)
    assert found.range_of("TWICE", {}) == (first.ranges[1], 1, 64)
    default = found.default_of("TWICE", {})
    assert default is not None
    assert default.value == "9"
    assert found.implied_by("HELPER", {"TWICE": "y", "ONE": "y"}) == found.implies["HELPER"]
    assert found.selected_by("HELPER", {}) == []


def test_the_cached_scan_is_the_scan(more: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fresh = scan(more, "x86")
    for _ in range(2):
        assert same(load_tree(more, "x86", "one", cache), fresh)
    (file,) = (cache / "kconfig").glob("*.tree")
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + b"x" + whole[101:], b"\xff" * 200):
        file.write_bytes(damaged)
        assert same(load_tree(more, "x86", "one", cache), fresh), "a damaged cache is made again"
        assert file.read_bytes() == whole
    (more / "lib" / "Kconfig").unlink()
    assert same(load_tree(more, "x86", "one", cache), fresh), "the tree itself is not needed"
    assert "DEEP" not in load_tree(more, "x86", "another source", cache).definitions
    assert same(load_tree(more, "arm64", "one", cache), scan(more, "arm64")), "each architecture for itself"


def test_a_cache_that_cannot_be_written_does_not_matter(more: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert same(load_tree(more, "x86", "one", tmp_path / "file"), scan(more, "x86"))


def same(one: Tree, other: Tree) -> bool:
    parts = ("definitions", "selects", "implies", "choices")
    return one.modules == other.modules and all(dict(getattr(one, p)) == dict(getattr(other, p)) for p in parts)


_WORDS = """config A|menuconfig B|choice|endchoice|if A|endif|menu 'x'|endmenu|bool 'x' if A|depends on A &&|select B if
default|range 1|help|  text|source 'Kconfig'|rsource '../x'|visible if A|prompt|\\|x = y|def_bool|modules|imply
source '\0'|optional|int|select|option modules|osource|bool "x|string 'y'""".replace("\n", "|").split("|")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(max_size=300) | st.lists(st.sampled_from(_WORDS), max_size=25).map("\n".join))
def test_any_text_is_read_and_kept(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "any"
    folder.mkdir(exist_ok=True)
    (folder / "Kconfig").write_text(text, encoding="utf-8", errors="replace")
    found = scan(folder, "x86")
    cache = tmp_path / "cache" / str(hash(text))
    load_tree(folder, "x86", text, cache)
    assert same(load_tree(folder, "x86", text, cache), found)
    ways = Ways(found, {})
    for name in found.definitions:
        assert ways.on(name).chains()
        assert ways.off(name).chains()


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


@pytest.mark.kernel
@pytest.mark.parametrize("srcarch", ["x86", "arm64", "riscv", "s390", "powerpc"])
def test_every_condition_of_the_real_tree_is_understood(real_tree: Path, tmp_path: Path, srcarch: str) -> None:
    known = scan(real_tree, srcarch)
    assert len(known.definitions) > 15_000
    assert len(known.choices) > 60
    assert known.modules == "MODULES"
    for definitions in known.definitions.values():
        for definition in definitions:
            texts = [c.text for c in definition.needs] + [d.condition.text for d in definition.defaults]
            texts += [d.value for d in definition.defaults] + [r.condition.text for r in definition.ranges]
            for text in texts:
                ex.parse(text)
            assert definition.type or len(definitions) > 1, definition.place
    load_tree(real_tree, srcarch, "real", tmp_path)
    assert same(load_tree(real_tree, srcarch, "real", tmp_path), known)
