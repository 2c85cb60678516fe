"""Agents out of a tar, and agents built from vendored Rust sources: real tars, a real crate, the real cargo."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from image_parts import Given, build, tar_tree
from kata_toolkit.arch import arch_of, arches, native
from kata_toolkit.components import Component
from kata_toolkit.elf import read_program
from kata_toolkit.errors import InputError, ToolError, Where
from kata_toolkit.pipeline.store import Entry
from kata_toolkit.spec.model import Agent, BinaryAgent, CargoAgent, FolderRootfs, GivenFile, TarballAgent
from kata_toolkit.stages.agent import AgentStage
from kata_toolkit.stages.rootfs import RootfsStage

pytestmark = pytest.mark.tool

ARCH = native().name
CRATE = Path(__file__).parent / "data" / "crate"
MEMBER = "opt/kata/bin/kata-agent"


def made(agent: Agent, cache: Path, *, fetched: bytes = b"", libraries: bool = False) -> Entry:
    return build([Given("sources", {"agent": fetched}), AgentStage(agent, ARCH, libraries)], "agent", cache)


def refusal(agent: Agent, cache: Path) -> str:
    with pytest.raises(InputError) as caught:
        made(agent, cache)
    return str(caught.value)


def components(entry: Entry) -> list[Component]:
    return [Component.from_json(c) for c in json.loads(entry.path("agent.json").read_text())["components"]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A static program of this machine."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    compiler = shutil.which("musl-gcc") or "gcc"
    subprocess.run([compiler, "-static", "-s", "-o", folder / "agent", folder / "main.c"], check=True)
    return (folder / "agent").read_bytes()


# ---- tarball ----


def packed(target: Path, program: bytes, *, mode: int = 0o755) -> Path:
    """A release archive: the agent, a text, and links to the agent, one of them out of the archive."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, bits in ((f"./{MEMBER}", program, mode), ("./opt/kata/README.md", b"read me\n", 0o644)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), bits
            tar.addfile(info, io.BytesIO(content))
        links = {"usr/bin/kata-agent": "../../opt/./kata/bin/kata-agent", "absolute": f"/{MEMBER}", "out": "../etc/sh",
                 "bin": "opt/kata/bin", "one": "two", "two": "one"}  # fmt: skip
        for name, to in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            tar.addfile(info)
    return target


@pytest.mark.parametrize("packer", [(), ("gzip", "-n"), ("bzip2",), ("xz", "-T1"), ("zstd", "-q")], ids=str)
def test_one_member_of_a_tar_however_it_is_packed(program: bytes, tmp_path: Path, packer: tuple[str, ...]) -> None:
    archive = packed(tmp_path / "kata.tar", program)
    if packer:
        archive.write_bytes(subprocess.run([*packer, "-c", archive], check=True, capture_output=True).stdout)
    entry = made(TarballAgent(GivenFile(archive), MEMBER, "allow-all"), tmp_path / "cache")
    assert entry.path("init").read_bytes() == program
    assert os.access(entry.path("init"), os.X_OK)
    assert set(entry.files) == {"init", "agent.json", "default-policy.rego"}
    (found,) = components(entry)
    assert (found.name, found.sha256, found.arch) == ("kata-agent", hashlib.sha256(program).hexdigest(), ARCH)


@pytest.mark.parametrize("member", [f"/{MEMBER}", "usr/bin/kata-agent", "absolute", "bin/kata-agent"])
def test_links_are_followed_inside_the_archive(program: bytes, tmp_path: Path, member: str) -> None:
    archive = packed(tmp_path / "kata.tar", program)
    assert made(TarballAgent(GivenFile(archive), member), tmp_path / "c").path("init").read_bytes() == program


def test_a_fetched_archive(program: bytes, tmp_path: Path) -> None:
    archive = packed(tmp_path / "kata.tar", program).read_bytes()
    url = "https://example.org/kata.tar"
    agent = TarballAgent(GivenFile(url=url, sha256=hashlib.sha256(archive).hexdigest()), MEMBER)
    entry = made(agent, tmp_path / "cache", fetched=archive)
    assert entry.path("init").read_bytes() == program
    assert components(entry)[0].origin == url


def test_members_that_are_no_agent_are_refused(program: bytes, tmp_path: Path) -> None:
    archive, cache = packed(tmp_path / "kata.tar", program), tmp_path / "cache"

    def said(member: str) -> str:
        return refusal(TarballAgent(GivenFile(archive), member), cache)

    assert f'kata.tar has no usr/kata-agent (did you mean "{MEMBER}"?)' in said("usr/kata-agent")
    assert f'did you mean "{MEMBER}"?' in said("opt/kata/bin/kata-agnet")
    assert f"programs in it: {MEMBER}" in said("zzz")
    assert "opt/kata in kata.tar is no regular file" in said("opt/kata")
    assert "may not be executed (mode 0644)" in said("opt/kata/README.md")
    assert ", to which out leads" in said("out")
    assert "circle" in said("one") or "no regular file" in said("one")
    assert "agent.member ../x climbs out" in said("../x")
    foreign = bytearray(program)
    other = next(name for name in arches() if name != ARCH and arch_of(name).endian == "little")
    foreign[18:20] = arches()[other].machine.to_bytes(2, "little")
    packed(archive, bytes(foreign))
    assert f"the agent {MEMBER} in kata.tar is built for {other}, the guest is {ARCH}" in said(MEMBER)
    packed(archive, b"#!/bin/sh\n")
    assert "is not a 64-bit little-endian ELF file" in said(MEMBER)
    archive.write_bytes(b"PK\x03\x04")
    assert "is not a tar archive" in said(MEMBER)
    wrong = TarballAgent(GivenFile(archive, sha256="0" * 64), MEMBER)
    assert "not 0000" in refusal(wrong, cache)


def test_mistakes_are_told_at_the_specs_line(program: bytes, tmp_path: Path) -> None:
    there = Where("spec.yaml", 3, 7)
    packed(tmp_path / "kata.tar", program)
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n")
    member = TarballAgent(GivenFile(tmp_path / "kata.tar"), "zzz", where=there)
    digest = BinaryAgent(GivenFile(tmp_path / "script", sha256="0" * 64), where=there)
    for agent in (member, digest, BinaryAgent(GivenFile(tmp_path / "script"), where=there)):
        with pytest.raises(InputError) as caught:
            made(agent, tmp_path / "cache")
        assert [problem.where for problem in caught.value.problems] == [there]


def test_a_library_is_no_agent(tmp_path: Path) -> None:
    (tmp_path / "f.c").write_text("int f(void) { return 0; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "lib.so", "f.c"], cwd=tmp_path, check=True)
    assert "lib.so is an ELF file, but not a program" in refusal(
        BinaryAgent(GivenFile(tmp_path / "lib.so")), tmp_path / "cache"
    )


# ---- an agent that is not static ----


def test_an_agent_with_libraries_needs_a_root_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "agent").write_bytes(Path("/bin/true").read_bytes())
    agent = BinaryAgent(GivenFile(tmp_path / "agent"))
    loader = read_program(Path("/bin/true")).interpreter
    assert loader
    assert f"it needs {loader}" in refusal(agent, tmp_path / "cache")
    root = tmp_path / "root"
    root.mkdir()
    stages = [AgentStage(agent, ARCH, libraries=True), RootfsStage(FolderRootfs(root))]
    with pytest.raises(InputError, match=f"the agent needs {loader} and its libraries, which the root"):
        build(stages, "rootfs", tmp_path / "cache")
    (root / loader.lstrip("/")).parent.mkdir()
    shutil.copy(loader, root / loader.lstrip("/"))
    tree = tar_tree(build(stages, "rootfs", tmp_path / "cache").path("rootfs.tar"))
    assert loader.lstrip("/").encode() in tree


# ---- cargo ----


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    if shutil.which("cargo") is None or shutil.which("rustc") is None:
        pytest.skip("cargo and rustc are not installed")
    return shutil.copytree(CRATE, tmp_path / "a crate", symlinks=True)


def cargo(folder: Path, **choices: object) -> CargoAgent:
    return CargoAgent(folder, **{"bin": "toy-agent", **choices})  # type: ignore[arg-type]  # a field's type each


def output(entry: Entry) -> str:
    return subprocess.run([entry.path("init"), "x"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("path", ["", "/usr/bin:/bin"], ids=["the first on PATH", "Debian's"])
def test_a_crate_becomes_a_static_agent(
    crate: Path, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path:
        if shutil.which("cargo", path=path) in (None, shutil.which("cargo")):
            pytest.skip("it is the same, or not installed")
        monkeypatch.setenv("PATH", path)
    entry = made(cargo(crate, policy="allow-all"), tmp_path / "cache")
    program = read_program(entry.path("init"))
    assert (program.arch, program.interpreter) == (ARCH, None)
    assert output(entry) == "hello guest 4 0\n"
    assert set(entry.files) == {"init", "agent.json", "default-policy.rego"}
    data = entry.path("init").read_bytes()
    for name in (str(tmp_path), ".rustup", "a crate"):
        assert name.encode() not in data
    assert b"agent/src/main.rs" in data
    found = {c.name: c for c in components(entry)}
    assert {name: (c.version, c.kind, c.licence) for name, c in found.items()} == {
        "toy-agent": ("1.2.3", "cargo", "Apache-2.0"),
        "greeting": ("0.1.0", "cargo", "MIT OR Apache-2.0"),
        "tiny-sum": ("0.3.1", "cargo", "MIT"),
    }
    assert found["toy-agent"].sha256 == hashlib.sha256(data).hexdigest()
    assert found["tiny-sum"].sha256 in (crate / "Cargo.lock").read_text()
    assert found["tiny-sum"].origin == "https://github.com/rust-lang/crates.io-index"


def test_features_and_programs_are_chosen(crate: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert output(made(cargo(crate, features=("loud",)), cache)) == "HELLO GUEST 4 0\n"
    assert output(made(cargo(crate, default_features=False), cache)) == "hello you 4 0\n"
    assert output(made(cargo(crate, bin="toy-tool", package="toy-agent"), cache)) == "hello tool\n"


def test_the_bytes_do_not_depend_on_the_folder_the_cache_or_the_leftovers(crate: Path, tmp_path: Path) -> None:
    first = made(cargo(crate), tmp_path / "cache")
    other = shutil.copytree(crate, tmp_path / "elsewhere" / "much deeper", symlinks=True)
    (other / "target").mkdir()
    (other / "target" / "old").write_text("left behind\n")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    second = made(cargo(other), tmp_path / "another cache" / "below")
    assert second.id == first.id
    assert second.path("init").read_bytes() == first.path("init").read_bytes()


def test_what_counts_is_the_content_and_the_toolchain(crate: Path, tmp_path: Path) -> None:
    from kata_toolkit.pipeline.inputs import BuildInputs
    from kata_toolkit.pipeline.store import Store

    inputs = BuildInputs(Store(tmp_path / "cache"))
    stage = AgentStage(cargo(crate), ARCH)
    recipe = stage.plan(inputs)
    assert recipe.tools["rustc"].startswith("rustc 1.")
    assert "host: " in recipe.tools["rustc"]
    assert recipe.tools["cargo"].startswith("cargo ")
    assert str(tmp_path) not in json.dumps(recipe.as_json())
    (crate / ".git").mkdir()
    (crate / ".git" / "HEAD").write_text("x\n")
    assert stage.plan(inputs).id("agent") == recipe.id("agent")
    with (crate / "agent/src/main.rs").open("a") as stream:
        stream.write("\n")
    assert stage.plan(inputs).id("agent") != recipe.id("agent")


def test_sources_that_do_not_compile_are_told_with_the_users_own_folder(crate: Path, tmp_path: Path) -> None:
    there = Where("spec.yaml", 3, 7)
    (crate / "agent/src/main.rs").write_text("fn main() { nonsense }\n")
    with pytest.raises(ToolError, match="nonsense") as caught:
        made(cargo(crate, where=there), tmp_path / "cache")
    (problem,) = caught.value.problems
    assert problem.where == there
    assert str(crate) in problem.message
    assert "scratch/source" not in problem.message
    (crate / "agent/Cargo.toml").write_text("[[[\n")
    assert f"{crate}/agent/Cargo.toml:1:" in refusal(cargo(crate), tmp_path / "cache")


def test_a_crate_without_a_program_is_refused(crate: Path, tmp_path: Path) -> None:
    for manifest in crate.rglob("Cargo.toml"):
        shutil.rmtree(manifest.parent / "src", ignore_errors=True)
    for manifest in crate.rglob("Cargo.toml"):
        text = manifest.read_text()
        if "[package]" in text:
            kept = text.split("[[bin]]")[0].replace("default-run", "# default-run")
            manifest.write_text(kept)
            (manifest.parent / "src").mkdir()
            (manifest.parent / "src/lib.rs").write_text("")
    assert "has no package with a program" in refusal(cargo(crate, bin=None, package=None), tmp_path / "cache")


def test_sources_that_do_not_suffice_are_refused_in_words(crate: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert "the package toy-agent has 2 programs (choose one with agent.bin: toy-agent, toy-tool)" in refusal(
        cargo(crate, bin=None), cache
    )
    assert 'has no program toy-agnet (did you mean "toy-agent"?)' in refusal(cargo(crate, bin="toy-agnet"), cache)
    assert 'has no package toy_agent with a program (did you mean "toy-agent"?)' in refusal(
        cargo(crate, package="toy_agent"), cache
    )
    assert "nonsense" in refusal(cargo(crate, features=("nonsense",)), cache)
    (crate / ".cargo/config.toml").unlink()
    said = refusal(cargo(crate), cache)
    assert "tiny-sum" in said
    assert "cargo vendor" in said
    assert str(cache) not in said.partition("(in that folder")[0]


def test_a_lock_file_that_does_not_fit_is_refused(crate: Path, tmp_path: Path) -> None:
    lock = crate / "Cargo.lock"
    lock.write_text(lock.read_text().replace(' "tiny-sum",\n', ""))
    said = refusal(cargo(crate), tmp_path / "cache")
    assert "lock file" in said
    assert "cargo generate-lockfile" in said


def test_a_program_that_names_its_folder_is_refused(crate: Path, tmp_path: Path) -> None:
    main = crate / "agent/src/main.rs"
    main.write_text(main.read_text().replace('"no root"', 'env!("CARGO_MANIFEST_DIR")'))
    said = refusal(cargo(crate), tmp_path / "cache")
    assert "holds the name of the folder it was built in" in said


@pytest.mark.vm
def test_a_crate_is_the_guests_first_process(crate: Path, tmp_path: Path, built_set: Path, root: Path) -> None:
    """From the spec to the guest: it says its line on the console, and ends, which a kernel does not forgive."""
    from kata_toolkit.errors import KataToolkitError
    from kata_toolkit.vm.built_set import BuiltSet
    from kata_toolkit.vm.options import Options
    from kata_toolkit.vm.session import Session

    files = json.loads((built_set / "manifest.json").read_text())["root"]
    spec = {
        "version": 1,
        "name": "rusty",
        "agent": {"kind": "cargo", "path": str(crate), "bin": "toy-agent"},
        "kernel": {
            "source": {
                "kind": "prebuilt",
                "vmlinux": {"path": str(built_set / files["kernel"])},
                "config": {"path": str(built_set / files["kernel_config"])},
            }
        },
    }
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    tool = root / ".venv/bin/kata-toolkit"
    subprocess.run([tool, "build", "-q", tmp_path / "spec.yaml", "-o", tmp_path / "out"], check=True)
    guest = BuiltSet.load(tmp_path / "out").bootable()
    with pytest.raises(KataToolkitError, match="hello guest 3 0"):
        Session.boot(guest, Options(accel="tcg", channel="serial"), note=lambda text: None)
