"""How costs look: the table, Markdown, JSON, the picture; and the verb as a user calls it."""

from __future__ import annotations

import json
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest
from kata_toolkit.cli import app
from kata_toolkit.cost.columns import COLUMNS, column
from kata_toolkit.cost.costs import Costs, Row
from kata_toolkit.cost.figures import Figures, text_bytes
from kata_toolkit.cost.markdown import markdown
from kata_toolkit.cost.picture import picture
from kata_toolkit.errors import InputError
from kernel_harness import Bench

pytest_plugins = ("kernel_fixtures",)

SVG = "{http://www.w3.org/2000/svg}"
ROWS = (
    Row("small", added=False, cost=Figures(3, 1024, 2048, 900, 0.5, 0.4, 0.1, 12)),
    Row("big", added=False, along=("a", "b"), cost=Figures(300, 1 << 20, 3 << 20, 2 << 20, 40.25, 40.0, 5.5)),
    Row("saver", added=True, instead=("big",), cost=Figures(-2, -4096, -8192, -100, -3.0, -3.0, -1.0)),
    Row("rootless", added=False, cost=Figures(9, 4096, 4096, 4096), problem="does not boot: it panicked <no root>"),
    Row("other-root", added=False, root="initrd", cost=Figures(1, 0, 0, 0, 0.001, -0.001, 0.0)),
    Row("broken", added=True, problem="make failed (2) | error: *x*"),
)
COSTS = Costs(
    name="set",
    profile="default",
    kernel="6.12.9",
    arch="x86_64",
    base=Figures(1257, 5284864, 13111296, 8028290, 131.25, 98.5, 21.75, 4690),
    root="nvdimm",
    rows=ROWS,
    sources={"Linux": "6.12.9, source abc", "gcc": "gcc (Debian) 12.2.0 *"},
)


def test_the_costliest_comes_first_and_what_is_not_known_last() -> None:
    names = [row.feature for row in COSTS.sorted("boot_minstr")]
    assert names == ["big", "small", "other-root", "saver", "broken", "rootless"]
    assert [row.feature for row in COSTS.sorted("objects")][:3] == ["big", "rootless", "small"]


@pytest.mark.parametrize("wanted", COLUMNS)
def test_every_column_can_be_sorted_by(wanted: object) -> None:
    assert column(getattr(wanted, "word", "")) is wanted


def test_a_column_that_is_none_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        column("memmory")
    assert caught.value.problems[0].hint == 'did you mean "memory"?'


def test_differences_know_what_they_do_not_know() -> None:
    difference = Figures(10, 100, boot_minstr=2.5) - Figures(4, 300, 7, boot_minstr=1.25)
    assert difference == Figures(6, -200, None, None, 1.25)


def test_numbers_are_shown_in_their_units() -> None:
    shown = {c.word: c.text(ROWS[1].cost, signed=True) for c in COLUMNS}
    assert shown["boot"] == "+40.25"
    assert shown["bzimage"] == "+1,024"
    assert shown["objects"] == "+300"
    assert column("boot").text(ROWS[2].cost, signed=True) == "−3.00"
    assert column("kernel").text(ROWS[4].cost, signed=True) == "0.00", "no sign before what rounds to nothing"
    assert column("boot").text(ROWS[3].cost) == "—"
    assert column("boot").text(None) == "—"


def test_markdown_holds_the_whole_table() -> None:
    text = markdown(COSTS, "boot_minstr")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in table} == {len(COLUMNS) + 3}
    assert [line.split("|")[1].strip() for line in table[3:]] == [
        "big",
        "small",
        "other-root",
        "+ saver",
        "+ broken",
        "rootless",
    ]
    assert "| **the whole kernel** | **131.25** | **98.50** | **21.75** | **4,690** | **5,161** | " in text
    assert "with a, b" in table[3]
    assert "not measured: make failed (2) \\| error: \\*x\\*" in text
    assert "it panicked \\<no root\\>" in text
    assert re.search(r"^Measured on \d{4}-\d\d-\d\d, of:$", text, re.MULTILINE)
    assert "- gcc: gcc (Debian) 12.2.0 \\*" in text


def test_json_holds_all_of_it(root: Path) -> None:
    document = json.loads(json.dumps(COSTS.as_json()))
    jsonschema.validate(document, json.loads((root / "schemas/kernel-cost.schema.json").read_text()))
    assert document["base"] == {
        "objects": 1257,
        "bzimage": 5284864,
        "vmlinux": 13111296,
        "text": 8028290,
        "boot_minstr": 131.25,
        "kernel_minstr": 98.5,
        "overhead_mib": 21.75,
        "exits": 4690,
        "root": "nvdimm",
    }
    assert [f["feature"] for f in document["features"]] == [row.feature for row in ROWS]
    assert document["features"][5] == {
        "feature": "broken",
        "added": True,
        "along": [],
        "instead": [],
        "cost": None,
        "root": None,
        "problem": "make failed (2) | error: *x*",
        "compiled": None,
        "seconds": None,
    }


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 -- our own picture


def bars(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """The bars of each panel: left edge, width, kind."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for rect in parsed(text).iter(f"{SVG}rect"):
        if rect.get("class"):
            place = (float(rect.get("x", 0)), float(rect.get("width", 0)), str(rect.get("class")))
            found.setdefault(str(rect.get("y")), []).append(place)
    return found


def test_the_picture_shows_every_measured_feature_to_scale() -> None:
    text = picture(COSTS, column("boot"))
    root = parsed(text)
    words = [node.text for node in root.iter(f"{SVG}text")]
    assert words[0] == "What features cost: profile default, Linux 6.12.9, x86_64"
    for name in ("big", "small", "+ saver", "rootless", "other-root", "+40.25", "−3.00"):
        assert name in words
    assert "+ broken" not in words, "there is nothing to draw of it"
    drawn = list(bars(text).values())
    assert [len(row) for row in drawn] == [4, 4, 4, 4, 2], "rootless has neither instructions nor memory"
    big, small, _, saver, _ = drawn
    assert big[0][1] / small[0][1] == pytest.approx(40.25 / 0.5, rel=0.1)
    assert saver[0][2] == "less"
    assert saver[0][0] + saver[0][1] == pytest.approx(big[0][0], abs=0.2), "a saving ends where a cost begins"
    width = float(root.get("width", 0))
    assert all(x >= 0 and x + w <= width for row in drawn for x, w, _ in row)


def test_the_picture_needs_nothing_but_itself() -> None:
    text = picture(COSTS, column("boot"))
    assert "href" not in text
    assert "url(" not in text
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]


def test_names_cannot_break_the_picture() -> None:
    odd = Costs(**{**{f: getattr(COSTS, f) for f in COSTS.__slots__}, "profile": '<b>&"'})
    assert 'profile <b>&",' in "".join(parsed(picture(odd, column("boot"))).itertext())


def test_a_picture_of_nothing_is_still_one() -> None:
    empty = Costs("set", "default", "6.12.9", "x86_64", Figures(), None, (ROWS[5],))
    assert not bars(picture(empty, column("boot")))


def elf(path: Path, *parts: tuple[int, bytes]) -> Path:
    """An ELF file with a segment for each address and content."""
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, BASE, 64, 0, 0, 64, 56, len(parts), 0, 0, 0
    )
    offset = len(header) + 56 * len(parts)
    for vaddr, content in parts:
        header += struct.pack("<IIQQQQQQ", 1, 5, offset, vaddr, vaddr, len(content), len(content), 1)
        offset += len(content)
    path.write_bytes(header + b"".join(content for _, content in parts))
    return path


BASE = 0xFFFFFFFF81000000


@pytest.mark.parametrize(
    ("content", "end", "size"),
    [
        (b"\x90" * 100, 100, 100),
        (b"a" * 100 + b"\xcc" * 8192 + b"b" * 50, 8342, 150),
        (b"a" * 100 + b"\xcc" * 255 + b"b" * 50, 405, 405),
        (b"a" * 100 + b"\0" * 5000 + b"data", 5100, 100),
    ],
)
def test_text_is_code_without_its_padding(tmp_path: Path, content: bytes, end: int, size: int) -> None:
    symbols = tmp_path / "System.map"
    symbols.write_text(f"{BASE:x} T _text\n{BASE:x} T _stext\n{BASE + 8:x} T my_etext\n{BASE + end:x} T _etext\n")
    assert text_bytes(symbols, elf(tmp_path / "vmlinux", (BASE, content))) == size
    image = tmp_path / "Image"
    image.write_bytes(content)
    assert text_bytes(symbols, image) == size


def test_text_is_found_where_packing_left_the_padding_out(tmp_path: Path) -> None:
    symbols = tmp_path / "System.map"
    symbols.write_text(f"{BASE:x} T _stext\n{BASE + 0x20000:x} T _etext\n")
    parts = ((BASE, b"a" * 300), (BASE + 0x10000, b"b" * 70), (BASE + 0x20000, b"data"), (0, b"percpu"))
    assert text_bytes(symbols, elf(tmp_path / "vmlinux", *parts)) == 370


def test_text_of_a_kernel_that_does_not_tell_is_not_known(tmp_path: Path) -> None:
    symbols = tmp_path / "System.map"
    kernel = elf(tmp_path / "vmlinux", (BASE, b"code"))
    symbols.write_text("0000 T something\n")
    assert text_bytes(symbols, kernel) is None
    symbols.write_text(f"{BASE - 4096:x} T _stext\n{BASE:x} T _etext\n")
    assert text_bytes(symbols, kernel) is None


@pytest.fixture
def small(bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec of the small tree, in the current folder, with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KATA_TOOLKIT_CACHE", str(bench.cache))
    file = tmp_path / "small.yaml"
    file.write_text(f"version: 1\nname: small\nkernel:\n  source: {{kind: tree, path: {tree}}}\n")
    return file


@pytest.mark.tool
def test_the_verb_prints_a_table_and_leaves_a_report(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.run(["kernel", "cost", "small.yaml", "--no-boot"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "profile default, Linux 6.12.9, x86_64"
    assert lines[1].split()[0] == "feature"
    assert lines[2].startswith("the whole kernel ")
    assert lines[3].split()[0] == "net"
    assert "kernel_cost     note     net: bzImage" in err
    report = small.parent / "out" / "small.report"
    assert sorted(p.name for p in report.iterdir()) == ["kernel-cost.json", "kernel-cost.log", "kernel-cost.svg"]
    assert json.loads((report / "kernel-cost.json").read_text())["features"][0]["feature"] == "net"
    assert "== kernel " in (report / "kernel-cost.log").read_text()
    assert parsed((report / "kernel-cost.svg").read_text()).tag == f"{SVG}svg"


@pytest.mark.tool
def test_the_verb_s_json_is_events_and_the_table_last(
    small: Path, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["kernel", "cost", "small.yaml", "--no-boot", "--json", "--svg", "a.svg", "-o", "x"]) == 0
    out, err = capfd.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    for name, documents in (("event", events), ("kernel-cost", events[-1:])):
        schema = json.loads((root / f"schemas/{name}.schema.json").read_text())
        for document in documents:
            jsonschema.validate(document, schema)
    assert events[-1]["event"] == "result"
    assert events[-1]["features"][0]["feature"] == "net"
    assert {e["event"] for e in events} >= {"started", "progress", "finished", "note"}
    assert (small.parent / "a.svg").exists()
    assert (small.parent / "x.report" / "kernel-cost.json").exists()
    assert not (small.parent / "x.report" / "kernel-cost.svg").exists()


@pytest.mark.tool
def test_the_verb_s_markdown_is_all_of_stdout(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.run(["kernel", "cost", "small.yaml", "--no-boot", "--markdown", "-q"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("# What features cost: profile default, Linux 6.12.9, x86_64\n")
    assert err == ""


@pytest.mark.tool
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.yaml"], "missing.yaml"),
        (["small.yaml", "--feature", "nett"], 'there is no kernel feature "nett"'),
        (["small.yaml", "--feature", "nope"], "hint: there are: "),
        (["small.yaml", "--profile", "defualt"], 'there is no kernel profile "defualt"'),
        (["small.yaml", "--sort", "weight"], 'no column "weight"'),
        (["small.yaml", "--json", "--markdown"], "both want stdout"),
        (["prebuilt.yaml"], "prebuilt.yaml:4:11: error: a prebuilt kernel cannot be measured"),
        (["packaged.yaml"], "packaged.yaml:4:11: error: a prebuilt kernel cannot be measured"),
    ],
)
def test_a_mistake_is_the_user_s_and_leaves_nothing_behind(
    small: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    prebuilt = "version: 1\nname: pre\nkernel:\n  source: {kind: prebuilt, vmlinux: {path: small.yaml}}\n"
    (small.parent / "prebuilt.yaml").write_text(prebuilt)
    packaged = prebuilt.replace("vmlinux: {path: small.yaml}", "package: linux-image-cloud-amd64")
    (small.parent / "packaged.yaml").write_text(packaged)
    assert app.run(["kernel", "cost", *arguments]) == 2
    out, err = capfd.readouterr()
    assert said in out + err
    assert "Traceback" not in err
    assert not list(small.parent.glob("out/*.report/kernel-cost.[js]*"))
