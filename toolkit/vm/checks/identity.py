"""What runs is what was built: the kernel's configuration and the agent, as the guest itself tells of them."""

from __future__ import annotations

import gzip
import zlib

from ...checks import FAIL, PASS, Check, Skipped, Verdict
from ..evidence import Evidence, text
from .files import REBUILD, layout

_CONFIG = "/proc/config.gz"


def kernel_config(evidence: Evidence) -> Verdict:
    """/proc/config.gz, unpacked, equals the configuration that was recorded, byte for byte."""
    recorded = evidence.configuration().kernel_config
    if recorded is None:
        raise Skipped("the set records no kernel configuration")
    if recorded.is_file() and b"\nCONFIG_IKCONFIG_PROC=y\n" not in recorded.read_bytes():
        raise Skipped(f"this kernel was built without {_CONFIG}, so it does not tell")
    packed = evidence.read(_CONFIG)
    try:
        inside = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        return Verdict(FAIL, f"{_CONFIG} is not gzip: {error}")
    try:
        outside = recorded.read_bytes()
    except OSError as error:
        return Verdict(FAIL, f"{recorded.name}: {error.strerror}", REBUILD)
    if inside == outside:
        return Verdict(PASS, f"{len(inside)} bytes equal")
    differing = set(inside.splitlines()) ^ set(outside.splitlines())
    return Verdict(
        FAIL,
        f"{_CONFIG} is not the recorded configuration: {len(differing)} lines differ, "
        f"such as {text(min(differing, default=b'the order'))}",
        REBUILD,
    )


def agent_digest(evidence: Evidence) -> Verdict:
    """The agent inside the guest is the one recorded."""
    guest, image = evidence.built.guest, evidence.built.image
    agent = guest.agent if guest else image.agent if image else None
    if agent is None or agent.sha256 is None:
        raise Skipped("the set records no agent digest")
    try:
        root = evidence.guest_root().rstrip("/")
        done = evidence.run("sha256sum", f"{root}/{agent.path.lstrip('/')}")
    except Skipped:
        # Nothing in the guest can tell; the image itself can.
        if guest and guest.boot != "image":
            raise
        verdict = layout(evidence)
        return Verdict(verdict.status, f"read from the image: {verdict.detail}", verdict.remedy)
    found = text(done.stdout).split(" ")[0]
    if done.status:
        return Verdict(FAIL, f"reading {agent.path} in a container failed: {text(done.stderr)}")
    if found == agent.sha256:
        return Verdict(PASS, f"{agent.path} {found[:16]}…, as seen by a container")
    return Verdict(FAIL, f"{agent.path} is {found[:16]}…, recorded {agent.sha256[:16]}…", REBUILD)


CHECKS: tuple[Check[Evidence], ...] = (
    Check("kernel-config", "the kernel inside has the recorded configuration", kernel_config),
    Check("agent-digest", "the agent inside is the recorded one", agent_digest),
)
