"""Fixtures of the wrapper's tests: compiled once a session, installed anew for each test."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from kata_toolkit.stages.wrapper import RuntimeConfig
from wrapper_harness import GO, RUST, Install, Installed, build_wrapper, compile_standin, lay_out, stage_for


@pytest.fixture(scope="module")
def standins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Stand-ins for the Go and the Rust runtime."""
    folder = tmp_path_factory.mktemp("standins")
    return compile_standin(folder / "go", "-DGO_NOTE"), compile_standin(folder / "rust")


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wrapper")


@pytest.fixture
def install(module_folder: Path, tmp_path: Path, standins: tuple[Path, Path]) -> Install:
    """A function that builds a wrapper and installs its set.

    The prefix is the same for all tests of a module, since it is compiled in; the set below it is always new.
    """
    prefix = module_folder / "prefix"
    shutil.rmtree(prefix, ignore_errors=True)

    def build(kata: str = "4.1", configs: Sequence[RuntimeConfig] = (GO, RUST), laid_out: bool = True) -> Installed:
        program = build_wrapper(stage_for(prefix, kata=kata, configs=configs), module_folder / "cache")
        if laid_out:
            lay_out(prefix, program, configs=configs)
        return Installed(tmp_path, prefix, program, standins)

    return build
