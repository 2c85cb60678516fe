"""A guest whose ports are sockets with names, so that a test can hang up and call again; with disks and shares."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kata_toolkit.vm.agent_client import AgentClient
from kata_toolkit.vm.built_set import BuiltSet

CMDLINE = "console=hvc0 panic=1 reboot=k"
ROOT = "root=/dev/vda1 rootfstype=ext4 rootflags=data=ordered,errors=remount-ro ro"


class Machine:
    """A running QEMU. Connections made with ``connect`` are closed with it."""

    def __init__(
        self, built: Path, folder: Path, params: str, devices: Sequence[str], memory: Sequence[str], initrd: Path | None
    ) -> None:
        guest = BuiltSet.load(built).bootable()
        # Socket paths are short: a test's own folder may be too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="guest-"))
        self.log = folder / "console.log"
        self._opened: list[socket.socket] = []
        argv = [
            "qemu-system-x86_64", "-machine", f"q35,accel=tcg{',memory-backend=ram0' if memory else ''}", "-cpu", "max",
            "-m", "256", *memory, "-nographic", "-nodefaults", "-no-reboot", "-kernel", guest.kernel,
            "-append", f"{CMDLINE} {'' if initrd else ROOT} {params}",
            *(("-initrd", initrd) if initrd else (
                "-drive", f"if=none,id=root,format=raw,readonly=on,file={guest.image}",
                "-device", "virtio-blk-pci,drive=root,addr=04.0",
            )),
            "-device", "virtio-serial-pci,id=serial0", "-chardev", f"file,id=con,path={self.log}",
            "-device", "virtconsole,chardev=con",
        ]  # fmt: skip
        for name in ("agent", "console"):
            argv += ["-chardev", f"socket,id={name},path={self.folder / name},server=on,wait=off"]
            argv += ["-device", f"virtserialport,chardev={name},name=kata.{name}"]
        self.process = subprocess.Popen([*map(str, argv), *devices], stdin=subprocess.DEVNULL)

    def connect(self, name: str = "agent") -> socket.socket:
        """The host's end of a port."""
        for attempt in range(200):
            end = socket.socket(socket.AF_UNIX)
            self._opened.append(end)
            try:
                end.connect(str(self.folder / name))
            except OSError:
                end.close()
                assert attempt < 199
                time.sleep(0.02)
            else:
                end.settimeout(30)
                break
        return end

    @contextlib.contextmanager
    def agent(self) -> Iterator[AgentClient]:
        """A client on the agent's port."""
        with contextlib.closing(AgentClient(self.connect())) as client:
            client.check(60)
            yield client

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in self._opened:
            end.close()
        for name in ("agent", "console"):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / name).unlink()
        self.folder.rmdir()


@contextlib.contextmanager
def machine(
    built: Path,
    folder: Path,
    params: str = "",
    devices: Sequence[str] = (),
    memory: Sequence[str] = (),
    initrd: Path | None = None,
) -> Iterator[Machine]:
    """Start a guest from the set's image, or from an initrd; it is gone afterwards."""
    running = Machine(built, folder, params, devices, memory, initrd)
    try:
        yield running
    finally:
        running.close()
