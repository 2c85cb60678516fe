"""The strict YAML reader: what scalars mean, where things stand, and the files it refuses to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError, Where
from kata_toolkit.spec.scalars import DoubtfulScalarError, resolve
from kata_toolkit.spec.source import Source
from kata_toolkit.spec.yamltree import MAX_DEPTH, Tree, load_yaml, parse


def tree_of(text: str) -> Tree:
    """The tree of a text that has no problem."""
    tree, problems = parse(Source("x.yaml", text, ""))
    assert problems == []
    return tree


# YAML 1.2.2, section 10.3.2, and what other readers make of the same text.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("tRUE", "tRUE"),
        ("false", False), ("False", False), ("FALSE", False),
        ("no", "no"), ("No", "No"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("n", "n"),
        ("0", 0), ("-0", 0), ("12", 12), ("+12", 12), ("-12", -12), ("0o17", 15), ("0x1F", 31), ("0x1f", 31),
        ("0o8", "0o8"), ("0xg", "0xg"), ("-0x1", "-0x1"),
        ("1.5", 1.5), ("6.10", 6.1), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("1E-3", 0.001), ("-1.5e+3", -1500.0),
        ("1.2.3", "1.2.3"), ("e3", "e3"), (".", "."), ("-", "-"), ("+", "+"),
        ("0.5", 0.5), ("0.0", 0.0), ("00.5", 0.5),
        ("2026-01-31", "2026-01-31"), ("=", "="), ("52:54:00:xx", "52:54:00:xx"), ("a_1", "a_1"), ("_1", "_1"),
        ("12345678901234567890", 12345678901234567890),
    ],
)  # fmt: skip
def test_a_plain_scalar(text: str, value: object) -> None:
    result = resolve(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text",
    ["0755", "-07", "08", "00", "0_7", "1_000", "1_000.5", "0b11", "1:30", "1:30:00.5", "52:54:00", ".inf",
     "-.INF", ".NaN", "1e400", "1" * 21, "0x" + "f" * 21],
)  # fmt: skip
def test_a_doubtful_scalar_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(DoubtfulScalarError) as caught:
        resolve(text)
    assert "quote it" in caught.value.hint


@pytest.mark.parametrize("text", ['"0755"', "'0755'", "|-\n  0755", ">-\n  0755"])
def test_a_quoted_scalar_is_always_text(text: str) -> None:
    assert tree_of(f"a: {text}\n").value == {"a": "0755"}


def test_an_alias_is_the_value_it_stands_for() -> None:
    tree = tree_of("a: &x [1, {b: c}]\nd: *x\n")
    assert tree.value == {"a": [1, {"b": "c"}], "d": [1, {"b": "c"}]}
    assert tree.value_where(("d", 1, "b")) == Where("x.yaml", 1, 15)
    assert tree.key_where(("d",)) == Where("x.yaml", 2, 1)


def test_positions_count_characters_and_start_at_one() -> None:
    tree = tree_of("# ☃\nä: {☃☃: 1, b: [x, y]}\nempty:\n")
    assert tree.key_where(("ä", "b")) == Where("x.yaml", 2, 12)
    assert tree.value_where(("ä", "☃☃")) == Where("x.yaml", 2, 9)
    assert tree.value_where(("ä", "b", 1)) == Where("x.yaml", 2, 19)
    assert tree.value_where(("empty",)) == Where("x.yaml", 3, 1), "a value that is not there: its key"
    assert tree.value_where(("ä", "missing", "deeper")) == Where("x.yaml", 2, 1), "nothing there: the nearest key"
    assert tree.key_where(("missing",)) == Where("x.yaml", 2, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_counts_once(end: str) -> None:
    assert tree_of(f"a: 1{end}{end}b: 2{end}").key_where(("b",)) == Where("x.yaml", 3, 1)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert tree_of("[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1)).root.size == MAX_DEPTH


# A recursive reader (PyYAML's compose among them) overflows the C stack on some of these.
@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 250_000, "- " * 500_000, "? " * 500_000, "&a [" * 250_000])
def test_hostile_nesting_ends_at_the_limit(text: str) -> None:
    with pytest.raises(InputError, match="nested more than 32 levels deep"):
        parse(Source("x.yaml", text, ""))


def refusal(path: Path) -> str:
    """The one problem of a file that cannot be read."""
    with pytest.raises(InputError) as caught:
        load_yaml(path)
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 2
    return str(problem).replace(str(path.parent), "DIR")


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "spec.yaml") == "DIR/spec.yaml: no such file"
    (tmp_path / "specs.yaml").touch()
    assert refusal(
        tmp_path / "spec.yaml"
    ) == f"DIR/spec.yaml: no such file (did you mean {tmp_path}/specs.yaml?)".replace(str(tmp_path), "DIR")


def test_a_file_in_a_missing_folder_or_below_a_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none" / "spec.yaml") == "DIR/spec.yaml: no such file"
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "spec.yaml") == "DIR/spec.yaml: cannot be read: Not a directory"


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    assert refusal(tmp_path / ("x" * 300)).endswith("cannot be read: File name too long")
    assert refusal(tmp_path / "a\0b").endswith("cannot be read: embedded null byte")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(tmp_path / "loop") == "DIR/loop: cannot be read: Too many levels of symbolic links"


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").mkdir()
    assert refusal(tmp_path / "spec.yaml") == "DIR/spec.yaml: is a directory, not a file"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec.yaml")
    assert refusal(tmp_path / "spec.yaml") == "DIR/spec.yaml: is a pipe, not a file"


def test_a_device() -> None:
    assert refusal(Path("/dev/zero")) == "DIR/zero: is a device, not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").touch(mode=0)
    assert refusal(tmp_path / "spec.yaml") == "DIR/spec.yaml: cannot be read: Permission denied"


def test_a_file_of_100_mib_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "spec.yaml").open("wb") as stream:
        stream.truncate(100 << 20)
    assert refusal(tmp_path / "spec.yaml") == (
        "DIR/spec.yaml: is 100.0 MiB; at most 1 MiB is read (is it the right file?)"
    )


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    text = "a: 1 #"
    (tmp_path / "spec.yaml").write_text(text + "x" * ((1 << 20) - len(text)))
    assert load_yaml(tmp_path / "spec.yaml").value == {"a": 1}
    (tmp_path / "spec.yaml").write_text(text + "x" * ((1 << 20) - len(text) + 1))
    assert "at most 1 MiB is read" in refusal(tmp_path / "spec.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "DIR/x.yaml: is empty: there is no YAML in it"),
        (b"---\n", "DIR/x.yaml: is empty: there is no YAML in it"),
        (b"name: caf\xe9\n", "DIR/x.yaml:1:10: the byte 0xe9 is not UTF-8 (save the file as UTF-8)"),
        ("a: ☃\nb: ".encode() + b"\xff", "DIR/x.yaml:2:4: the byte 0xff is not UTF-8 (save the file as UTF-8)"),
        (b"a: \xed\xa0\x80", "DIR/x.yaml:1:4: the byte 0xed is not UTF-8 (save the file as UTF-8)"),
        (
            "\ufeffa: 1".encode(),
            "DIR/x.yaml:1:1: is UTF-8 with a byte order mark, not plain UTF-8 (save it without one, as plain UTF-8)",
        ),
        (
            "a: 1".encode("utf-16"),
            "DIR/x.yaml:1:1: is UTF-16, not plain UTF-8 (convert it: iconv -f utf-16 -t utf-8)",
        ),
        (
            b"a: 1\nb: \x00",
            "DIR/x.yaml:2:4: the control character U+0000 is not allowed in a text file (is it a binary file?)",
        ),
        (b"a: \x1b[31m", "DIR/x.yaml:1:4: the control character U+001B is not allowed in a text file (remove it)"),
        (b"a: 1\n\tb: 2", "DIR/x.yaml:2:1: a tab cannot indent YAML (use spaces)"),
    ],
)
def test_bytes_that_are_no_yaml_text(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(data)
    assert refusal(tmp_path / "x.yaml") == message
