"""`kernel explain`: on small Kconfig files for every kind of reason, on the fake tree, and on the real one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.errors import Where
from kata_toolkit.kconfig.explanation import Reason, Subject, explain, find_symbol, similar_symbols
from kata_toolkit.kconfig.fixes import tried_way
from kata_toolkit.kconfig.fragments import Library
from kata_toolkit.kconfig.requests import Request, Wishes
from kata_toolkit.kconfig.resolve import Source
from kata_toolkit.kconfig.scan import scan
from kata_toolkit.kconfig.unmet import Inquiry
from kernel_harness import Bench

pytest_plugins = ("kernel_fixtures",)

KCONFIG = """\
mainmenu "Small"

menu "Devices"

config BUS
    bool "A bus"
    help
      The bus that devices are on.

      Say Y.

config DEVICE
    tristate "A device"
    depends on BUS && FIRMWARE
    select HELPER if BUS
    imply EXTRA

config FIRMWARE
    bool
    default y if LOADER

config LOADER
    bool "A loader"

config HELPER
    bool
    select DEEPER

config DEEPER
    tristate "Deep down"

config EXTRA
    bool "Extra"

choice
    prompt "Speed"
    default SLOW

config SLOW
    bool "slow"

config FAST
    bool "fast"

endchoice

endmenu

config COUNT
    int "How many"
    default 4

config NAME
    string "Its name"

config NEVER
    bool "Never"
    depends on BROKEN
"""


def reason_of(folder: Path, name: str, values: dict[str, str], *requests: tuple[str, str]) -> Reason:
    """Why a symbol of the small kernel has the value it has."""
    (folder / "Kconfig").write_text(KCONFIG)
    wishes = [Request(f"CONFIG_{s}", v, "a reason", Where("f.yaml", 1), ("net",)) for s, v in requests]
    tree = scan(folder, "x86")
    given = {f"CONFIG_{symbol}": value for symbol, value in values.items()}
    subject = Subject(tree, given, Wishes(("net",), tuple(wishes)), "6.12.9", "x86_64", "default")
    return explain(name, subject, Library({}, {}), lambda _: "").reason


REASONS = {
    "asked": ("BUS", {"BUS": "y"}, [("BUS", "y")], "asked", "asked for by feature net", []),
    "asked to be off": ("BUS", {}, [("BUS", "n")], "asked", "asked for by feature net", []),
    "selected, asked for two steps up": (
        "DEEPER",
        {"BUS": "y", "DEVICE": "y", "HELPER": "y", "DEEPER": "y"},
        [("DEVICE", "y")],
        "selected",
        "selected by CONFIG_HELPER",
        [
            "CONFIG_DEEPER y selected by CONFIG_HELPER",
            "CONFIG_HELPER y selected by CONFIG_DEVICE if BUS",
            "CONFIG_DEVICE y asked for by feature net",
        ],
    ),
    "selected though somebody wants it off": (
        "DEEPER",
        {"HELPER": "y", "DEEPER": "y"},
        [("DEEPER", "n")],
        "selected",
        "selected by CONFIG_HELPER",
        ["CONFIG_DEEPER y selected by CONFIG_HELPER", "CONFIG_HELPER y on by itself"],
    ),
    "implied": (
        "EXTRA",
        {"DEVICE": "y", "EXTRA": "y"},
        [],
        "implied",
        "implied by CONFIG_DEVICE",
        ["CONFIG_EXTRA y implied by CONFIG_DEVICE"],
    ),
    "a default": ("COUNT", {"COUNT": "4"}, [], "default", "the default: 4 (Kconfig:51)", []),
    "no value": ("NAME", {}, [], "unset", "it has no value: nobody asked for one, and it has no default", []),
    "nobody asked": ("BUS", {}, [], "unasked", "nobody asked for it", []),
    "lost its choice": (
        "FAST",
        {"SLOW": "y"},
        [],
        "choice",
        'of the choice "Speed" (Kconfig:35), CONFIG_SLOW is on',
        [],
    ),
    "impossible": (
        "NEVER",
        {},
        [("NEVER", "y")],
        "blocked",
        "nothing that could be asked for switches it on here",
        ["CONFIG_NEVER n depends on BROKEN", "CONFIG_BROKEN n this kernel has no such symbol"],
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_the_reason(tmp_path: Path, case: str) -> None:
    name, values, requests, kind, text, chain = REASONS[case]
    reason = reason_of(tmp_path, name, values, *requests)
    assert (reason.kind, reason.text) == (kind, text)
    assert [f"{link.symbol} {link.value} {link.because}" for link in reason.chain] == chain


def test_what_it_takes(tmp_path: Path) -> None:
    reason = reason_of(tmp_path, "DEVICE", {}, ("DEVICE", "y"))
    assert (reason.kind, reason.text) == ("blocked", "what it depends on does not hold")
    assert reason.chain[0].place == "Kconfig:14"
    assert reason.settings == {"CONFIG_BUS": "y", "CONFIG_LOADER": "y", "CONFIG_DEVICE": "y"}


def test_a_symbol_is_found_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text(KCONFIG + "config small_x\n\tbool\n")
    tree = scan(tmp_path, "x86")
    found = [find_symbol(text, tree) for text in ("BUS", "bus", "CONFIG_BUS", "config_bus", "SMALL_X", "small_x")]
    assert found == ["BUS", "BUS", "BUS", "BUS", "small_x", "small_x"]
    assert [find_symbol(text, tree) for text in ("", "CONFIG_", "CONFIG_CONFIG_BUS", "BUSS", "*")] == [None] * 5
    assert similar_symbols("config_buss", tree, "6.12") == "did you mean CONFIG_BUS?"
    assert similar_symbols("DEVI", tree, "6.12") == "did you mean CONFIG_DEVICE?"
    assert similar_symbols("QQQQQQ", tree, "6.12") is None


SPEC = "version: 1\nname: s\nkernel:\n  source: {{kind: tree, path: {tree}}}\n{more}"


@pytest.fixture
def spec(bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec on the fake tree, in a store of its own; two profiles: default, and bare without vsock."""
    monkeypatch.setenv("KATA_TOOLKIT_CACHE", str(bench.cache))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel-configs/profiles/bare.yaml").write_text("profile: bare\ntitle: Less\nfeatures: [off]\n")
    (tmp_path / "kernel-configs/features/off.yaml").write_text(
        'feature: "off"\ntitle: Nothing\nsymbols:\n  CONFIG_NET: {value: n, why: "there is no network"}\n'
    )
    file = tmp_path / "s.yaml"
    file.write_text(SPEC.format(tree=tree, more=""))
    return file


VSOCKETS = """\
CONFIG_VSOCKETS=y    (Linux 6.12.9, x86_64, profile default)
vsock (bool)
  net/Kconfig:1
    depends on NET

asked for by
  net: y
    the agent listens there
    kernel-configs/features/net.yaml:5

CONFIG_VSOCKETS is y: asked for by feature net

profiles
  n: bare
  y: default
"""

UNMET = """\
CONFIG_VSOCKETS=n    (Linux 6.12.9, x86_64, profile bare)
vsock (bool)
  net/Kconfig:1
    depends on NET

asked for by
  spec: y
    asked for by the spec
    s.yaml:5
  net: y  (not part of this kernel)
    the agent listens there
    kernel-configs/features/net.yaml:5

CONFIG_VSOCKETS is n: what it depends on does not hold
  CONFIG_VSOCKETS  n  depends on NET  (net/Kconfig:3)
  CONFIG_NET       n  asked for as n  (Kconfig:6)

to switch it on
  ask for CONFIG_NET=y, CONFIG_VSOCKETS=y (tried: it works)
  the feature net asks for it: features: {add: [net]}
"""


def test_an_option_explained(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "explain", "vsockets", str(spec)]) == 0
    assert capsys.readouterr().out == VSOCKETS


def test_an_unmet_request_is_explained_though_it_could_not_be_built(
    spec: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC.format(tree=tree, more="  options: {CONFIG_VSOCKETS: true}\n"))
    assert run(["kernel", "explain", "CONFIG_VSOCKETS", str(spec), "--profile", "bare", "--no-profiles"]) == 0
    assert capsys.readouterr().out.replace(f"{spec.parent}/", "") == UNMET


def test_what_was_not_tried_says_so(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "explain", "VSOCKETS", str(spec), "--profile", "bare", "--no-profiles", "--no-try"]) == 0
    out, err = capsys.readouterr()
    assert "ask for CONFIG_NET=y, CONFIG_VSOCKETS=y (as Kconfig has it; not tried)" in out
    assert "trying" not in err


def test_an_answer_of_conf_is_kept(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["kernel", "explain", "VSOCKETS", str(spec), "--profile", "bare", "--no-profiles"]
    for tried in (1, 0):
        assert run(argv) == 0
        out, err = capsys.readouterr()
        assert "ask for CONFIG_NET=y, CONFIG_VSOCKETS=y (tried: it works)" in out
        assert err.count("trying with the kernel's conf what would switch it on") == tried


WAYS = """\
mainmenu "Ways"

config SEEN
    bool "What the scan sees"

config HIDDEN
    bool "What only conf knows"

config BOTH
    bool "Both"
    depends on SEEN && HIDDEN

config RIVAL
    bool "Rival"
    depends on !SEEN

config INNER
    bool
    default y if SEEN
"""


def way_of(folder: Path, name: str, asked: dict[str, str], told: list[dict[str, str]]) -> dict[str, str] | None:
    """The way to switch a symbol on, where conf answers with ``told``, one after the other."""
    (folder / "Kconfig").write_text(WAYS)
    requests = [Request(f"CONFIG_{s}", v, "", Where("f.yaml", 1), ("net",)) for s, v in asked.items()]
    values = {f"CONFIG_{s}": "y" for s, v in asked.items() if v == "y"}
    inquiry = Inquiry(scan(folder, "x86"), Source(folder, "x86", "6.12.9", "i"), values, requests)
    answers = iter([{f"CONFIG_{s}": v for s, v in answer.items()} for answer in told])
    wish = Request(f"CONFIG_{name}", "y", "", Where("kernel explain"), ("spec",))
    return tried_way(inquiry, wish, lambda text: next(answers))


TRIALS: dict[str, tuple[str, dict[str, str], list[dict[str, str]], dict[str, str] | None]] = {
    "at once": ("SEEN", {}, [{"SEEN": "y"}], {"SEEN": "y"}),
    "with what it depends on": (
        "BOTH",
        {},
        [{"SEEN": "y", "HIDDEN": "y", "BOTH": "y"}],
        {"SEEN": "y", "HIDDEN": "y", "BOTH": "y"},
    ),
    "no prompt": ("INNER", {}, [{"SEEN": "y", "INNER": "y"}], {"SEEN": "y"}),
    "another request is lost by it": ("SEEN", {"RIVAL": "y"}, [{"SEEN": "y"}], None),
    "conf does not do it": ("SEEN", {}, [{}, {}, {}, {}], None),
}


@pytest.mark.parametrize("case", TRIALS)
def test_a_way_is_one_that_conf_went(tmp_path: Path, case: str) -> None:
    name, asked, told, way = TRIALS[case]
    expected = {f"CONFIG_{s}": v for s, v in way.items()} if way else None
    assert way_of(tmp_path, name, asked, told) == expected


def test_json_is_as_its_schema_says(spec: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "explain", "NR_CPUS", str(spec), "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    jsonschema.validate(document, json.loads((root / "schemas/explanation.schema.json").read_text()))
    assert (document["value"], document["profiles"], err) == ("1", {"bare": "1", "default": "1"}, "")


def test_conf_runs_once(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["kernel", "explain", "NET", str(spec)])
    assert "asking the kernel's conf" in capsys.readouterr().err
    run(["kernel", "explain", "VSOCKETS", str(spec)])
    assert capsys.readouterr().err == ""


def test_a_tree_that_is_gone_is_told(spec: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["kernel", "explain", "NET", str(spec)])
    tree.rename(tree.with_name("elsewhere"))
    assert run(["kernel", "explain", "NET", str(spec)]) == 2
    assert f"{tree}" in capsys.readouterr().err


def test_an_option_of_another_architecture(spec: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "arch/arm64").mkdir(parents=True)
    (tree / "arch/arm64/Kconfig").write_text("config ARM64_MTE\n\tbool\n")
    assert run(["kernel", "explain", "arm64_mte", str(spec)]) == 2
    assert "it is defined in arch/arm64/Kconfig" in capsys.readouterr().err


BAD = {
    "unknown symbol": (["NETT"], "Linux 6.12.9 has no option NETT for x86_64", "did you mean CONFIG_NET?"),
    "nothing like it": (["QQQQ"], "Linux 6.12.9 has no option QQQQ for x86_64", None),
    "no symbol": (["CONFIG_"], "no kernel option is named", "kernel explain CONFIG_FS_DAX"),
    "nothing": ([""], "no kernel option is named", "kernel explain CONFIG_FS_DAX"),
    "misspelt profile": (["NET", "--profile", "defalt"], 'there is no kernel profile "defalt"', '"default"'),
    "unknown profile": (["NET", "--profile", "zzz"], 'there is no kernel profile "zzz"', "there are: "),
    "architecture": (["NET", "--arch", "amd64"], 'there is no architecture "amd64"', 'did you mean "x86_64"?'),
    "source": (["NET", "--source", "6.x"], '"6.x" is no kernel source', "@linux-source-6.1"),
    "no tree": (["NET", "--source", "./nowhere"], "there is no folder", None),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_told(spec: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    words, message, hint = BAD[case]
    assert run(["kernel", "explain", words[0], str(spec), *words[1:]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert (hint or "error") in err


def test_a_spec_that_is_none(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kernel", "explain", "NET", "nowhere.yaml"]) == 2
    assert "nowhere.yaml: error: no such file" in capsys.readouterr().err
    spec.write_text("version: 1\nname: s\nkernel: {source: {kind: prebuilt, vmlinux: {path: s.yaml}}}\n")
    assert run(["kernel", "explain", "NET", str(spec)]) == 2
    assert "prebuilt" in capsys.readouterr().err


@pytest.mark.kernel
def test_the_real_kernel(tool: Path, root: Path, real_tree: Path) -> None:
    """Cold once (conf is compiled and run, the tree is read), then warm, for any symbol."""
    texts = {}
    for symbol in ("CRC32", "virtio_fs", "CONFIG_NUMA", "FS_DAX", "SYSTEM_DATA_VERIFICATION"):
        done = subprocess.run(
            [tool, "kernel", "explain", symbol, "--no-profiles"], cwd=root, capture_output=True, text=True, check=True
        )
        texts[symbol] = done.stdout
    assert "CONFIG_CRC32 is y: selected by " in texts["CRC32"]
    assert "asked for by feature acpi" in texts["CRC32"]
    assert "The Virtio Filesystem allows guests to mount file systems" in texts["virtio_fs"]
    assert "CONFIG_NUMA is n: nobody asked for it" in texts["CONFIG_NUMA"]
    assert "ask for CONFIG_NUMA=y (tried: it works)" in texts["CONFIG_NUMA"]
