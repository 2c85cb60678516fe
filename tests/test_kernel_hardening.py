"""`kernel hardening`: our table, its verdicts, and the feature that goes with it on real kernels."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.errors import InputError, ToolError, Where
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.hardening import (
    AS_RECOMMENDED,
    DIFFERS,
    NOT_THERE,
    ON_PURPOSE,
    compare,
    load_recommendations,
    possible_in,
)
from kata_toolkit.kconfig.unmet import unmet
from kata_toolkit.kernel_session import KernelSession, default_spec, named_source
from kata_toolkit.spec.model import FeatureChanges

pytest_plugins = ("kernel_fixtures",)

TABLE = """\
settings:
  CONFIG_BUG: {value: y, protects: "an impossible state stops its task"}
  CONFIG_DEVMEM: {value: n, protects: "nobody reads physical memory"}
  CONFIG_MODULE_SIG: {value: y, moot: "CONFIG_MODULES=n", protects: "modules must be signed"}
  CONFIG_KFENCE: {value: y, protects: "allocations are watched", guest: "it costs 2 MiB of memory"}
  CONFIG_SLS: {value: y, arch: [x86_64], kernel: "<6.9", protects: "no speculation past a return"}
  CONFIG_ADDR:
    - {value: 65536, arch: [x86_64], protects: "nothing at low addresses"}
    - {value: 32768, arch: [arm64], protects: "nothing at low addresses"}
  CONFIG_BPF:
    - {value: y, kernel: ">=6.6", protects: "the newer of two wordings"}
    - {value: y, kernel: "<6.6", protects: "the older of two wordings", guest: "it is heavier there"}
"""

CASES = {
    "as recommended": ({"CONFIG_BUG": "y"}, "CONFIG_BUG", AS_RECOMMENDED, None),
    "a module is on": ({"CONFIG_BUG": "m"}, "CONFIG_BUG", AS_RECOMMENDED, None),
    "off": ({}, "CONFIG_BUG", DIFFERS, None),
    "off as recommended": ({}, "CONFIG_DEVMEM", AS_RECOMMENDED, None),
    "on against it": ({"CONFIG_DEVMEM": "y"}, "CONFIG_DEVMEM", DIFFERS, None),
    "a module against it": ({"CONFIG_DEVMEM": "m"}, "CONFIG_DEVMEM", DIFFERS, None),
    "moot": ({}, "CONFIG_MODULE_SIG", AS_RECOMMENDED, "nothing to protect: CONFIG_MODULES=n"),
    "not moot": ({"CONFIG_MODULES": "y"}, "CONFIG_MODULE_SIG", DIFFERS, None),
    "on purpose": ({}, "CONFIG_KFENCE", ON_PURPOSE, "it costs 2 MiB of memory"),
    "on all the same": ({"CONFIG_KFENCE": "y"}, "CONFIG_KFENCE", AS_RECOMMENDED, None),
    "gone": ({}, "CONFIG_SLS", NOT_THERE, "Linux 6.12.1 has it no more or not yet"),
    "there after all": ({"CONFIG_SLS": "y"}, "CONFIG_SLS", AS_RECOMMENDED, None),
    "a number": ({"CONFIG_ADDR": "0x10000"}, "CONFIG_ADDR", AS_RECOMMENDED, None),
    "another number": ({"CONFIG_ADDR": "32768"}, "CONFIG_ADDR", DIFFERS, None),
    "the variant of this kernel": ({}, "CONFIG_BPF", DIFFERS, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict(tmp_path: Path, case: str) -> None:
    values, symbol, verdict, because = CASES[case]
    (tmp_path / "t.yaml").write_text(TABLE)
    table = load_recommendations(tmp_path / "t.yaml")
    found = compare(values, kernel="6.12.1", arch="x86_64", recommendations=table)
    (one,) = [v for v in found.verdicts if v.symbol == symbol]
    assert (one.verdict, one.because) == (verdict, because)
    assert found.ok == all(v.verdict != DIFFERS for v in found.verdicts)


def test_other_architectures_and_kernels(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TABLE)
    table = load_recommendations(tmp_path / "t.yaml")
    found = {v.symbol: v for v in compare({}, kernel="6.1", arch="arm64", recommendations=table).verdicts}
    assert "CONFIG_SLS" not in found
    assert (found["CONFIG_ADDR"].recommended, found["CONFIG_BPF"].verdict) == ("32768", ON_PURPOSE)
    unknown = compare({}, kernel=None, arch=None, recommendations=table)
    assert [v.symbol for v in unknown.verdicts].count("CONFIG_BPF") == 1


def test_what_no_setting_switches_on_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TABLE)
    table = load_recommendations(tmp_path / "t.yaml")
    found = compare({}, kernel="6.1", arch="x86_64", recommendations=table, can_have=lambda s: s != "CONFIG_BUG")
    assert {v.symbol for v in found.verdicts if v.verdict == NOT_THERE} == {"CONFIG_BUG"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("CONFIG_X: {value: m, protects: 'ten letters'}", "y, n or a number"),
        ("CONFIG_X: {value: y}", "protects"),
        ("X: {value: y, protects: 'ten letters'}", "CONFIG_VSOCKETS"),
        ("CONFIG_X: {value: y, protects: short}", "10 to 120 characters"),
        ("CONFIG_X: {value: y, protects: 'ten letters', moot: CONFIG_Y}", "CONFIG_MODULES=n"),
        ("CONFIG_X: {value: y, protects: 'ten letters', arch: [amd64]}", "x86_64"),
        ("CONFIG_X: {value: y, protects: 'ten letters', gest: 'ten letters'}", "guest"),
        ("CONFIG_X: []", ""),
    ],
)
def test_a_mistake_in_the_table(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(f"settings:\n  {line}\n")
    with pytest.raises(InputError) as error:
        load_recommendations(file)
    assert message in str(error.value)
    assert error.value.problems[0].where is not None


def test_our_own_table_has_no_idle_variant() -> None:
    """A second entry for one symbol must be for another architecture or other kernels."""
    seen = set()
    for entry in load_recommendations():
        key = (entry.symbol, entry.arch, entry.kernel)
        assert key not in seen
        seen.add(key)
    assert len(seen) > 120


def test_the_feature_asks_for_nothing_that_is_not_recommended() -> None:
    recommended = {(r.symbol, r.value) for r in load_recommendations()}
    asked = {(s.symbol, s.value) for s in load_library().features["hardening"].settings}
    assert asked - recommended == {("CONFIG_DEBUG_KERNEL", "y")}  # only shows others


CONFIG = "# Linux/x86 6.12.9 Kernel Configuration\nCONFIG_64BIT=y\nCONFIG_BUG=y\n"


def test_any_config_file(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "any.config"
    file.write_text(CONFIG)
    assert run(["kernel", "hardening", str(file)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{file}: Linux 6.12.9, x86_64\n")
    assert "\ndiffers: CONFIG_FORTIFY_SOURCE=n, recommended y\n  memcpy and its kin" in text
    assert "CONFIG_BUG=y" not in text
    assert run(["kernel", "hardening", str(file), "--all"]) == 0
    assert "\nas recommended: CONFIG_BUG=y, recommended y\n" in capsys.readouterr().out
    assert run(["kernel", "hardening", str(file), "--strict"]) == 1
    capsys.readouterr()
    assert run(["kernel", "hardening", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads((root / "schemas/kernel-hardening.schema.json").read_text()))
    assert sum(document["counts"].values()) == len(document["settings"])


@pytest.mark.parametrize("word", ["nowhere", "profile:defalt", "profile:default@x", "/bin", "/bin/sh", "/dev/null", ""])
def test_a_mistake_is_told(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "hardening", word]) == 2
    out, err = capsys.readouterr()
    assert (out, "error: " in err) == ("", True)


@pytest.mark.kernel
@pytest.mark.parametrize("source", ["6.12", "6.1"])
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_the_feature_on_real_kernels(real_tree: Path, arch: str, source: str) -> None:
    """Every one of its requests is met, and with it nothing differs from the recommendations without a reason."""
    spec = default_spec(arch=arch, source=named_source(source))
    changes = FeatureChanges(add={"hardening": Where("test")})
    spec = replace(spec, kernel=replace(spec.kernel, features=changes))
    with KernelSession(lambda _: None).open() as session:
        try:
            found = session.resolve(spec)
        except ToolError as error:
            pytest.skip(f"no Linux {source} here, and it cannot be fetched: {error}")
    missed = unmet(found.wishes.requests, found.values)
    assert [r.symbol for r in missed if "hardening" in r.asked_by] == []
    judged = compare(found.values, kernel=found.kernel, arch=arch, can_have=possible_in(found.tree, found.values))
    assert [v.symbol for v in judged.verdicts if v.verdict == DIFFERS] == []
    assert judged.count(AS_RECOMMENDED) > 70


@pytest.mark.kernel
def test_a_built_set(tool: Path, built_set: Path) -> None:
    words = ["kernel", "hardening", built_set, "--json"]
    document = json.loads(subprocess.run([tool, *words], capture_output=True, text=True, check=True).stdout)
    assert document["arch"] == "x86_64"
    by_symbol = {setting["symbol"]: setting for setting in document["settings"]}
    assert by_symbol["CONFIG_STRICT_KERNEL_RWX"]["verdict"] == AS_RECOMMENDED
