"""The report: what is in it, in each of its forms, and what a browser makes of the page."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from kata_toolkit.checks import FAIL, PASS, SKIP, WARN, Report, Verdict
from kata_toolkit.cli.app import run
from kata_toolkit.errors import InputError
from kata_toolkit.figures import KINDS
from kata_toolkit.report import boot, document, files
from kata_toolkit.report.junit import junit
from kata_toolkit.report.markdown import markdown
from kata_toolkit.report.page import page
from kata_toolkit.report.save import save_proof
from kata_toolkit.report.sections import sections
from kata_toolkit.resources import resource

NASTY = "</td><script>alert(1)</script> | `x` \x1b[31m\x00 **b** <img src=http://example.invalid/x>"
MEASURED = {
    "accel": "tcg",
    "kernel_minstr": 69.248,
    "boot_minstr": 85.143,
    "check_minstr": 85.579,
    "output_minstr": 88.256,
    "guest_overhead_mib": 30.74,
    "image_mib": 2.242,
    "vmlinux_mib": 10.098,
    "seconds_to_console": 0.4,
    "seconds_to_agent": 1.1,
}


FOOTPRINT = {"pss_kib": 90_000, "rss_kib": 95_000, "shared_kib": 4_000, "private_kib": 80_000}
DENSITY = {
    "version": 1,
    "set": "quickstart",
    "accel": "tcg",
    "memory_mib": 256,
    "tb_mib": 16,
    "read": False,
    "shared_memory": False,
    "guest": {"memory_mib": 256, "parts_kib": {"kernel text": 10_240, "free": 251_904}},
    "ways": {
        "dax": {
            "about": "booted",
            "vms": [
                {
                    "count": 1,
                    "total": FOOTPRINT,
                    "median_pss_kib": 90_000,
                    "last": FOOTPRINT,
                    "last_parts_kib": {"guest memory": 50_000, "heap": 40_000},
                    "last_image_rss_kib": 1_500,
                }
            ],
        }
    },
    "pods": [
        {
            "memory_mib": 256,
            "guest_kib": 30_000,
            "vmm_kib": 60_000,
            "virtiofsd_kib": None,
            "total_mib": 87.9,
            "guest_overhead_mib": 30.7,
        }
    ],
    "upstream_mib": {"qemu": 320},
    "template": None,
    "burst": None,
    "skipped": {},
}


def proof(*, failed: bool = False) -> Report:
    verdicts = {
        "digests": Verdict(PASS, "40 files"),
        "boots": Verdict(FAIL if failed else PASS, NASTY, "do something" if failed else None),
        "root-verity": Verdict(SKIP, "the set has no dm-verity"),
        "clock": Verdict(WARN, "2 s behind", "set it"),
    }
    return Report(verdicts, dict(MEASURED), ("boots",), KINDS)


@pytest.fixture
def told(built_set: Path, tmp_path: Path) -> dict[str, Any]:
    """A document with all its parts."""
    (tmp_path / files.TIMINGS).write_text(json.dumps({"seconds": {"kernel": 400.5}, "cpu_seconds": {"kernel": 750.1}}))
    (tmp_path / files.SPEC).write_text("version: 1\nname: </pre><script>\n")
    (tmp_path / files.DENSITY).write_text(json.dumps(DENSITY))
    save_proof(built_set, proof(), tmp_path)
    return document.collect(built_set, tmp_path)


def test_the_document_keeps_its_schema(told: dict[str, Any]) -> None:
    jsonschema.validate(told, json.loads(resource("schemas", "report.schema.json").read_bytes()))


def test_what_density_finds_is_in_every_form(told: dict[str, Any]) -> None:
    jsonschema.validate(DENSITY, json.loads(resource("schemas", "density.schema.json").read_bytes()))
    rows = {section.id: section.rows for section in sections(told)}
    assert rows["memory"][0] == ("kernel text", "10.00")
    assert rows["density"] == (("dax", "1", "87.89", "92.77", "87.89", "78.12"),)
    assert rows["pods"] == (("256 MiB", "29.30", "58.59", "", "87.9"),)
    assert "A pod on its host" in markdown(told)
    unknown = {**DENSITY, "guest": {"memory_mib": 256, "parts_kib": None}}
    assert "memory" not in {section.id for section in sections({**told, "memory": unknown})}


def test_phases_add_up_to_the_whole() -> None:
    phases = boot.instruction_phases(MEASURED)
    assert [phase["phase"] for phase in phases] == ["firmware, early kernel", "kernel", "agent", "first container"]
    assert sum(phase["value"] for phase in phases) == pytest.approx(MEASURED["output_minstr"], abs=0.01)
    assert boot.instruction_phases({"accel": "kvm"}) == []


def test_the_image_is_told_by_its_files(told: dict[str, Any]) -> None:
    paths = [each["path"] for each in told["contents"]]
    assert paths[:2] == ["/bin/busybox", "/sbin/init"], "each file once, whatever its names"


def test_sizes_are_those_on_the_disk(told: dict[str, Any], built_set: Path) -> None:
    image = next(size for size in told["sizes"] if size["what"] == "image")
    info = (built_set / image["path"]).stat()
    assert (image["bytes"], image["allocated"]) == (info.st_size, info.st_blocks * 512)
    assert image["allocated"] < image["bytes"]


def test_all_forms_are_written_beside_the_set(told: dict[str, Any], tmp_path: Path) -> None:
    assert {p.name for p in tmp_path.iterdir()} >= {
        "report.html",
        "report.md",
        "report.json",
        "junit.xml",
        "proof.json",
    }
    assert json.loads((tmp_path / "report.json").read_text()) == told


class Page(HTMLParser):
    """What a page asks for, and whether its tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in ("href", "src", "srcset", "data", "action", "xlink:href"):
                self.links.append(value or "")
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


def test_the_page_fetches_nothing_and_runs_nothing(told: dict[str, Any]) -> None:
    text = page(told)
    found = Page(text)
    assert found.open == []
    assert not found.tags & {"script", "img", "link", "iframe", "object", "embed"}
    assert found.links
    assert all(link.startswith("#") for link in found.links)
    assert {link[1:] for link in found.links} <= found.ids
    assert "url(" not in text
    assert "@import" not in text
    assert {
        "boot",
        "time",
        "memory",
        "density",
        "pods",
        "sizes",
        "contents",
        "features",
        "proof",
        "components",
        "spec",
    } <= found.ids
    assert found.tags >= {"svg"}


def test_text_of_a_guest_is_no_markup(told: dict[str, Any]) -> None:
    assert "<script" not in page(told)
    line = next(line for line in markdown(told).splitlines() if "boots" in line)
    assert "<script" not in line
    assert r"\`x\`" in line
    assert line.count("|") - line.count(r"\|") == 4, "the cell does not end early"


def test_junit_counts_and_survives_control_characters(built_set: Path, tmp_path: Path) -> None:
    save_proof(built_set, proof(failed=True), tmp_path)
    suite = ElementTree.fromstring(junit(document.collect(built_set, tmp_path)))[0]  # noqa: S314 -- ours
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "1")
    failure = suite.find("testcase[@name='boots']/failure")
    assert failure is not None
    assert "do something" in (failure.text or "")


def test_the_markdown_says_first_what_failed(built_set: Path, tmp_path: Path) -> None:
    save_proof(built_set, proof(failed=True), tmp_path)
    text = markdown(document.collect(built_set, tmp_path))
    assert text.index("NOT proved") < text.index("**boots**") < text.index("### ")


@pytest.mark.parametrize("form", ["text", "html", "md", "junit", "json"])
def test_every_form_goes_to_stdout_or_a_file(
    form: str, told: dict[str, Any], built_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(built_set), "--from", str(tmp_path), "-f", form]) == 0
    shown = capsys.readouterr().out
    assert "quickstart" in shown
    assert run(["report", str(built_set), "--from", str(tmp_path), "-f", form, "-o", str(tmp_path / "x")]) == 0
    assert "quickstart" in (tmp_path / "x").read_text()


def test_a_set_that_was_never_proved_says_so(
    built_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", str(built_set), "--from", str(tmp_path)]) == 0
    assert "not proved yet" in capsys.readouterr().out
    assert "not proved yet" in page(document.collect(built_set, tmp_path))


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[" * 5000])
def test_a_damaged_proof_is_told(damage: bytes, built_set: Path, tmp_path: Path) -> None:
    (tmp_path / files.PROOF).write_bytes(damage)
    with pytest.raises(InputError, match="cannot be read"):
        document.collect(built_set, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2, "inputs": {}}', '{"version": 1}', "null"])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(InputError):
        document.load(file)


@pytest.mark.tool
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (390, False), (1100, True)])
def test_a_browser_draws_the_page(width: int, dark: bool, told: dict[str, Any], tmp_path: Path) -> None:
    """A screenshot has the theme's ground, bars in more than one colour, and text across the width."""
    text = page(told)
    if dark:
        text = text.replace("@media (prefers-color-scheme: dark)", "@media all")
    (tmp_path / "page.html").write_text(text)
    picture = tmp_path / "page.png"
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", f"--screenshot={picture}"]
    subprocess.run([*command, (tmp_path / "page.html").as_uri()], check=True, capture_output=True, timeout=90)
    rows = pixels(picture)
    ground = (0x12, 0x16, 0x1D) if dark else (0xFB, 0xFA, 0xF8)
    assert rows[2][2] == ground
    seen = {pixel for row in rows[::3] for pixel in row}
    bars = ((0x8A, 0xA9, 0xFF), (0xFF, 0xA0, 0x6B)) if dark else ((0x3A, 0x62, 0xC8), (0xC2, 0x57, 0x1A))
    assert all(colour in seen for colour in bars), "the boot's phases are drawn"
    used = [x for row in rows for x, pixel in enumerate(row) if pixel != ground]
    assert max(used) > 0.9 * len(rows[0]), "the page fills its width"


def pixels(file: Path) -> list[list[tuple[int, int, int]]]:
    """A PNG's rows (8 bits, RGB or RGBA, not interlaced: what chromium writes)."""
    data, at, packed, size, channels = file.read_bytes(), 8, b"", (0, 0), 3
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0)
            size, channels = (width, height), {2: 3, 6: 4}[colour]
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    return _rows(zlib.decompress(packed), *size, channels)


def _rows(raw: bytes, width: int, height: int, channels: int) -> list[list[tuple[int, int, int]]]:
    stride, before, found = width * channels, bytearray(width * channels), []
    for y in range(height):
        start = y * (stride + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = line[i - channels] if i >= channels else 0
            corner = before[i - channels] if i >= channels else 0
            if kind == 1:
                line[i] = (line[i] + left) & 255
            elif kind == 2:
                line[i] = (line[i] + before[i]) & 255
            elif kind == 3:
                line[i] = (line[i] + (left + before[i]) // 2) & 255
            elif kind == 4:
                guess = left + before[i] - corner
                near = min(
                    (abs(guess - left), 0, left),
                    (abs(guess - before[i]), 1, before[i]),
                    (abs(guess - corner), 2, corner),
                )
                line[i] = (line[i] + near[2]) & 255
        found.append([(line[i], line[i + 1], line[i + 2]) for i in range(0, stride, channels)])
        before = line
    return found
