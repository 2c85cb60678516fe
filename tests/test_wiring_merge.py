"""Merging a set's handlers into files that belong to others: what is there stays, what goes leaves no trace."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.wiring import daemon_json, marked
from kata_toolkit.wiring.handlers import Handler
from kata_toolkit.wiring.index import Wiring
from kata_toolkit.wiring.overhead import overhead
from kata_toolkit.wiring.trees import RUNC
from kata_toolkit.wiring.wire import Wired, Wish, wire
from wiring_parts import wired_set

FILE = Path("file")
V2 = "io.containerd.grpc.v1.cri"
V3 = "io.containerd.cri.v1.runtime"


def handler(name: str, dialect: Any = "go", prefix: str = "/opt/toy") -> Handler:
    return Handler(
        name=name,
        flavour="qemu",
        vmm="qemu",
        dialect=dialect,
        shim=f"{prefix}/bin/containerd-shim-{name}-v2",
        command=f"{prefix}/bin/{name}" if dialect == "go" else "",
        config=f"{prefix}/configuration-{dialect}.toml",
        snapshotter="",
        overhead=overhead("qemu", 256, virtiofsd=True),
        annotations={},
        refused={},
        changes={},
    )


def wiring(wrapper: str = "kata-toy", prefix: str = "/opt/toy") -> Wiring:
    pair = (handler(wrapper, prefix=prefix), handler(f"{wrapper}-rs", "rs", prefix))
    return Wiring(Path("wiring.json"), "toy", wrapper, prefix, pair)


def run(manager: str, file: Path, **options: Any) -> Wired:
    return wire(options.pop("wiring", wiring()), Wish(manager, into=file, **options))


def runtimes(manager: str, text: str) -> dict[str, Any]:
    """The runtimes that a file names."""
    if manager == "docker":
        return json.loads(text.removeprefix("\ufeff")).get("runtimes", {}) if text.strip() else {}
    document = tomllib.loads(text)
    paths = {
        "containerd": ("plugins", V2 if document.get("version") == 2 else V3, "containerd", "runtimes"),
        "crio": ("crio", "runtime", "runtimes"),
        "podman": ("engine", "runtimes"),
    }
    table: Any = document
    for key in paths[manager]:
        table = table.get(key, {})
    return table


# ---- what may be there already: each is kept to the byte, and comes back to the byte ----

CONTAINERD = [
    "version = 2\n",
    "version = 3\n",
    "version = 4\n",
    "# mine\nversion = 2 # why\n\n[grpc]\n  address = '/run/x.sock'\n",
    f'version = 2\n[plugins."{V2}"]\n  sandbox_image = "pause:1"\n',
    f'version = 2\n[plugins."{V2}".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n',
    f"version = 3\n[plugins.'{V3}'.containerd]\n  default_runtime_name = 'runc'\n",
    "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']",  # without an end of line
    "version = 2\r\n[grpc]\r\n  address = 'x'\r\n",
    "version = 2\n[[stream_processors.x]]\nreturns = 'y'\n",
    "version = 2\n# ünïcode\n",
    f'version = 2\n[plugins]\n  [plugins."{V2}"]\n    [plugins."{V2}".cni]\n      bin_dir = "/opt/cni"\n',
]
CRIO = [
    "",
    "[crio]\nroot = '/var/x'\n",
    "[crio.runtime]\ndefault_runtime = 'runc'",
    "[crio.runtime.runtimes.runc]\na = 1\n",
    "# c\n",
]
PODMAN = ["", "[engine]\nruntime = 'crun'\n", "[containers]\nx = 1\n[engine]\ny = 2", "# only a comment"]
DOCKER = [
    "{}",
    "{}\n",
    '{\n  "debug": true\n}\n',
    '{"debug":true}',
    '{\n\t"log-opts": {\n\t\t"max-size": "1m"\n\t},\n\t"unknown": [1, 2.50, 1e3, null, "\\u00e9"]\n}\n',
    '{\n    "runtimes": {\n        "other": {\n            "path": "/x"\n        }\n    },\n    "z": 1\n}',
    '{"runtimes": {"a": {"path": "/a"}, "b": {"path": "/b"}}}',
    '\ufeff{"debug": false}\n',
    '\n\n  {"a": {"runtimes": 1}}  \n',
    '{\r\n  "debug": true\r\n}\r\n',
]
CASES = [
    *(("containerd", text) for text in CONTAINERD),
    *(("crio", text) for text in CRIO),
    *(("podman", text) for text in PODMAN),
    *(("docker", text) for text in DOCKER),
]


def outside(manager: str, text: str) -> Any:
    """What a file says but for our handlers."""
    document: Any = json.loads(text.removeprefix("\ufeff") or "{}") if manager == "docker" else tomllib.loads(text)

    def without(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kept = {k: without(item) for k, item in value.items() if not k.startswith("kata-toy") and item != RUNC}
        return {key: item for key, item in kept.items() if item != {}}

    return without(document)


@pytest.mark.parametrize(("manager", "before"), CASES)
def test_what_is_there_is_kept_and_comes_back(tmp_path: Path, manager: str, before: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(before.encode())
    done = run(manager, file)
    after = file.read_bytes().decode()
    assert done.changed
    assert set(done.done.values()) == {"added"}
    assert set(runtimes(manager, after)) >= set(done.done)
    assert outside(manager, after) == outside(manager, before)
    for line in before.splitlines():
        assert manager == "docker" or line in after  # comments too
    assert not run(manager, file).changed  # twice is once
    assert file.read_bytes().decode() == after
    gone = run(manager, file, remove=True)
    assert set(gone.done.values()) == {"removed"}
    if before.strip() in ("", "{}", "version = 2", "version = 3", "version = 4"):
        assert not file.exists()  # it said nothing
    else:
        assert file.read_bytes().decode() == before
    assert set(run(manager, file, remove=True).done.values()) == {"absent"}


@pytest.mark.parametrize("manager", ["containerd", "crio", "docker", "podman"])
def test_a_file_that_is_not_there_is_made_and_goes_again(tmp_path: Path, manager: str) -> None:
    file = tmp_path / "deep" / "er" / "file"
    assert run(manager, file, remove=True).changed is False
    assert not file.parent.exists()
    run(manager, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert "kata-toy" in runtimes(manager, file.read_text())
    run(manager, file, remove=True)
    assert not file.exists()


def test_two_sets_for_podman_have_a_file_each(tmp_path: Path) -> None:
    """There can be only one [engine.runtimes] in a file; what stood in another set's block would go with it."""
    file = tmp_path / "file"
    run("podman", file)
    before = file.read_text()
    with pytest.raises(InputError, match="another set's") as caught:
        run("podman", file, wiring=wiring("kata-other"))
    assert caught.value.problems[0].hint == "give this set a file of its own"
    assert file.read_text() == before


@pytest.mark.parametrize("manager", ["containerd", "crio", "docker"])
@pytest.mark.parametrize("first_out", [0, 1])
def test_two_sets_share_a_file(tmp_path: Path, manager: str, first_out: int) -> None:
    file, sets = tmp_path / "file", (wiring(), wiring("kata-other", "/opt/other"))
    for one in sets:
        run(manager, file, wiring=one)
    assert {"kata-toy", "kata-other"} <= set(runtimes(manager, file.read_text()))
    run(manager, file, wiring=sets[first_out], remove=True)
    left = sets[1 - first_out].wrapper
    assert {name for name in runtimes(manager, file.read_text()) if not name.endswith("-rs")} - {"runc"} == {left}
    run(manager, file, wiring=sets[1 - first_out], remove=True)
    assert not file.exists()


@pytest.mark.parametrize("first_out", [0, 1])
def test_two_sets_behind_a_line_without_an_end(tmp_path: Path, first_out: int) -> None:
    file, sets = tmp_path / "file", (wiring(), wiring("kata-other", "/opt/other"))
    before = "version = 2\nroot = '/x'"
    file.write_text(before)
    for one in sets:
        run("containerd", file, wiring=one)
    for one in (sets[first_out], sets[1 - first_out]):
        run("containerd", file, wiring=one, remove=True)
        assert tomllib.loads(file.read_text())["root"] == "/x"
    assert file.read_text() == before


@pytest.mark.parametrize("manager", ["containerd", "crio"])
def test_a_set_of_another_prefix_replaces_its_own_block(tmp_path: Path, manager: str) -> None:
    file = tmp_path / "file"
    file.write_text("version = 3\n# mine\n" if manager == "containerd" else "# mine\n")
    run(manager, file)
    done = run(manager, file, wiring=wiring(prefix="/opt/new"))
    assert set(done.done.values()) == {"replaced"}
    text = file.read_text()
    assert "/opt/toy" not in text
    assert "# mine\n" in text
    assert text.count(">>> kata-toolkit") == 1


def test_containerd_1_keeps_its_default_runtime(tmp_path: Path) -> None:
    """It forgets runc when it is told of others, unless it is told of runc as well; that goes with the last of us."""
    file, sets = tmp_path / "file", (wiring(), wiring("kata-other", "/opt/other"))
    before = "version = 2\n[grpc]\naddress = '/x'\n"
    file.write_text(before)
    for one in sets:
        run("containerd", file, wiring=one)
        assert runtimes("containerd", file.read_text())["runc"] == RUNC
    assert run("containerd", file, wiring=sets[0], remove=True).done == {
        "kata-toy": "removed",
        "kata-toy-rs": "removed",
    }
    assert runtimes("containerd", file.read_text())["runc"] == RUNC
    assert run("containerd", file, wiring=sets[1], remove=True).done["runc"] == "removed"
    assert file.read_text() == before


@pytest.mark.parametrize(
    "before",
    [
        "version = 3\n",  # containerd 2 does not forget
        f'version = 2\n[plugins."{V2}".containerd.runtimes.runc]\nruntime_type = "mine"\n',
        f'version = 2\n[plugins."{V2}".containerd]\ndefault_runtime_name = "mine"\n',
    ],
)
def test_a_default_runtime_of_somebodys_own_is_left_alone(tmp_path: Path, before: str) -> None:
    file = tmp_path / "file"
    file.write_text(before)
    assert "runc" not in run("containerd", file).done
    assert RUNC not in runtimes("containerd", file.read_text()).values()
    run("containerd", file, remove=True)
    assert not file.exists() or file.read_text() == before


# ---- a runtime of the same name that differs ----

TABLE = f'[plugins."{V2}".containerd.runtimes.kata-toy]'
DIFFERENT = [
    ("containerd", f'version = 2\n\n{TABLE}\nruntime_type = "x"\n', "runtime_type is 'x'", 3),
    ("containerd", f'version = 2\n[plugins]\n{TABLE[:-1]}.options]\nConfigPath = "/x"\n', "runtime_type is None", 3),
    ("crio", "[crio.runtime.runtimes.kata-toy]\nruntime_path = '/x'\n", "runtime_path is '/x'", 1),
    ("crio", "[crio.runtime.runtimes]\nkata-toy = {runtime_path = '/x'}\n", "runtime_path is '/x'", 2),
    ("podman", "[engine.runtimes]\nkata-toy = ['/x']\n", "it says ['/x']", 2),
    ("docker", '{\n  "runtimes": {\n    "kata-toy": {"path": "/x"}\n  }\n}\n', 'it says {"path": "/x"}', 3),
]  # fmt: skip


@pytest.mark.parametrize(("manager", "before", "told", "line"), DIFFERENT)
def test_a_differing_runtime_is_told_at_its_line_and_stays(
    tmp_path: Path, manager: str, before: str, told: str, line: int
) -> None:
    file = tmp_path / "file"
    file.write_text(before)
    with pytest.raises(InputError) as caught:
        run(manager, file)
    problem = caught.value.problems[0]
    assert "kata-toy is there already, and differs" in problem.message
    assert told in problem.message
    assert problem.where is not None
    assert problem.where.line == line
    assert "--force" in (problem.hint or "")
    with pytest.raises(InputError, match="not as this set would have it"):
        run(manager, file, remove=True)
    assert file.read_text() == before


@pytest.mark.parametrize(("manager", "before", "told", "line"), DIFFERENT)
def test_force_puts_ours_in_its_place(tmp_path: Path, manager: str, before: str, told: str, line: int) -> None:
    file = tmp_path / "file"
    file.write_text(before)
    assert run(manager, file, force=True).done["kata-toy"] == "replaced"
    found = runtimes(manager, file.read_text())["kata-toy"]
    assert "/x" not in str(found)
    assert not run(manager, file).changed
    file.write_text(before)
    run(manager, file, force=True, remove=True)
    assert not file.exists() or "kata-toy" not in file.read_text()


def test_what_somebody_wrote_just_as_we_would_is_left_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    run("podman", file)
    ours = file.read_text()
    file.write_text("".join(line for line in ours.splitlines(keepends=True) if not line.startswith("#")))
    assert run("podman", file).done == {"kata-toy": "unchanged"}
    run("podman", file, remove=True)
    assert "kata-toy" not in (file.read_text() if file.exists() else "")


def test_a_table_that_cannot_be_opened_again_gets_a_line(tmp_path: Path) -> None:
    before = "# head\n[engine.runtimes]\nother = ['/y'] # kept\n\n[network]\nx = 1\n"
    file = tmp_path / "file"
    file.write_text(before)
    run("podman", file)
    text = file.read_text()
    assert tomllib.loads(text)["engine"]["runtimes"] == {"other": ["/y"], "kata-toy": ["/opt/toy/bin/kata-toy"]}
    assert "# kept" in text
    assert "# head" in text
    run("podman", file, remove=True)
    assert tomllib.loads(file.read_text()) == tomllib.loads(before)


# ---- what cannot be parsed, or is not what it should be: nothing is written ----

BAD_TOML = [
    "x", "version = ", "[a\n", "version = 2\nversion = 3\n", "a = 'x", "[a]\n[a]\n", "a = 1 b = 2\n", "= 1\n", '"',
    "[[a]\n", "version = 2\nx = \u0001\n", "a = 00\n", "a.b = 1\na = 2\n", "version = 2\n[plugins\n", "{}",
    "\ufeffversion = 2\n", "a = [1,\n",
]  # fmt: skip
BAD_JSON = [
    "x", "[]", "null", "1", '"x"', "{", '{"a"}', '{"a": }', '{"a": 1,}', '{"a": 1 "b": 2}', "{'a': 1}", '{"a": 1}x',
    '{"a": 01}', '{"a": 1, "a": 2}', "// c\n{}", '{"a": tru}', '{"a": "\n"}', '{"a": "\\x"}', '{"runtimes": []}',
    '{"runtimes": null}', '{"runtimes": "x"}', "[" * 5000, '{"a":' * 5000, '{"runtimes": {"x": 1, "x": 2}}',
    '{"a": NaN}', '{"a": .5}', '{"a" 1}', "{}{}",
]  # fmt: skip
BAD = [
    *(("crio", text) for text in BAD_TOML),
    *(("containerd", text) for text in BAD_TOML),
    *(("docker", text) for text in BAD_JSON),
]


@pytest.mark.parametrize(("manager", "text"), BAD)
@pytest.mark.parametrize("remove", [False, True])
def test_what_cannot_be_parsed_is_refused_with_line_and_column(
    tmp_path: Path, manager: str, text: str, remove: bool
) -> None:
    file = tmp_path / "file"
    file.write_bytes(text.encode())
    with pytest.raises(InputError) as caught:
        run(manager, file, remove=remove)
    where = caught.value.problems[0].where
    assert where is not None
    assert where.file == str(file)
    assert where.line >= 1
    assert where.column >= 1
    assert file.read_bytes() == text.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("manager", "text", "told"),
    [
        ("containerd", "root = '/x'\n", "no version, so it is version 1"),
        ("containerd", "version = 1\n", "is version 1"),
        ("containerd", "version = 5\n", "is version 5"),
        ("containerd", "version = '2'\n", "is version '2'"),
        ("containerd", "version = true\n", "is version True"),
        ("containerd", "version = [2]\n", "is version"),
        ("containerd", "version = 2\nplugins = 1\n", "plugins is no table"),
        ("containerd", f'version = 2\n[plugins]\n"{V2}" = []\n', "is no table"),
        ("crio", "crio = 1\n", "crio is no table"),
        ("crio", "[crio]\nruntime = 'x'\n", "crio.runtime is no table"),
        ("podman", "[engine]\nruntimes = []\n", "engine.runtimes is no table"),
        ("podman", "[[engine]]\nx = 1\n", "engine is no table"),
        ("crio", "[crio]\nruntime = {a = 1}\n", "cannot be written into this file"),  # inline: it has an end
    ],
)
def test_a_document_of_another_shape_is_refused(tmp_path: Path, manager: str, text: str, told: str) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        run(manager, file)
    assert told in str(caught.value)
    assert file.read_text() == text


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# <<< kata-toolkit wire: kata-toy\n", ""),  # our end is lost: what others wrote would go with the block
        ("# >>> kata-toolkit wire: kata-toy\n", "# >>> kata-toolkit wire: kata-toy\n" * 2),
        (
            "# <<< kata-toolkit wire: kata-toy\n",
            "# <<< kata-toolkit wire: kata-toy\n[x]\n# <<< kata-toolkit wire: kata-toy\n",
        ),
        ("# <<< kata-toolkit wire: kata-toy\n", "# <<< kata-toolkit wire: kata-toy\nkey = 1\n"),  # of our last table
        ("# first\n", 'x = """\n# >>> kata-toolkit wire: kata-toy\n# <<< kata-toolkit wire: kata-toy\n"""\n'),
    ],
)
def test_a_block_that_cannot_be_told_from_the_rest_is_left_alone(
    tmp_path: Path, old: str, new: str, remove: bool
) -> None:
    file = tmp_path / "file"
    file.write_text("version = 2\n# first\n[debug]\nlevel = 'info'\n")
    run("containerd", file)
    text = file.read_text().replace(old, new)
    assert text != file.read_text()
    file.write_text(text)
    with pytest.raises(InputError, match="cannot be told from what is around it"):
        run("containerd", file, remove=remove)
    assert file.read_text() == text


def test_a_block_is_known_with_other_ends_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "file"
    before = "version = 2\n[debug]\nlevel = 'info'\n"
    file.write_text(before)
    run("containerd", file)
    file.write_bytes(file.read_bytes().rstrip().replace(b"\n", b"\r\n"))  # as an editor may leave it
    run("containerd", file, remove=True)
    assert file.read_bytes() == before.replace("\n", "\r\n").encode()


def test_what_is_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"ok = 1\nx = '\xff'\n")
    with pytest.raises(InputError) as caught:
        run("crio", file)
    assert str(caught.value.problems[0].where).endswith("file:2:6")
    with pytest.raises(InputError, match="is no file"):
        run("crio", tmp_path)
    with pytest.raises(InputError, match="is no file"):
        run("crio", file / "below")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name in ("pipe", "device"):  # neither waited for nor replaced
        with pytest.raises(InputError, match="is no file"):
            run("crio", tmp_path / name)
    file.write_bytes(b"#" * (5 << 20))
    with pytest.raises(InputError, match="larger than"):
        run("crio", file)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "loop"
    file.symlink_to(file)
    with pytest.raises(ToolError):
        run("crio", file)
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises((InputError, ToolError)):
        run("crio", blocked / "x" / "y")


# ---- how it is written ----


def test_mode_and_link_of_the_file_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("# mine\n")
    real.chmod(0o600)
    link.symlink_to(real)
    run("crio", link)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert "kata-toy" in real.read_text()
    run("crio", link, remove=True)
    assert link.is_symlink()
    assert real.read_text() == "# mine\n"


def test_printing_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("# mine\n")
    found = run("crio", file, write=False)
    assert found.changed
    assert found.text is not None
    assert "kata-toy" in found.text
    assert file.read_text() == "# mine\n"


def test_a_new_member_has_the_indentation_of_the_document(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text('{\n\t"debug": true\n}\n')
    run("docker", file)
    assert '\n\t"runtimes": {\n\t\t"kata-toy": {\n\t\t\t"runtimeType": ' in file.read_text()


def test_docker_before_24_gets_the_command(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert run("docker", file, commands=True).done == {"kata-toy": "added"}
    assert json.loads(file.read_text()) == {"runtimes": {"kata-toy": {"path": "/opt/toy/bin/kata-toy"}}}
    with pytest.raises(InputError, match="differs"):
        run("docker", file)


def test_a_set_without_command_lines_is_nothing_for_podman(tmp_path: Path) -> None:
    only = Wiring(Path("w"), "toy", "kata-toy", "/opt/toy", (handler("kata-toy", "rs"),))
    for manager, commands in (("podman", False), ("docker", True)):
        with pytest.raises(InputError, match="command line"):
            run(manager, tmp_path / "file", wiring=only, commands=commands)


# ---- nerdctl: links ----


def links(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): str(path.readlink()) for path in root.rglob("*") if path.is_symlink()}


def test_nerdctl_gets_links_to_shims_and_configurations(tmp_path: Path) -> None:
    wish = Wish("nerdctl", root=tmp_path)
    assert set(wire(wiring(), wish).done.values()) == {"added"}
    assert links(tmp_path) == {
        "usr/local/bin/containerd-shim-kata-toy-v2": "/opt/toy/bin/containerd-shim-kata-toy-v2",
        "usr/local/bin/containerd-shim-kata-toy-rs-v2": "/opt/toy/bin/containerd-shim-kata-toy-rs-v2",
        "etc/kata-containers/configuration.toml": "/opt/toy/configuration-go.toml",
        "etc/kata-containers/runtime-rs/configuration.toml": "/opt/toy/configuration-rs.toml",
    }
    assert not wire(wiring(), wish).changed
    assert set(wire(wiring(), Wish("nerdctl", root=tmp_path, remove=True)).done.values()) == {"removed"}
    assert links(tmp_path) == {}
    assert set(wire(wiring(), Wish("nerdctl", root=tmp_path, remove=True)).done.values()) == {"absent"}


def test_nerdctl_never_replaces_a_file_and_a_link_only_when_told_to(tmp_path: Path) -> None:
    place = tmp_path / "etc/kata-containers/configuration.toml"
    place.parent.mkdir(parents=True)
    place.write_text("# mine\n")
    for force in (False, True):
        with pytest.raises(InputError, match="is there already") as caught:
            wire(wiring(), Wish("nerdctl", root=tmp_path, force=force))
        assert caught.value.problems[0].hint == "move it away"
    assert links(tmp_path) == {}
    assert place.read_text() == "# mine\n"
    place.unlink()
    place.symlink_to("/elsewhere")
    with pytest.raises(InputError):
        wire(wiring(), Wish("nerdctl", root=tmp_path))
    assert links(tmp_path) == {"etc/kata-containers/configuration.toml": "/elsewhere"}
    wire(wiring(), Wish("nerdctl", root=tmp_path, force=True))
    assert str(place.readlink()) == "/opt/toy/configuration-go.toml"


# ---- any document ----

keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    document=st.dictionaries(keys, values, max_size=4),
    others=st.dictionaries(keys.filter(lambda key: key != "kata"), values, max_size=3) | st.none(),
    indent=st.sampled_from([None, 1, 2, 4, "\t"]),
    ascii_only=st.booleans(),
    value=values.filter(lambda value: value is not None),
)
def test_any_daemon_json_keeps_its_meaning_and_gets_its_bytes_back(
    document: dict[str, Any], others: dict[str, Any] | None, indent: Any, ascii_only: bool, value: Any
) -> None:
    document = {key: item for key, item in document.items() if key != "runtimes"}
    if others is not None:
        document["runtimes"] = others
    before = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    put = daemon_json.put(before, FILE, {"kata": value})
    assert json.loads(put.text) == {**document, "runtimes": {**(others or {}), "kata": value}}
    dropped = daemon_json.drop(put.text, FILE, {"kata": value}).text
    if document and (others or others is None):
        assert dropped == before
    else:
        assert {key: item for key, item in json.loads(dropped).items() if item != {}} == {
            key: item for key, item in document.items() if item != {}
        } or json.loads(dropped) == {key: item for key, item in document.items() if key != "runtimes"}


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_is_a_traceback(text: str) -> None:
    entries = [marked.Entry("kata", ("a", "b"), {"c": 1})]
    for act in (
        lambda: marked.put(text, FILE, "kata", entries),
        lambda: marked.drop(text, FILE, "kata", entries),
        lambda: daemon_json.put(text, FILE, {"kata": {}}),
        lambda: daemon_json.drop(text, FILE, {"kata": {}}),
    ):
        with contextlib.suppress(InputError):  # and nothing else
            act()


# ---- the verb ----


def cli(tool: Path, *words: str | Path, status: int = 0) -> str:
    done = subprocess.run([tool, "wire", *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def test_the_verb_end_to_end(tool: Path, root: Path, tmp_path: Path) -> None:
    made, system = wired_set(tmp_path / "made"), tmp_path / "root"
    schema = json.loads((root / "schemas/wire.schema.json").read_text())
    for manager in ("containerd", "crio", "docker", "podman", "nerdctl"):
        found = json.loads(cli(tool, manager, made, "--root", system, "--json"))
        jsonschema.validate(found, schema)
        assert found["changed"]
        assert {h["done"] for h in found["handlers"]} == {"added"}
    assert (system / "etc/containerd/config.toml").read_text().startswith("version = 2\n")
    assert "/opt/toy/bin/containerd-shim-kata-toy-v2" in found["missing"]
    assert "not installed yet: /opt/toy/bin" in cli(tool, "crio", made, "--root", system)
    (system / "opt/toy/bin").mkdir(parents=True)
    (system / "opt/toy/bin/containerd-shim-kata-toy-v2").write_text("")
    found = json.loads(cli(tool, "crio", made, "--root", system, "--json"))
    assert "/opt/toy/bin/containerd-shim-kata-toy-v2" not in found["missing"]
    printed = cli(tool, "docker", made, "--root", system, "--print", "--remove")
    assert json.loads(printed) == {}
    jsonschema.validate(json.loads(cli(tool, "crio", made, "--root", system, "--print", "--json")), schema)
    assert "then: systemctl restart crio" in cli(tool, "crio", made, "--root", system, "--remove")
    text = cli(tool, "containerd", made, "--into", tmp_path / "new.toml", "--config-version", "4", "--print")
    assert tomllib.loads(text)["version"] == 4
    assert not (tmp_path / "new.toml").exists()


def test_mistakes_are_told_with_status_2(tool: Path, tmp_path: Path) -> None:
    made, bad = wired_set(tmp_path / "made"), tmp_path / "daemon.json"
    bad.write_text('{\n  "debug": tru\n}\n')
    assert f"{bad}:2:12: error: not JSON" in cli(tool, "docker", made, "--into", bad, status=2)
    errors = subprocess.run(
        [tool, "wire", "docker", made, "--into", bad, "--json"], capture_output=True, text=True, check=False
    )
    assert errors.returncode == 2
    assert json.loads(errors.stdout)["errors"][0]["line"] == 2
    for words in (
        ["docker"], ["lxc", made], ["docker", tmp_path / "none"], ["docker", tmp_path],
        ["containerd", made, "--config-version", "1"], ["containerd", made, "--config-version", "x"],
        ["docker", made, "--nope"],
    ):  # fmt: skip
        cli(tool, *words, status=2)
