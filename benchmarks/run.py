"""Measures what the project promises and writes benchmarks/latest.json: `make bench`.

Everything timed is a ratio of two commands run in turn within this one run, so that a busy machine slows both; guest
figures count instructions (QEMU's -icount) and are repeatable to four digits. The kernels it needs come from the
store; the first run builds those that are missing, which takes a while.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import density
import images
from guests import GUESTS, measured

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOOL = str(Path(sys.executable).with_name("kata-toolkit"))
PARTS = ("start_up", "images", "guests", "density")
TWO_COMMANDS = """
import typer
app = typer.Typer()
@app.command()
def first(number: int = 1) -> None:
    "One."
@app.command()
def second(text: str = "x") -> None:
    "Two."
app()
"""


def seconds(argv: Sequence[str], cwd: Path) -> float:
    """Wall time of one run of a command, in seconds."""
    begin = time.perf_counter()
    subprocess.run(argv, check=True, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def ratio(ours: Sequence[str], theirs: Sequence[str], cwd: Path, runs: int) -> dict[str, Any]:
    """Run two commands in turn; the medians of both and of the paired ratios."""
    seconds(ours, cwd), seconds(theirs, cwd)
    pairs = [(seconds(ours, cwd), seconds(theirs, cwd)) for _ in range(runs)]
    return {
        "ours_s": round(median(o for o, _ in pairs), 4),
        "theirs_s": round(median(t for _, t in pairs), 4),
        "ratio": round(median(o / t for o, t in pairs), 3),
        "runs": runs,
    }


def start_up(work: Path, runs: int) -> dict[str, Any]:
    """The program's own time: a build with nothing to do, and ``--help``."""
    two = work / "two_commands.py"
    two.write_text(TWO_COMMANDS)
    quickstart = [TOOL, "build", "-q", str(ROOT / "examples/quickstart.yaml"), "-o", str(work / "quickstart")]
    seconds(quickstart, work)
    imports = [sys.executable, "-c", "import typer, rich, yaml, jsonschema"]
    return {
        "build_with_nothing_to_do": {**ratio(quickstart, imports, work, runs), "against": imports[-1], "limit": 2.0},
        "help": {
            **ratio([TOOL, "--help"], [sys.executable, str(two), "--help"], work, runs),
            "against": "a typer program with two commands",
            "limit": 1.3,
        },
        "kernel_explain_warm": {
            **ratio([TOOL, "kernel", "explain", "XFS_FS", "--no-profiles"], imports, work, runs),
            "against": imports[-1],
        },
        "wrapper": wrapper_cost(work / "quickstart", work),
    }


def wrapper_cost(built: Path, work: Path, runs: int = 300) -> dict[str, Any]:
    """What the wrapper adds to a call of the runtime, in milliseconds: a stand-in runtime, with and without it."""
    prefix, runtime = work / "prefix", work / "kata-runtime"
    kernel = next((built / "share/kata-containers").glob("vmlinux-*"))
    spec = work / "wrapped.yaml"
    spec.write_text(
        f"version: 1\nname: wrapped\nkernel: {{source: {{kind: prebuilt, vmlinux: {{path: {kernel}}}}}}}\n"
        f"install: {{prefix: {prefix}}}\n"
    )
    subprocess.run([TOOL, "build", "-q", str(spec), "-o", str(prefix)], check=True)
    shutil.copy("/bin/true", runtime)
    wrapper = [str(prefix / "bin/kata-wrapped"), "version"]
    plain = [str(runtime), "--config", "x", "version"]  # as the wrapper calls it: `true` looks at a lone argument
    os.environ["KATA_RUNTIME"] = str(runtime)
    pairs = [(seconds(wrapper, work), seconds(plain, work)) for _ in range(runs)]
    del os.environ["KATA_RUNTIME"]
    added = min(ours for ours, _ in pairs) - min(theirs for _, theirs in pairs)  # the least disturbed run of each
    return {"added_ms": round(1000 * added, 3), "runs": runs, "limit_ms": 1.0}


def main() -> None:
    """Parse the command line, measure, write, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="timed pairs per ratio")
    parser.add_argument("--guests", nargs="*", default=list(GUESTS), help="guests to boot")
    parser.add_argument("--cold", action="store_true", help="compile each guest's kernel anew and count its CPU time")
    parser.add_argument(
        "--only", nargs="*", choices=PARTS, default=PARTS, help="measure these; others stay as they are"
    )
    options = parser.parse_args()
    work = ROOT / "build" / "bench"
    work.mkdir(parents=True, exist_ok=True)
    latest = HERE / "latest.json"
    result = json.loads(latest.read_text()) if set(options.only) < set(PARTS) else {}
    result["machine"] = {"cpus": os.cpu_count(), "arch": platform.machine(), "python": platform.python_version()}
    if "start_up" in options.only:
        result["start_up"] = start_up(work, options.runs)
    if "images" in options.only:
        result["images"] = images.measured(work, options.runs)
    if "guests" in options.only:
        result["guests"] = measured(work, options.guests, cold=options.cold)
    if "density" in options.only:
        result["density"] = density.measured(work)
    text = json.dumps(result, indent=2) + "\n"
    latest.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
