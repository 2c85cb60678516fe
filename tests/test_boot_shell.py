"""`kata-toolkit boot --debug-shell` on a terminal, as a person has it."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm


def test_the_debug_shell_greets_at_once_and_exit_ends_it(tool: Path, built_set: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([tool, "boot", built_set, "-q", "--debug-shell"], stdin=theirs, stdout=theirs) as process:
        seen = b""
        while b"# " not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"stty size; echo last $((6 * 7)); sleep 99 & exit\r")
        while b"last 42" not in seen:
            seen += os.read(ours, 4096)
        assert process.wait(20) == 0
    assert b"24 80" in seen
    os.close(ours)
    os.close(theirs)
