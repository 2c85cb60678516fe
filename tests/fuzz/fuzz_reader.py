"""Fuzzes one reader with atheris: ``fuzz_reader.py TARGET [libFuzzer's options] CORPUS…``. See ../reader_targets.py."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
with atheris.instrument_imports(include=["kata_toolkit", "tarfile"], enable_loader_override=False):
    import reader_targets


def main() -> None:
    target = reader_targets.TARGETS[sys.argv.pop(1)]

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        return target.mend(atheris.Mutate(data, most))[:most]

    atheris.Setup(sys.argv, target.check, custom_mutator=mutated)
    atheris.Fuzz()


main()
