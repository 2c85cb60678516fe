"""Whole configurations: drop-ins, which hypervisor and which agent, files of every kind, mistakes in TOML."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kata_toolkit.errors import InputError
from kata_toolkit.kata.lint.document import parse
from kata_toolkit.kata.lint.files import MAX_BYTES, Group, read_group
from kata_toolkit.kata.lint.findings import Finding
from kata_toolkit.kata.lint.lint import Options, Report, lint

GO = """\
[hypervisor.qemu]
path = "/p"
kernel = "/k"
image = "/i"
shared_fs = "none"
disable_guest_selinux = true
[agent.kata]
[runtime]
vfio_mode = "guest-kernel"
create_container_timeout = 60
"""
RS = """\
[hypervisor.qemu]
path = "/p"
kernel = "/k"
image = "/i"
shared_fs = "none"
disable_guest_selinux = true
[agent.kata]
[runtime]
hypervisor_name = "qemu"
agent_name = "kata"
"""
TEXT = {"go": GO, "rs": RS}


def write(folder: Path, base: str, **drop_ins: str) -> Path:
    """A base file with drop-ins, named as they are here with the first _ as a dash."""
    file = folder / "configuration.toml"
    file.write_text(base)
    if drop_ins:
        (folder / "config.d").mkdir(exist_ok=True)
    for name, text in drop_ins.items():
        (folder / "config.d" / f"{name[1:]}.toml").write_text(text)
    return file


def report(file: Path, options: Options | None = None) -> Report:
    return lint(read_group(file), options)


def said(found: Report | list[Finding]) -> list[tuple[str, str, str, int]]:
    findings = found.findings if isinstance(found, Report) else found
    return [(f.rule, f.level, Path(f.where.file).name, f.where.line) for f in findings]


def of_text(text: str | bytes, dialect: str = "auto", file: str = "configuration.toml") -> Report:
    data = text if isinstance(text, bytes) else text.encode()
    return lint(Group(parse(file, data)), Options(dialect))  # type: ignore[arg-type]  # a word of the command line


@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_a_good_file(dialect: str, tmp_path: Path) -> None:
    found = report(write(tmp_path, TEXT[dialect]))
    assert found.dialects == (dialect,)
    assert said(found) == []


# Drop-ins


def test_a_drop_in_wins_key_by_key_in_order(tmp_path: Path) -> None:
    high, low = "[hypervisor.qemu]\ndefault_maxvcpus = 8\n", "[hypervisor.qemu]\ndefault_maxvcpus = 2\n"
    base = GO.replace('path = "/p"', 'path = "/p"\ndefault_vcpus = 4')
    assert said(report(write(tmp_path, base, _10=low, _20=high))) == []
    found = report(write(tmp_path, base, _10=high, _20=low))
    assert said(found) == [("vcpus-above-maximum", "warning", "configuration.toml", 3)]
    assert found.findings[0].related[0][0].file.endswith("20.toml")
    assert [Path(file).name for file in found.drop_ins] == ["10.toml", "20.toml"]


def test_drop_ins_can_be_left_out(tmp_path: Path) -> None:
    file = write(tmp_path, GO, _10="[runtime]\nzzz = 1\n")
    assert said(report(file)) == [("unknown-key", "error", "10.toml", 2)]
    assert said(list(lint(read_group(file, drop_ins=False)).findings)) == []


@pytest.mark.parametrize(
    ("dialect", "table", "does"),
    [
        ("go", "hypervisor.qemu", "refuses the drop-in"),
        ("go", "agent.kata", "refuses the drop-in"),
        ("go", "runtime", "logs a warning"),
        ("rs", "hypervisor.qemu", "without a word"),
        ("rs", "agent.kata", "strict"),
        ("rs", "runtime", "without a word"),
    ],
)
def test_unknown_keys_in_drop_ins(dialect: str, table: str, does: str, tmp_path: Path) -> None:
    found = report(write(tmp_path, TEXT[dialect], _10=f"[{table}]\nenable_debugg = true\n"))
    assert said(found) == [("unknown-key", "error", "10.toml", 2)]
    assert does in str(found.findings[0].does)


def test_a_value_that_a_drop_in_replaces(tmp_path: Path) -> None:
    # The Go runtime reads file after file into its types; the Rust one merges before it looks at types.
    fixed = "[hypervisor.qemu]\ndefault_memory = 512\n"
    wrong = {d: text.replace('path = "/p"', 'path = "/p"\ndefault_memory = "1"') for d, text in TEXT.items()}
    assert said(report(write(tmp_path, wrong["go"], _10=fixed))) == [("wrong-type", "error", "configuration.toml", 3)]
    assert said(report(write(tmp_path, wrong["rs"], _10=fixed))) == []
    clamped = GO.replace('path = "/p"', 'path = "/p"\ndefault_memory = 1')
    assert said(report(write(tmp_path, clamped, _10=fixed))) == []


def test_a_drop_in_adds_a_second_hypervisor(tmp_path: Path) -> None:
    found = report(write(tmp_path, GO, _10='[hypervisor.clh]\nimage = "/i"\nshared_fs = "none"\n'))
    assert ("several-hypervisors", "error", "10.toml", 1) in said(found)


def test_a_drop_in_says_which_hypervisor(tmp_path: Path) -> None:
    base = RS.replace('hypervisor_name = "qemu"\n', "")
    file = write(tmp_path, base, _10='[runtime]\nhypervisor_name = "qemu"\n')
    assert said(report(file)) == []


def test_a_drop_in_alone_is_held_to_its_keys_only(tmp_path: Path) -> None:
    write(tmp_path, GO, _10="[agent.kata]\ndial_timeout = 5\n", _20="[runtime]\nenable_debug = true\nzzz = 1\n")
    first, second = (report(tmp_path / "config.d" / f"{n}.toml") for n in (10, 20))
    assert first.dialects == ("go",)
    assert said(first) == []
    assert second.dialects == ("go", "rs")
    assert [f.rule for f in second.findings] == ["dialect-assumed", "unknown-key", "unknown-key"]


def test_the_folder_that_one_stands_in_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runtime-rs" / "config.d"
    folder.mkdir(parents=True)
    (folder / "10.toml").write_text("[runtime]\nenable_debug = true\n")
    monkeypatch.chdir(folder)
    found = report(Path("10.toml"))
    assert found.dialects == ("rs",)
    assert said(found) == []


def test_links_and_folders_in_config_d(tmp_path: Path) -> None:
    for dialect, links in (("go", 0), ("rs", 1)):
        folder = tmp_path / dialect
        folder.mkdir()
        file = write(folder, TEXT[dialect], _10="[runtime]\nenable_debug = true\n")
        (folder / "config.d" / "20-link.toml").symlink_to("10.toml")
        (folder / "config.d" / "30-folder").mkdir()
        (folder / "config.d" / "40-notes.txt").write_text("not = [toml\n")
        found = [one for one in said(report(file)) if one[0] != "syntax"]
        assert found.count(("drop-in-entry", "error", "20-link.toml", 0)) == links
        assert ("drop-in-entry", "error", "30-folder", 0) in found
        assert ("syntax", "error", "40-notes.txt", 1) in said(report(file))


def test_a_link_to_the_file_has_the_drop_ins_of_the_real_place(tmp_path: Path) -> None:
    real, etc = tmp_path / "share", tmp_path / "etc"
    real.mkdir()
    etc.mkdir()
    write(real, GO, _10="[runtime]\nzzz = 1\n")
    (etc / "configuration.toml").symlink_to(real / "configuration.toml")
    assert said(report(etc / "configuration.toml")) == [("unknown-key", "error", "10.toml", 2)]


# Which dialect


@pytest.mark.parametrize(
    ("text", "file", "dialect"),
    [
        (GO, "a/runtime-rs/configuration.toml", "rs"),
        (GO, "configuration-qemu-runtime-rs.toml", "rs"),
        (GO, "runtimes/qemu-runtime-rs/config.d/10.toml", "rs"),
        (GO, "runtime-rs-notes/configuration.toml", "go"),
        (RS, "configuration.toml", "rs"),
        ('[runtime]\nagent_name = "kata"\n', "c.toml", "rs"),
        ("[hypervisor.stratovirt]\n", "c.toml", "go"),
        ("[hypervisor.stratovirt]\n", "-", "go"),
        ("[hypervisor.openvmm]\n", "c.toml", "rs"),
        ("[factory]\nenable_template = true\n", "c.toml", "go"),
        ("[hypervisor.qemu.factory]\nenable_template = true\n", "c.toml", "rs"),
        ("[agent.kata]\nreconnect_timeout_ms = 1\n", "c.toml", "rs"),
        ("[agent.kata]\ndial_timeout = 1\n", "c.toml", "go"),
        ('[hypervisor.qemu]\nvm_rootfs_driver = "virtio-pmem"\n', "c.toml", "rs"),
    ],
)
def test_the_dialect_is_told(text: str, file: str, dialect: str) -> None:
    found = of_text(text, file=file)
    assert found.dialects == (dialect,)
    assert "dialect-assumed" not in [f.rule for f in found.findings]


def test_nothing_tells_the_dialect() -> None:
    found = of_text('[hypervisor.qemu]\nimage = "/i"\n')
    assert found.dialects == ("go",)
    assert [f.level for f in found.findings if f.rule == "dialect-assumed"] == ["note"]


def test_both_dialects_can_be_asked_for() -> None:
    found = of_text("[agent.kata]\ndial_timeout = 1\ndial_timeout_ms = 1\n", "both")
    assert {(f.dialect, f.where.line) for f in found.findings if f.rule == "other-dialect"} == {("rs", 2), ("go", 3)}


# Hypervisors and agents


@pytest.mark.parametrize(
    ("text", "dialect", "rule", "line", "hint"),
    [
        (GO + "[hypervisor.clh]\n", "go", "several-hypervisors", 11, "keep one"),
        (GO + "[agent.other]\n", "go", "several-agents", 11, "keep one"),
        (GO.replace("qemu", "qemuu"), "go", "unknown-hypervisor", 1, "[hypervisor.qemu]"),
        (GO.replace("qemu", "QEMU"), "go", "unknown-hypervisor", 1, "case-sensitive"),
        (GO.replace("qemu", "cloud-hypervisor"), "go", "unknown-hypervisor", 1, "[hypervisor.clh]"),
        (GO.replace("qemu", "openvmm"), "go", "unknown-hypervisor", 1, "there is"),
        (RS.replace("qemu", "stratovirt"), "rs", "unknown-hypervisor", 1, ""),
        ("[agent.kata]\n", "go", "no-hypervisor", 1, ""),
        (RS.replace('= "qemu"', '= "qemuu"'), "rs", "no-hypervisor", 9, 'write "qemu"'),
        (RS.replace('= "qemu"', '= ""'), "rs", "no-hypervisor", 9, 'hypervisor_name = "qemu"'),
        (RS.replace('hypervisor_name = "qemu"\n', ""), "rs", "no-hypervisor", 8, 'hypervisor_name = "qemu"'),
        (RS.replace('agent_name = "kata"\n', ""), "rs", "agent-name", 8, "kata"),
        (RS.replace('agent_name = "kata"', 'agent_name = "x"'), "rs", "agent-name", 10, "[agent.x]"),
        (RS + "[hypervisor.clh]\n", "rs", "unused-hypervisor", 11, "remove"),
        (RS + "[factory]\nenable_template = true\n", "rs", "other-dialect", 11, "[hypervisor.qemu.factory]"),
        (GO + "[runtme]\nx = 1\n", "go", "unknown-table", 11, "[runtime]"),
        (GO + "[qemu]\nx = 1\n", "go", "unknown-table", 11, "[hypervisor.qemu]"),
        (GO + "[proxy.kata]\n", "go", "unknown-table", 11, ""),
        ("enable_debug = true\n" + GO, "go", "wrong-table", 1, "[runtime]"),
        ("zzz = true\n" + GO, "go", "unknown-key", 1, ""),
        ('hypervisor = "qemu"\n', "go", "wrong-type", 1, ""),
        ('[hypervisor]\npath = "/p"\n', "go", "wrong-type", 2, "[hypervisor.qemu]"),
        ('[agent]\nkernel_modules = []\n', "rs", "wrong-type", 2, "[agent.kata]"),
        ("[[runtime]]\nx = 1\n", "go", "wrong-type", 1, ""),
        ('[hypervisor.qemu]\npath = "/p"\nPath = "/q"\n', "go", "same-key-twice", 3, "keep one"),
        ('[hypervisor.qemu]\nextra_monitor_socket = "hmp"\ndbg_monitor_socket = ""\n', "rs", "same-key-twice", 3, ""),
        ("[hypervisor.qemu.zzz]\nx = 1\n", "go", "unknown-table", 1, ""),
    ],
)  # fmt: skip
def test_tables(text: str, dialect: str, rule: str, line: int, hint: str) -> None:
    found = [f for f in of_text(text, dialect).findings if f.rule == rule]
    assert [f.where.line for f in found] == [line]
    assert hint in (found[0].hint or "")
    assert found[0].does


def test_a_go_file_without_its_timeout() -> None:
    found = of_text(GO.replace("create_container_timeout = 60\n", ""), "go")
    assert said(found) == [("create-timeout-left-out", "error", "configuration.toml", 8)]


def test_a_key_is_judged_for_the_version_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from kata_toolkit.kata.lint import known as module

    real = module.known("go")
    match = real.by_table["runtime"]["emptydir_mode"]
    newer = replace(match, side=replace(match.side, since="4.2"))
    older = replace(match, side=replace(match.side, until="4.1"))
    for changed, told in ((newer, "came with Kata 4.2"), (older, "was dropped in Kata 4.1")):
        monkeypatch.setitem(real.by_table["runtime"], "emptydir_mode", changed)
        found = of_text(GO + 'emptydir_mode = "shared-fs"\n', "go")
        assert said(found) == [("not-in-version", "error", "configuration.toml", 11)]
        assert told in found.findings[0].message
        assert "without a word" in str(found.findings[0].does)


# Files of every kind


@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_crlf_and_marks_change_nothing_but_the_note(dialect: str) -> None:
    text = TEXT[dialect]
    assert said(of_text(text.replace("\n", "\r\n"))) == []
    assert said(of_text("\ufeff" + text)) == [("byte-order-mark", "note", "configuration.toml", 1)]
    found = of_text((text + "zzz = 1\n").replace("\n", "\r\n"))
    assert [(f.where.line, f.where.column) for f in found.findings] == [(text.count("\n") + 1, 1)]


@pytest.mark.parametrize(
    ("data", "line", "column", "told"),
    [
        (b'[runtime]\nx = "caf\xe9"\n', 2, 9, "0xe9"),
        (GO.encode("utf-16"), 1, 1, "UTF-16"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\xff\xfe", 1, 12, "not text"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", 1, 1, "not text"),
    ],
)
def test_what_is_no_text(data: bytes, line: int, column: int, told: str) -> None:
    (found,) = of_text(data, "both").findings
    assert (found.rule, found.where.line, found.where.column) == ("not-utf8", line, column)
    assert told in found.message


def test_a_file_of_null_bytes_is_not_text() -> None:
    (found,) = of_text(b"\0" * 100).findings
    assert found.rule == "syntax"
    assert "not text" in found.message


@pytest.mark.parametrize(
    ("line", "column", "hint"),
    [
        ("path = /usr/bin/qemu", 8, "double quotes"),
        ("path = qemu", 8, "double quotes"),
        ("enable_debug = True", 16, "write true"),
        ("enable_debug = yes", 16, "write true"),
        ("enable_debug = False", 16, "write false"),
        ("enable_debug = off", 16, "write false"),
        ("default_vcpus = @DEFVCPUS@", 17, "template"),
        ("default_vcpus =", 16, "value is missing"),
        ("default_vcpus = 01", 18, "does not start with 0"),
        ("default_vcpus: 1", 14, "write ="),
        ("default_vcpus 1", 15, ""),
        ("default_vcpus", 14, "needs ="),
        ('path = "/usr', 13, "not closed"),
        ("path = \u201c/usr\u201d", 8, "quotation marks"),
        ("[hypervisor.clh", 16, "not closed"),
        ("// a comment", 1, "#"),
        ('path = "C:\\dir"', 0, "backslash"),
        ('enable_annotations = ["a" "b"]', 0, ""),
    ],
)
def test_syntax(line: str, column: int, hint: str) -> None:
    found = of_text(f"[hypervisor.qemu]\n{line}\n[runtime]\n", "go").findings
    assert [f.rule for f in found] == ["syntax"]
    assert found[0].where.line == 2, found[0]
    if column:
        assert found[0].where.column == column, found[0]
    assert hint in (found[0].hint or "")


@pytest.mark.parametrize(
    ("text", "name", "line", "first"),
    [
        ("[runtime]\nenable_debug = true\nenable_debug = false\n", "runtime.enable_debug", 3, 2),
        ("[runtime]\n[agent.kata]\n[runtime]\n", "runtime", 3, 1),
        ('[hypervisor.qemu]\n"path" = "a"\npath = "b"\n', "hypervisor.qemu.path", 3, 2),
    ],
)
def test_duplicates(text: str, name: str, line: int, first: int) -> None:
    (found,) = of_text(text, "go").findings
    assert (found.rule, found.where.line) == ("duplicate-key", line)
    assert name in found.message
    assert found.related[0][0].line == first


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "{b=" * 5000,
        "[" + "a." * 50_000 + "b]",
        "runtime.experimental = [{" + "a." * 50_000 + "a = 1}]",
    ],
)
def test_hostile_nesting(text: str) -> None:
    assert {f.rule for f in of_text(text).findings} <= {"syntax", "dialect-assumed", "unknown-key", "unknown-table"} | {
        "no-hypervisor"
    }


def test_numbers_of_any_length() -> None:
    assert [f.rule for f in of_text("[hypervisor.qemu]\ndefault_memory = " + "9" * 10_000, "go").findings] == ["syntax"]


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "huge", "forbidden"])
def test_what_cannot_be_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "configuration.toml"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "huge":
        with file.open("wb") as stream:
            stream.truncate(MAX_BYTES + 1)
    elif kind == "forbidden":
        file.write_text(GO)
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("root may read everything")
    with pytest.raises(InputError) as error:
        read_group(file)
    assert error.value.problems[0].where is not None
    assert error.value.problems[0].where.file == str(file)


# The host


def host(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    file = write(tmp_path, text)
    found = report(file, Options(host=True)).findings
    return [(f.rule, f.message.split(":")[0].split(",")[0]) for f in found if "/dev/" not in f.message]


def good_host(folder: Path, dialect: str = "go") -> str:
    """A configuration whose files are all there."""
    program, kernel, image = folder / "vmm", folder / "vmlinux", folder / "image"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    kernel.write_bytes(b"\x7fELF" + bytes(100))
    image.write_bytes(b"x" * 100)
    return TEXT[dialect].replace('"/p"', f'"{program}"').replace('"/k"', f'"{kernel}"').replace('"/i"', f'"{image}"')


@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_a_host_that_has_everything(dialect: str, tmp_path: Path) -> None:
    assert host(tmp_path, good_host(tmp_path, dialect)) == []


@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_without_host_nothing_is_looked_for(dialect: str, tmp_path: Path) -> None:
    assert said(report(write(tmp_path, TEXT[dialect]))) == []


@pytest.mark.parametrize("name", ["vmm", "vmlinux", "image"])
@pytest.mark.parametrize("dialect", ["go", "rs"])
def test_a_path_that_is_not_there(name: str, dialect: str, tmp_path: Path) -> None:
    text = good_host(tmp_path, dialect)
    (tmp_path / name).unlink()
    key = {"vmm": "path", "vmlinux": "kernel", "image": "image"}[name]
    assert host(tmp_path, text) == [("missing-path", key)]


def test_what_is_there_and_wrong(tmp_path: Path) -> None:
    text = good_host(tmp_path)
    (tmp_path / "vmm").chmod(0o644)
    assert host(tmp_path, text) == [("not-executable", "path")]
    (tmp_path / "vmm").chmod(0o755)
    (tmp_path / "vmlinux").write_bytes(b"no kernel" * 100)
    assert host(tmp_path, text) == [("wrong-kind", "kernel")]
    (tmp_path / "vmlinux").write_bytes(b"")
    assert host(tmp_path, text) == [("wrong-kind", "kernel")]
    (tmp_path / "vmlinux").write_bytes(bytes(0x202) + b"HdrS" + bytes(100))
    assert host(tmp_path, text) == []
    (tmp_path / "image").unlink()
    (tmp_path / "image").mkdir()
    assert host(tmp_path, text) == [("wrong-kind", "image")]


def test_a_sealed_kernel_is_not_looked_into(tmp_path: Path) -> None:
    text = good_host(tmp_path, "rs").replace(f'image = "{tmp_path}/image"\n', "")
    text = text.replace("[agent.kata]", 'confidential_guest = true\nvm_rootfs_driver = "virtio-blk-ccw"\n[agent.kata]')
    (tmp_path / "vmlinux").write_bytes(b"sealed" * 100)
    assert host(tmp_path, text) == []


@pytest.mark.parametrize("name", ["vmm", "vmlinux", "image"])
def test_a_pipe_is_never_opened(name: str, tmp_path: Path) -> None:
    text = good_host(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert [rule for rule, _ in host(tmp_path, text)] == ["wrong-kind"]


@pytest.mark.parametrize("path", ["/\\u0000", "/" + "x" * 5000])
def test_a_path_that_cannot_be(path: str, tmp_path: Path) -> None:
    text = good_host(tmp_path).replace(f"{tmp_path}/image", path)
    assert host(tmp_path, text) == [("missing-path", "image")]


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    text = good_host(tmp_path)
    (tmp_path / "image").unlink()
    (tmp_path / "image").symlink_to("gone")
    found = report(write(tmp_path, text), Options(host=True)).findings
    assert ["gone" in str(f.hint) for f in found if f.rule == "missing-path" and "/dev/" not in f.message] == [True]


def test_sizes_against_memory(tmp_path: Path) -> None:
    text = good_host(tmp_path).replace("[agent.kata]", "default_memory = 256\n[agent.kata]")
    with (tmp_path / "image").open("r+b") as stream:
        stream.truncate(300 << 20)
    assert host(tmp_path, text) == [("image-size", "the image of 300.0 MiB is as large as default_memory")]
    initrd = text.replace("image =", "initrd =")
    found = report(write(tmp_path, initrd), Options(host=True)).findings
    assert [(f.rule, f.level) for f in found if "/dev/" not in f.message] == [("initrd-size", "error")]


def test_a_default_path_is_looked_for_too(tmp_path: Path) -> None:
    text = good_host(tmp_path).replace(f'kernel = "{tmp_path}/vmlinux"\n', "")
    found = [f for f in report(write(tmp_path, text), Options(host=True)).findings if "/dev/" not in f.message]
    assert [(f.rule, f.where.line) for f in found] == [("missing-path", 1)]
    assert "by default" in found[0].message


def test_bind_mounts_may_have_a_suffix_in_rust_only(tmp_path: Path) -> None:
    mounts = f'sandbox_bind_mounts = ["{tmp_path}:ro"]\n'
    assert host(tmp_path, good_host(tmp_path, "rs") + mounts) == []
    assert host(tmp_path, good_host(tmp_path) + mounts) == [("missing-path", "sandbox_bind_mounts")]


@pytest.mark.parametrize(
    ("shared_fs", "level"),
    [
        ('"none"', "warning"),
        (None, "warning"),
        ('"virtio-fs"', "error"),
        ('"virtio-fs-nydus"', "error"),
        ('""', "error"),
    ],
)
def test_the_rust_runtime_looks_at_the_cache_policy_only_where_files_are_shared(
    tmp_path: Path, shared_fs: str | None, level: str
) -> None:
    line = f'shared_fs = {shared_fs}\nvirtio_fs_daemon = "/v"' if shared_fs else ""
    text = RS.replace('shared_fs = "none"', line).replace("[agent", 'virtio_fs_cache = "bogus"\n[agent')
    found = report(write(tmp_path, text)).findings
    assert [finding.level for finding in found if finding.rule == "not-allowed"] == [level]


@pytest.mark.parametrize(("kata", "told"), [("4.1", 0), ("4.1.3", 0), (None, 0), ("3.2", 1), ("4.10", 1), ("9.9", 1)])
def test_a_version_that_was_not_read_is_told(tmp_path: Path, kata: str | None, told: int) -> None:
    found = report(write(tmp_path, GO), Options("go", kata=kata)).findings
    assert [finding.rule for finding in found] == ["other-version"] * told
