"""A containerd of our own, for the tests: its files and sockets below one folder, nothing of the machine's touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_SECONDS = 20
_LEFT_OUT = ("aufs", "btrfs", "devmapper", "zfs")


@dataclass(frozen=True)
class Containerd:
    """A running containerd; ``log`` is what it says."""

    folder: Path
    log: Path

    @property
    def socket(self) -> Path:
        return self.folder / "c.sock"

    def ctr(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        argv = ["ctr", "--address", self.socket, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def needs_containerd() -> None:
    """Skip where there is no containerd, or we are not root, without whom it does not start."""
    missing = [program for program in ("containerd", "ctr", "runc") if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")


@contextlib.contextmanager
def containerd(
    folder: Path, path: Sequence[Path | str] = (), config: str = "", env: Mapping[str, str] | None = None
) -> Iterator[Containerd]:
    """Start one, with ``path`` in front of its PATH, where it looks for shims, and ``config`` after its own TOML.

    ``env``: more of its environment, which its shims inherit.

    ``folder`` must have a short name: it holds sockets.
    """
    needs_containerd()
    left_out = "".join(f', "io.containerd.snapshotter.v1.{name}"' for name in _LEFT_OUT)
    file = folder / "config.toml"
    file.write_text(
        f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"{left_out}]
[grpc]
  address = "{folder}/c.sock"
[ttrpc]
  address = "{folder}/t.sock"
{config}"""
    )
    it = Containerd(folder, folder / "log")
    env = {"PATH": ":".join([*map(str, path), os.environ["PATH"]]), **(env or {})}
    with it.log.open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", file], stdout=log, stderr=log, env=env)
    try:
        deadline = time.monotonic() + _SECONDS
        while it.ctr("version").returncode:
            assert process.poll() is None, it.log.read_text()
            assert time.monotonic() < deadline, it.log.read_text()
            time.sleep(0.05)
        yield it
    finally:
        process.terminate()
        process.wait(_SECONDS)
