"""config translate as a user calls it: streams, exit codes, files, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.errors import CheckError, InputError
from kata_toolkit.kata.translate import translate
from translate_files import usable

PLAIN = b'[hypervisor.qemu]\nshared_fs = "none"\n[agent.kata]\ndial_timeout = 45\n[runtime]\n'
LOSSY = PLAIN + b"[factory]\nvm_cache_number = 3\n"


def run(tool: Path, *words: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run([tool, "config", "translate", *words], input=data, env=env, capture_output=True, check=False)


def document(tool: Path, root: Path, *words: str | Path, data: bytes | None = None) -> Any:
    found = json.loads(run(tool, "--json", *words, data=data).stdout)
    jsonschema.validate(found, json.loads((root / "schemas" / "config-translate.schema.json").read_text()))
    return found


def test_stdout_has_the_file_and_nothing_else(tool: Path) -> None:
    done = run(tool, "-", "--from", "go", data=PLAIN)
    assert done.returncode == 0
    assert tomllib.loads(done.stdout.decode())["agent"]["kata"] == {"reconnect_timeout_ms": 45000}
    assert b"agent.kata.dial_timeout = 45 \xe2\x86\x92 agent.kata.reconnect_timeout_ms = 45000" in done.stderr
    assert b"-:4:1" in done.stderr
    assert run(tool, "-", "--from", "go", "-q", data=PLAIN).stderr == b""


def test_loss_is_an_exit_status_of_its_own_and_the_file_is_written(tool: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "c.toml", tmp_path / "new.toml"
    file.write_bytes(LOSSY)
    done = run(tool, file, "--to", "rs", "-o", out)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"{file}:7:1: factory.vm_cache_number = 3: the Rust runtime has no such setting".encode() in done.stderr
    assert "vm_cache_number" not in str(tomllib.loads(out.read_text()))
    assert run(tool, file, "--to", "rs", "-o", out, "--lossy-ok").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "new.toml"]


def test_json_has_the_shape_of_its_schema(tool: Path, root: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "c.toml", tmp_path / "new.toml"
    file.write_bytes(LOSSY + b"when = 2020-01-01\n")
    found = document(tool, root, file, "--from", "go")
    assert (found["from"], found["to"], found["hypervisor"], found["lossy"]) == ("go", "rs", "qemu", True)
    assert tomllib.loads(found["text"])["runtime"]["hypervisor_name"] == "qemu"
    assert [(e["key"], e["value"], e["matters"], e["line"]) for e in found["lost"]] == [
        ("factory.vm_cache_number", 3, True, 7),
        ("factory.when", "2020-01-01", False, 8),
    ]
    found = document(tool, root, file, "--from", "go", "-o", out)
    assert found["output"] == str(out)
    assert "text" not in found
    assert out.exists()


def test_json_tells_mistakes_as_every_verb_does(tool: Path, root: Path) -> None:
    done = run(tool, "-", "--json", data=b"[hypervisor.qemu\n")
    errors = json.loads(done.stdout)
    jsonschema.validate(errors, json.loads((root / "schemas" / "errors.schema.json").read_text()))
    assert done.returncode == 2


def test_nothing_is_written_for_a_file_that_is_refused(tool: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "c.toml", tmp_path / "new.toml"
    file.write_text('[hypervisor.qemu]\ndefault_vcpus = "many"\n')
    out.write_text("as it was\n")
    assert run(tool, file, "--to", "rs", "-o", out).returncode == 2
    assert out.read_text() == "as it was\n"
    assert run(tool, file, "--to", "rs", "-o", file).returncode == 2
    file.write_bytes(PLAIN)
    for wrong in (file, tmp_path, tmp_path / "no" / "new.toml"):
        done = run(tool, file, "--to", "rs", "-o", wrong)
        assert done.returncode == 2, wrong
        assert str(tmp_path).encode() in done.stderr
    assert file.read_bytes() == PLAIN


BAD = [
    (b"", {}, "tells which runtime"),
    (b"", {"source": "go"}, "no \\[hypervisor.NAME\\] table"),
    (b"[hypervisor.qemu]\n", {}, "tells which runtime"),
    (b"[runtime]\nhypervisor_name = 'qemu'\n[hypervisor.clh]\n", {}, "no table \\[hypervisor.qemu\\]"),
    (b"[runtime]\nhypervisor_name = 'qemu'\n[hypervisor.qemu]\n", {"target": "rs"}, "already"),
    (b"[hypervisor.qemu]\n", {"source": "go", "target": "go"}, "same dialect"),
    (b"[hypervisor.qemu]\n[hypervisor.clh]\n", {"source": "go"}, "at random"),
    (b"[hypervisor.qemu]\n", {"source": "go", "hypervisor": "clh"}, "no table \\[hypervisor.clh\\]"),
    (b"[agent.kata]\n", {"source": "go", "hypervisor": "qmeu"}, "did you mean"),
    (b"[hypervisor.acrn]\n", {"source": "go"}, "knows no hypervisor acrn"),
    (b"[hypervisor.qemu]\ndefault_vcpus = \n", {"source": "go"}, "not TOML"),
    (b"[hypervisor.qemu]\ndefault_vcpus = 1\ndefault_vcpus = 2\n", {"source": "go"}, "twice"),
    (b"[hypervisor.qemu]\ndefault_vcpus = '1'\n", {"source": "go"}, "must be a number"),
    (b"[hypervisor.qemu]\ndefault_memory = 2048.0\n", {"source": "go"}, "must be a whole number"),
    (b"[hypervisor.qemu]\ndefault_memory = 5000000000\n", {"source": "go"}, "must lie between"),
    (b"[hypervisor.qemu]\nenable_annotations = 'x'\n", {"source": "go"}, "must be a list"),
    (b"[hypervisor.qemu]\nfactory = 3\n", {"source": "rs"}, "must be a table"),
    (
        b"[hypervisor.qemu]\n[agent.kata]\ndial_timeout = 45\n",
        {"source": "rs"},
        "dial_timeout is a key of the Go runtime",
    ),
    (b"[hypervisor.qemu]\n[hypervisor.qemu.factory]\nvm_cache_number = 1\n", {"source": "rs"}, "vm_cache_number"),
    (b"hypervisor = 3\n", {"source": "go"}, "must be a table"),
    (b"hypervisor.qemu = 3\n", {"source": "go"}, "must be a table"),
    (b"\xff\xfe[\x00", {"source": "go"}, "UTF-16"),
    (b"[hypervisor.qemu]\nkernel = '\xff'\n", {"source": "go"}, "0xff"),
    (b"\x7fELF\0\0", {"source": "go"}, "not"),
    (b"a = " + b"[" * 5000 + b"]" * 5000, {"source": "go"}, "nested"),
]


@pytest.mark.parametrize(("data", "options", "message"), BAD, ids=[case[2] for case in BAD])
def test_bad_input_is_a_mistake_with_a_place_and_no_traceback(data: bytes, options: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        translate(None, data, **options)
    import re

    assert re.search(message, " ".join(map(str, caught.value.problems))), caught.value.problems


def test_a_drop_in_that_its_runtime_refuses(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(PLAIN)
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "10.toml").write_text("[hypervisor.qemu]\ndefualt_vcpus = 2\n")
    with pytest.raises(InputError, match="did you mean default_vcpus") as caught:
        translate(tmp_path / "c.toml", source="go", drop_ins=True)
    assert str(caught.value.problems[0].where) == f"{tmp_path}/config.d/10.toml:2:1"


def test_texts_that_were_damaged_are_translated_or_refused() -> None:
    """Whatever it is made of, a text never ends in a translation that does not say what it means."""
    import random

    base = usable("qemu", "go", "x86_64", "image")
    assert base is not None
    lines = [line for line in base.splitlines() if line and not line.startswith("#")]
    odd = [
        "x = {a = {b = [1, {c = 2}]}}",
        "[[hypervisor.qemu.guest_extension_images]]",
        "[a.b]",
        "'q' = 1",
        "factory = {}",
    ]
    chance, translated = random.Random(1), 0
    for _ in range(150):
        damaged = list(lines)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(damaged))
            line = damaged[place]
            cut = chance.randint(0, len(line))
            damaged[place] = (
                line[:cut] + chance.choice(["", '"', "=", "#", ".", "[", "\n"]) + line[cut + chance.randint(0, 1) :]
            )
            damaged.insert(chance.randrange(len(damaged)), chance.choice([*lines, *odd]))
        try:
            done = translate(None, "\n".join(damaged).encode(), source="go")
        except InputError:
            continue
        translated += 1
        tomllib.loads(done.text)
    assert translated > 10


@pytest.mark.parametrize(("table", "source"), [("stratovirt", "go"), ("openvmm", "rs")])
def test_a_vmm_that_the_other_runtime_lacks(table: str, source: Any) -> None:
    with pytest.raises(CheckError, match=f"has no {table}"):
        translate(None, f"[hypervisor.{table}]\n".encode(), source=source)


@pytest.mark.parametrize("words", [["--to", "java"], ["--from", "rust"], ["--from", ""], ["--no-such"], []])
def test_bad_options(tool: Path, tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(PLAIN)
    done = run(tool, *([file] if words else []), *words)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["missing.toml", "folder", "pipe"])
def test_files_that_are_none(tool: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    done = run(tool, tmp_path / name)
    assert done.returncode == 2
    assert str(tmp_path / name).encode() in done.stderr
