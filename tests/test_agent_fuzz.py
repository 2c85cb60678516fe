"""libFuzzer with sanitizers on the agent's server, from a corpus of conversations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agent_harness import FUZZ, build_fuzzer

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(shutil.which("clang") is None, reason="libFuzzer comes with clang"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fuzzer(tmp_path_factory.mktemp("fuzzer"))


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, FUZZ / "seeds.py", tmp_path / "seeds"], check=True)
    return tmp_path / "seeds"


def fuzz(fuzzer: Path, seeds: Path, work: Path, *flags: str) -> str:
    """Run the fuzzer; what it printed. Fails with its report when it found something."""
    corpus = work / "corpus"
    corpus.mkdir()
    argv = [fuzzer, "-max_len=16384", "-timeout=20", "-rss_limit_mb=2500", *flags, corpus, seeds]
    environment = {**os.environ, "ASAN_OPTIONS": ""}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=work, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr


def test_the_corpus_itself_passes_and_reaches_most_of_the_server(fuzzer: Path, seeds: Path, tmp_path: Path) -> None:
    """A corpus that no longer decodes would fuzz nothing and still pass: coverage must not collapse."""
    report = fuzz(fuzzer, seeds, tmp_path, "-runs=0")
    edges = int(report.split("INITED cov: ")[1].split()[0])
    assert edges > 700, report


def test_fuzzing_briefly_finds_nothing(fuzzer: Path, seeds: Path, tmp_path: Path) -> None:
    assert "Done" in fuzz(fuzzer, seeds, tmp_path, "-max_total_time=12")


@pytest.mark.full
def test_fuzzing_longer_finds_nothing(fuzzer: Path, seeds: Path, tmp_path: Path) -> None:
    assert "Done" in fuzz(fuzzer, seeds, tmp_path, "-max_total_time=600")
