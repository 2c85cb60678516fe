"""What several test files share: the repository, the built quickstart set, and another user to run things as."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def tool() -> Path:
    """The program as a user starts it."""
    return Path(sys.executable).with_name("kata-toolkit")


@pytest.fixture(scope="session")
def built_set(tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart, built (from the store where `make build` was there before).

    $KATA_TOOLKIT_TEST_SET names a built set to use instead.
    """
    given = os.environ.get("KATA_TOOLKIT_TEST_SET")
    if given:
        return Path(given).absolute()
    target = tmp_path_factory.mktemp("set") / "quickstart"
    target.parent.chmod(0o755)
    subprocess.run([tool, "build", "-q", ROOT / "examples" / "quickstart.yaml", "-o", target], check=True)
    return target


@pytest.fixture
def unprivileged() -> Callable[[Sequence[str | Path]], list[str]]:
    """Turns a command into one that runs as an ordinary user: as `nobody` when the tests are root, else as it is."""

    def command(argv: Sequence[str | Path]) -> list[str]:
        words = [str(word) for word in argv]
        if os.geteuid() != 0:
            return words
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs", *words]

    return command
