"""Everything that reads bytes of others, with bytes that are wrong: a declared error or a good end, nothing else.

`make test` tries what fuzzing once found, and a few hundred mutations of sound inputs; `make test-full` runs atheris.
"""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest
from reader_targets import TARGETS, Target

FUZZ = Path(__file__).parent / "fuzz"
FINDS = FUZZ / "finds"
MUTATIONS = {"deb": 40, "spec": 100, "container-image": 1000}  # those that start a program, or take long
SECONDS = 300  # of fuzzing, a target

pytestmark = pytest.mark.tool


@pytest.mark.parametrize("name", TARGETS)
def test_sound_inputs_are_read(name: str) -> None:
    """Without this, a reader that refused all would pass what follows."""
    target = TARGETS[name]
    read = [target.check(target.mend(data)) for data in target.seeds()]
    assert all(read) or (name == "spec" and any(read)), read


@pytest.mark.parametrize("path", sorted(FINDS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_once_found(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few changes: other bytes, numbers at their limits, pieces lost, repeated or moved."""
    out = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(out) or 1)
        length = chance.choice((1, 2, 4, 8, 12, 64, 512))
        match chance.randrange(6):
            case 0:
                out[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                out[at : at + length] = chance.choice((b"\0", b"\xff", b"7", b"\x80", b"/", b".")) * length
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[at : at + length]
            case 4:
                other = chance.randrange(len(out) or 1)
                out[at : at + length] = out[other : other + length]
            case _:
                del out[at:]
                out += bytes(chance.choice((0, 512, 1024)))
    return bytes(out)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_end_in_an_answer(name: str, tmp_path: Path) -> None:
    target: Target = TARGETS[name]
    seeds = target.seeds()
    chance = random.Random(name)
    for number in range(MUTATIONS.get(name, 2000)):
        data = target.mend(mutated(chance.choice(seeds), chance))
        try:
            target.check(data)
        except Exception as error:
            kept = tmp_path / f"{name}-{number}"
            kept.write_bytes(data)
            raise AssertionError(f"{error!r} for {kept}") from error


@pytest.mark.full
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris comes with `.ci/bootstrap full`")
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    target = TARGETS[name]
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(target.mend(data))
    limits = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=65536", f"-max_total_time={SECONDS}")
    argv = [sys.executable, FUZZ / "fuzz_reader.py", name, *limits, corpus]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "Done" in done.stderr
