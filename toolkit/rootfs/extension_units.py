"""What mounts extension images in a guest whose systemd starts an agent that does not: a program and its service.

Kata's own images do the same with units of the name ``kata-extension-mount@``; where a root file system has those, they
are left to it.
"""

from __future__ import annotations

from pathlib import Path

from .tree import Bytes, Kind, Node, OnDisk, Tree

MOUNTER = b"usr/libexec/kata-extensions"  # by this name the built-in agent mounts, and ends
_UNITS = b"usr/lib/systemd/system"
_THEIRS = (_UNITS + b"/kata-extension-mount@.service", b"lib/systemd/system/kata-extension-mount@.service")

SERVICE = f"""[Unit]
Description=Extension images of the guest
DefaultDependencies=no
Before=kata-agent.service
# A guest does not run without one that it was told to have.
FailureAction=poweroff-force

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/{MOUNTER.decode()}
StandardOutput=tty
StandardError=tty
"""

BEFORE_AGENT = """[Unit]
Requires=kata-extensions.service
After=kata-extensions.service
"""


def add_mounter(tree: Tree, program: Path) -> None:
    """Add the program and its service. Raises InputError when the program cannot be read."""
    if any(tree.get(tree.resolved(unit)) for unit in _THEIRS):
        return
    tree.add(tree.resolved(MOUNTER), Node(Kind.FILE, 0o755, content=OnDisk.of(program)))
    units = {b"kata-extensions.service": SERVICE, b"kata-agent.service.d/extensions.conf": BEFORE_AGENT}
    for name, text in units.items():
        tree.add(tree.resolved(_UNITS + b"/" + name), Node(Kind.FILE, 0o644, content=Bytes(text.encode())))
