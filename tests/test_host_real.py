"""``check-host`` on the machine the tests run on, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
from kata_toolkit.host.host import Host
from kata_toolkit.host.kvm_guest import kvm_usable
from kata_toolkit.host.table import check, checks_for

Unprivileged = Callable[[Sequence[str | Path]], list[str]]


def run(argv: Sequence[str | Path], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], **env}, timeout=30
    )


def test_json_without_privileges_follows_the_schema(tool: Path, root: Path, unprivileged: Unprivileged) -> None:
    done = run(unprivileged([tool, "check-host", "--json"]))
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads((root / "schemas/checks.schema.json").read_text()))
    assert [c["id"] for c in report["checks"]] == [entry.id for entry in checks_for(Host())]
    assert done.returncode == (0 if report["ok"] else 1)
    assert report["ok"] == all(c["status"] != "fail" for c in report["checks"])
    assert all(c["remedy"] for c in report["checks"] if c["status"] in ("fail", "warn"))


def test_the_verdict_on_kvm_is_what_a_guest_says(tool: Path) -> None:
    report = json.loads(run([tool, "check-host", "--json"]).stdout)
    verdict = {c["id"]: c for c in report["checks"]}["kvm-guest"]
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert verdict["status"] == ("pass" if kvm_usable().ok else "fail")
        assert "kvm_probe_ms" in report["measurements"]
    else:
        assert verdict["status"] == "skip"


def test_plain_lines_without_a_terminal(tool: Path) -> None:
    done = run([tool, "check-host"])
    assert "\x1b" not in done.stdout
    for entry in checks_for(Host()):
        assert any(line.split()[1:2] == [entry.id] for line in done.stdout.splitlines())
    assert done.stdout.splitlines()[-1].startswith("This host ca")


def test_a_table_where_colour_is_forced(tool: Path) -> None:
    done = run([tool, "check-host"], FORCE_COLOR="1", COLUMNS="100")
    assert "container-manager" in done.stdout


def test_it_takes_less_than_a_second_and_a_half() -> None:
    def once() -> float:
        start = time.monotonic()
        check(Host())
        return time.monotonic() - start

    assert any(once() < 1.5 for _ in range(5))  # other tests may want the processor too


LISTENER = """
import sys

opened = []
sys.addaudithook(lambda event, words: opened.append((str(words[0]), words[1], words[2])) if event == "open" else None)
from kata_toolkit.host.host import Host
from kata_toolkit.host.table import check

start = len(opened)
check(Host())
for name, mode, flags in opened[start:]:
    print(flags & 3, name)
"""


def test_nothing_is_written_and_no_device_is_opened() -> None:
    """KVM is tried in a process of its own; beside that, the checks read files, and that is all."""
    done = run([sys.executable, "-c", LISTENER])
    assert done.returncode == 0, done.stderr
    opened = [line.partition(" ")[::2] for line in done.stdout.splitlines()]
    opened = [(access, name) for access, name in opened if not name.isdigit()]  # pipes from and to programs
    assert any(name == "/proc/cpuinfo" for _, name in opened)
    for access, name in opened:
        assert access == "0" or name == "/dev/null", (access, name)
        assert not name.startswith("/dev/") or name == "/dev/null", name


def test_the_command_is_quick_for_an_ordinary_user(tool: Path, unprivileged: Unprivileged) -> None:
    """With the start of Python and all imports."""

    def once() -> float:
        start = time.monotonic()
        run(unprivileged([tool, "check-host"]))
        return time.monotonic() - start

    assert any(once() < 1.5 for _ in range(5))  # other tests may want the processor too
