"""How many guests fit, and what a template saves: `kata-toolkit density` of the guest with the default options.

Times are ratios of boots and clones taken in turn. Memory is what /proc says; it moves by a few per cent, and what
other processes on the machine share with the guests (QEMU, its libraries) makes the guests look smaller.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOOL = str(Path(sys.executable).with_name("kata-toolkit"))
GUEST = "default"
CLONE_TO_COLD_LIMIT = 0.12
CLONE_PSS_LIMIT = 0.20


def measured(work: Path) -> dict[str, Any]:
    """Twenty guests of each way, the bursts, and the ratios with their limits."""
    target = work / GUEST
    subprocess.run([TOOL, "build", "-q", str(HERE / "specs" / f"{GUEST}.yaml"), "-o", str(target)], check=True)
    argv = [TOOL, "density", str(target), "--json", "--accel", "tcg"]
    found = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    ways = found["ways"]
    alone, clone = ways["dax"]["vms"][0]["last"]["pss_kib"], ways["clone"]["vms"][-1]["median_pss_kib"]
    ratios = {
        "clone_to_cold": found["template"]["clone_to_cold"],
        "clone_to_cold_limit": CLONE_TO_COLD_LIMIT,
        "clone_pss_to_one_cold_guest": round(clone / alone, 3),
        "clone_pss_limit": CLONE_PSS_LIMIT,
        "clone_pss_to_cold_guest_among_twenty": round(clone / ways["dax"]["vms"][-1]["median_pss_kib"], 3),
    }
    return {"ratios": ratios, **found}
