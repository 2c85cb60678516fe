"""What the wrapper knows of its set: what it says when something is missing, --artifacts, --verify, and its bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from kata_toolkit import run
from kata_toolkit.errors import InputError
from wrapper_harness import GO, IMAGE, INITRD, KERNEL, RELEASE, RUST, Install, build_wrapper, lay_out, stage_for

pytest_plugins = ("wrapper_fixtures",)
pytestmark = pytest.mark.tool

GO_CONFIG = "share/defaults/kata-containers/configuration-qemu.toml"
RUST_CONFIG = "share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml"
BUILT = (
    ("kernel", f"share/kata-containers/vmlinux-{RELEASE}", KERNEL),
    ("image", "share/kata-containers/toy.img", IMAGE),
    ("initrd", "share/kata-containers/toy.initrd", INITRD),
)

needs_no_kata = pytest.mark.skipif(Path("/opt/kata").exists(), reason="a Kata is installed on this machine")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@needs_no_kata
def test_without_a_runtime_it_says_where_it_looked(install: Install, tmp_path: Path) -> None:
    it = install()
    call = it.call("x")
    assert call.status == 127
    for place in (f"{it.prefix}/bin/kata-runtime", "/opt/kata/bin/kata-runtime", "/opt/kata/bin/kata-ctl", it.path):
        assert place in call.stderr
    assert "KATA_RUNTIME" in call.stderr
    shim = it.call("start", executable=it.shim)
    assert shim.status == 127
    assert f"{it.prefix}/runtime-rs/bin/containerd-shim-kata-v2 (Rust)" in shim.stderr


@needs_no_kata
def test_a_set_for_go_does_not_look_for_rust(install: Install) -> None:
    assert "Rust" not in install(configs=(GO,)).call("x").stderr


@pytest.mark.parametrize("chosen", ["/nowhere/kata-runtime", "no-such-command", "relative/none", "x" * 5000])
def test_a_chosen_runtime_that_is_not_there_is_not_passed_over(install: Install, chosen: str) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    call = it.call("x", KATA_RUNTIME=chosen)
    assert (call.status, call.record) == (127, None)
    assert f"KATA_RUNTIME={chosen}" in call.stderr


def test_a_runtime_that_cannot_be_executed_is_told_apart(install: Install, tmp_path: Path) -> None:
    it = install()
    plain = tmp_path / "plain"
    plain.write_text("no program")
    call = it.call("x", KATA_RUNTIME=str(plain))
    assert call.status == 126
    assert "is not an executable file" in call.stderr
    plain.chmod(0o755)
    call = it.call("x", KATA_RUNTIME=str(plain))
    assert call.status == 126
    assert "Exec format error" in call.stderr
    plain.write_text("#!/no/such/shell\n")
    call = it.call("x", KATA_RUNTIME=str(plain))
    assert call.status == 126
    assert "interpreter" in call.stderr


def test_a_configuration_that_is_gone_is_named(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    (it.prefix / GO_CONFIG).unlink()
    for call in (it.call("env"), it.call("-id", "x", "start", executable=it.shim)):
        assert (call.status, call.record) == (78, None)
        assert f"the configuration {it.prefix / GO_CONFIG} is gone" in call.stderr


def test_an_edited_configuration_is_fine(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    (it.prefix / GO_CONFIG).write_text("# mine\n")
    assert it.call("env").status == 0
    assert it.call("--verify").status == 0


def test_a_runtime_for_which_the_set_has_no_configuration_is_refused(install: Install) -> None:
    it = install(configs=(GO,))
    ctl = it.put(it.root / "kata-ctl", it.rust)
    call = it.call("x", KATA_RUNTIME=str(ctl))
    assert (call.status, call.record) == (78, None)
    assert "no configuration for the Rust runtime" in call.stderr


@pytest.mark.parametrize(("kind", "path", "content"), BUILT)
def test_a_file_of_another_size_stops_every_start(install: Install, kind: str, path: str, content: bytes) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    (it.prefix / path).write_bytes(content + b"!")
    for call in (it.call("env"), it.call("start", executable=it.shim)):
        assert (call.status, call.record) == (125, None)
        assert f"the {kind} {it.prefix / path} is not the one this set was built with" in call.stderr
        assert f"{len(content) + 1} bytes, not {len(content)}" in call.stderr
    (it.prefix / path).unlink()
    call = it.call("env")
    assert call.status == 125
    assert "No such file" in call.stderr


def test_a_shim_that_cleans_up_is_not_stopped_by_a_replaced_set(install: Install) -> None:
    """containerd calls `delete` for pods that started before the set was replaced."""
    it = install()
    it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    shutil.rmtree(it.prefix / "share")
    assert it.call("-id", "abc", "-bundle", "/b", "delete", executable=it.shim).status == 0


def test_a_staged_set_says_that_it_must_be_installed(install: Install, tmp_path: Path) -> None:
    it = install(laid_out=False)
    stage = tmp_path / "out"
    lay_out(stage, it.program)
    runtime = it.put(tmp_path / "kata-runtime", it.go)
    call = it.call("env", executable=stage / "bin/toy", KATA_RUNTIME=str(runtime))
    assert call.status == 78
    assert f"this set lies in {stage}; it works once installed as {it.prefix}" in call.stderr
    listed = json.loads(it.call("--artifacts", executable=stage / "bin/toy").stdout)
    assert (listed["tree"], listed["prefix"]) == (str(stage), str(it.prefix))
    assert listed["artifacts"][0]["path"] == f"{stage}/{BUILT[0][1]}"
    assert it.call("--verify", executable=stage / "bin/toy").status == 0


def test_artifacts_are_listed_as_json(install: Install) -> None:
    it = install()
    call = it.call("--artifacts")
    assert call.status == 0
    assert json.loads(call.stdout) == {
        "version": 1,
        "name": "toy",
        "kata": "4.1",
        "prefix": str(it.prefix),
        "tree": str(it.prefix),
        "artifacts": [
            {"kind": kind, "path": f"{it.prefix}/{path}", "size": len(content), "sha256": sha256(content)}
            for kind, path, content in BUILT
        ],
        "configs": [
            {"hypervisor": "qemu", "flavour": "qemu", "dialect": "go", "path": f"{it.prefix}/{GO_CONFIG}"},
            {
                "hypervisor": "qemu",
                "flavour": "qemu-runtime-rs",
                "dialect": "rs",
                "path": f"{it.prefix}/{RUST_CONFIG}",
            },
        ],
    }


def test_any_folder_name_gives_valid_json(install: Install, tmp_path: Path) -> None:
    it = install(laid_out=False)
    for odd in (b'q"uo\\te\n\x01', "é漢🙂".encode(), b"bad\xff\xc0\xaf\xed\xa0\x80\xf5end\xe2\x82"):
        tree = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + odd))
        lay_out(tree, it.program)
        listed = json.loads(it.call("--artifacts", executable=tree / "bin/toy").stdout)
        # Python replaces as many bytes as Unicode recommends; we one by one. Only the valid part must agree.
        assert listed["tree"].replace("\ufffd", "") == os.fsencode(tree).decode(errors="ignore")


def test_options_of_ours_count_only_alone_and_never_in_a_shim(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    assert it.call("exec", "--verify").argv[-1] == b"--verify"
    assert it.call("--artifacts", executable=it.shim).argv[-1] == b"--artifacts"


@pytest.mark.parametrize(("kind", "path", "content"), BUILT)
def test_verify_finds_a_change_that_the_size_hides(install: Install, kind: str, path: str, content: bytes) -> None:
    it = install()
    changed = bytes([content[0] ^ 1]) + content[1:]
    (it.prefix / path).write_bytes(changed)
    call = it.call("--verify")
    assert call.status == 1
    bad = [line for line in call.stdout.splitlines() if not line.startswith("ok ")]
    assert len(bad) == 1
    assert f"{kind}  {it.prefix / path}" in bad[0]
    assert sha256(changed) in bad[0]


def test_verify_before_a_command_checks_and_then_runs_it(install: Install) -> None:
    it = install()
    runtime = it.put(it.prefix / "bin/kata-runtime", it.go)
    call = it.call("--verify", "env", "--json")
    config = it.prefix / GO_CONFIG
    assert call.argv == [os.fsencode(word) for word in (runtime, "--config", config, "env", "--json")]
    assert (call.status, call.stdout) == (0, "")
    assert call.stderr.count("ok  ") == len(BUILT) + 2
    kind, path, content = BUILT[0]
    (it.prefix / path).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    call = it.call("--verify", "env")
    assert (call.status, call.record, call.stdout) == (1, None, "")
    assert f"DIFFERS  {kind}" in call.stderr


def test_verify_finds_what_is_gone(install: Install) -> None:
    it = install()
    assert it.call("--verify").status == 0
    (it.prefix / RUST_CONFIG).unlink()
    (it.prefix / BUILT[1][1]).unlink()
    call = it.call("--verify")
    assert call.status == 1
    assert f"GONE     config  {it.prefix / RUST_CONFIG}" in call.stdout
    assert "No such file" in call.stdout


@pytest.mark.parametrize(
    "sizes", [(0, 1, 55), (56, 63, 64), (65, 119, 120), (65535, 65536, 65537), (200_000, 127, 128)]
)
def test_its_sha256_agrees_at_every_kind_of_length(tmp_path: Path, sizes: tuple[int, int, int]) -> None:
    kernel, image, initrd = (bytes(i * 7 % 251 for i in range(size)) for size in sizes)
    program = build_wrapper(stage_for(tmp_path / "p"), tmp_path / "cache", kernel=kernel, image=image, initrd=initrd)
    lay_out(tmp_path / "p", program)
    for (_, path, _), content in zip(BUILT, (kernel, image, initrd), strict=True):
        (tmp_path / "p" / path).write_bytes(content)
    done = subprocess.run([tmp_path / "p/bin/toy", "--verify"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_full_disk_is_not_success(install: Install) -> None:
    it = install()
    for option in ("--artifacts", "--verify"):
        with Path("/dev/full").open("wb") as full:
            assert subprocess.run([it.prefix / "bin/toy", option], stdout=full, check=False).returncode == 74


def test_it_is_static_small_and_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_wrapper(stage_for("/opt/toy"), tmp_path / "one")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("LANG", "tr_TR.UTF-8")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        second = build_wrapper(stage_for("/opt/toy"), tmp_path / "a longer name" / "two")
    finally:
        os.umask(before)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o777 == 0o755 or os.access(first, os.X_OK)
    assert str(tmp_path).encode() not in first.read_bytes()
    headers = subprocess.run(["readelf", "-lW", first], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers
    if shutil.which("musl-gcc"):
        assert first.stat().st_size < 64 << 10


def test_plain_gcc_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run.which
    monkeypatch.setattr(run, "which", lambda tool: None if tool == "musl-gcc" else real(tool))
    program = build_wrapper(stage_for(tmp_path / "p"), tmp_path / "cache")
    lay_out(tmp_path / "p", program)
    assert subprocess.run([tmp_path / "p/bin/toy", "--verify"], capture_output=True, check=False).returncode == 0


def test_any_text_survives_the_c_source(tmp_path: Path) -> None:
    prefix = tmp_path / 'a "b" \\n ??/ é7%d'
    program = build_wrapper(stage_for(prefix, name="tøy"), tmp_path / "cache")
    lay_out(prefix, program, name="tøy")
    listed = json.loads(subprocess.run([prefix / "bin/tøy", "--artifacts"], capture_output=True, check=True).stdout)
    assert (listed["prefix"], listed["name"]) == (str(prefix), "tøy")


def test_a_prefix_without_room_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too long"):
        build_wrapper(stage_for("/" + "x" * 4090), tmp_path / "cache")


def test_the_wrapper_costs_less_than_a_millisecond(install: Install) -> None:
    """The best of many runs, against the same runs of the stand-in alone: what a loaded machine adds is in both."""
    it = install()
    runtime = it.put(it.prefix / "bin/kata-runtime", it.go)

    def best(program: Path) -> float:
        times = []
        env = {"PATH": it.path, "RECORD": "/dev/null"}
        no_input = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", 0, 0)]
        for _ in range(60):
            start = time.perf_counter()
            pid = os.posix_spawn(program, [str(program), "x"], env, file_actions=no_input)
            os.waitpid(pid, 0)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(it.prefix / "bin/toy") - best(runtime) < 0.001


def test_configurations_lie_where_kata_keeps_them() -> None:
    assert GO.path == GO_CONFIG
    assert RUST.path == RUST_CONFIG
