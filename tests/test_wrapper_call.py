"""How the wrapper hands a call on: to which program, with which words, and that nothing else is changed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from wrapper_harness import GO, RUST, Install, Installed, read_record

pytest_plugins = ("wrapper_fixtures",)
pytestmark = pytest.mark.tool

GO_CONFIG = "share/defaults/kata-containers/configuration-qemu.toml"
SHIM_START = ["-namespace", "k8s.io", "-address", "/run/containerd.sock", "-id", "abc", "start"]

needs_no_kata = pytest.mark.skipif(Path("/opt/kata").exists(), reason="a Kata is installed on this machine")


def words(*parts: str | Path) -> list[bytes]:
    return [os.fsencode(p) for p in parts]


def namespaced(script: str, *argv: str | Path) -> list[str]:
    """Run ``script`` and then argv in a user and mount namespace, or skip where there are none."""
    start = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh"]
    if subprocess.run([*start, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no user and mount namespaces")
    return [*start, *map(str, argv)]


def test_the_command_line_gets_this_sets_configuration_in_front(install: Install) -> None:
    it = install()
    runtime = it.put(it.prefix / "bin/kata-runtime", it.go)
    call = it.call("env", "--json")
    assert call.argv == words(runtime, "--config", it.prefix / GO_CONFIG, "env", "--json")
    assert (call.status, call.stdout, call.stderr) == (0, "", "")


def test_without_words_the_runtime_still_gets_the_configuration(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    assert it.call().argv[1:] == words("--config", it.prefix / GO_CONFIG)


@pytest.mark.parametrize(
    "given",
    [
        ["--config", "/mine.toml", "env"],
        ["--config=/mine.toml", "env"],
        ["-config", "/mine.toml", "env"],
        ["--kata-config", "/mine.toml", "env"],
        ["--log", "/tmp/log", "--config", "/mine.toml", "env"],
        ["--systemd-cgroup", "--root=/r", "-kata-config=/mine.toml", "env"],
    ],
)
def test_a_configuration_the_user_names_stays_the_only_one(install: Install, given: list[str]) -> None:
    it = install()
    (it.prefix / GO_CONFIG).unlink()  # not used, so not looked for
    it.put(it.prefix / "bin/kata-runtime", it.go)
    assert it.call(*given).argv[1:] == words(*given)


@pytest.mark.parametrize(
    "given",
    [
        ["exec", "--config", "x"],  # belongs to the command, or to what it runs
        ["--log", "--config", "env"],  # is the value of --log
        ["--", "--config", "x"],
        ["--configuration", "x"],
        ["-"],
        [""],
    ],
)
def test_what_only_looks_like_a_configuration_option_changes_nothing(install: Install, given: list[str]) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    assert it.call(*given).argv[1:] == words("--config", it.prefix / GO_CONFIG, *given)


def test_words_of_any_bytes_arrive_unchanged(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    odd = [b"a b", b"", b"$(x) `y` '\"", b"\xff\xfe\n\t", "ключ=é".encode(), b"*", b"\\"]
    assert it.call("run", *odd).argv[4:] == odd


def test_very_many_words_arrive(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    many = [f"w{i}" for i in range(60_000)]
    assert it.call("run", *many).argv[4:] == words(*many)


def test_environment_folder_input_and_descriptors_are_the_callers(install: Install, tmp_path: Path) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    (tmp_path / "elsewhere").mkdir()
    read, write = os.pipe()
    try:
        call = it.call("x", stdin=b"in\0put", cwd=tmp_path / "elsewhere", pass_fds=(read,), ODD="a=b c", EMPTY="")
    finally:
        os.close(read)
        os.close(write)
    assert call.record is not None
    assert call.env == {
        b"PATH": os.fsencode(it.path),
        b"RECORD": os.fsencode(tmp_path / "record"),
        b"ODD": b"a=b c",
        b"EMPTY": b"",
    }
    assert call.record["cwd"] == [os.fsencode(tmp_path / "elsewhere")]
    assert call.record["stdin"] == [b"in\0put"]
    assert sorted(call.record["fd"], key=int) == [b"0", b"1", b"2", str(read).encode()]


def test_exit_status_and_death_by_signal_are_the_runtimes(install: Install) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    assert it.call("x", STANDIN_EXIT="42").status == 42
    assert it.call("x", STANDIN_SIGNAL=str(int(signal.SIGKILL))).status == -signal.SIGKILL


def test_a_signal_to_the_wrapper_reaches_the_runtime(install: Install, tmp_path: Path) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    env = {"PATH": it.path, "RECORD": str(tmp_path / "record"), "STANDIN_WAIT": "1"}
    process = subprocess.Popen([it.prefix / "bin/toy", "x"], env=env, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while (record := read_record(tmp_path / "record")) is None or "stdin" not in record:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert record["pid"] == [str(process.pid).encode()]  # no process in between
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def test_a_shim_gets_exactly_its_words_and_environment(install: Install) -> None:
    it = install()
    shim = it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    call = it.call(*SHIM_START, executable=it.shim, stdin=b"runtime options", TTRPC_ADDRESS="/run/x")
    assert call.argv == words(shim, *SHIM_START)
    assert set(call.env) == {b"PATH", b"RECORD", b"TTRPC_ADDRESS"}
    assert call.record is not None
    assert call.record["stdin"] == [b"runtime options"]


def test_before_4_0_a_go_shim_is_told_by_kata_conf_file(install: Install) -> None:
    it = install(kata="3.21")
    it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    assert it.call(*SHIM_START, executable=it.shim).env[b"KATA_CONF_FILE"] == os.fsencode(it.prefix / GO_CONFIG)
    chosen = it.call(*SHIM_START, executable=it.shim, KATA_CONF_FILE="/mine.toml")
    assert chosen.env[b"KATA_CONF_FILE"] == b"/mine.toml"


def test_the_go_shim_is_preferred_where_go_comes_first_and_rust_where_rust_does(install: Install) -> None:
    it = install(configs=(RUST, GO))
    go = it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    assert it.call("start", executable=it.shim).argv[0] == os.fsencode(go)
    rust = it.put(it.prefix / "runtime-rs/bin/containerd-shim-kata-v2", it.rust)
    assert it.call("start", executable=it.shim).argv[0] == os.fsencode(rust)


def test_a_shim_of_the_other_language_is_passed_over(install: Install, tmp_path: Path) -> None:
    """Both shims have the same name; only the right one understands this set's configuration."""
    it = install(configs=(GO,))
    it.put(it.prefix / "bin/containerd-shim-kata-v2", it.rust)
    right = it.put(tmp_path / "path/containerd-shim-kata-v2", it.go)
    it.path = str(tmp_path / "path")
    if not Path("/opt/kata").exists():
        assert it.call("start", executable=it.shim).argv[0] == os.fsencode(right)


def test_a_set_for_rust_alone_runs_kata_ctl_which_has_no_config_option(install: Install) -> None:
    it = install(configs=(RUST,))
    it.put(it.prefix / "bin/kata-runtime", it.go)
    ctl = it.put(it.prefix / "bin/kata-ctl", it.rust)
    call = it.call("check", "all")
    assert call.argv == words(ctl, "check", "all")
    config = it.prefix / "share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml"
    assert call.stderr == f"toy: {ctl} cannot be told a configuration: it does not use {config}\n"


def test_an_unknown_name_taken_as_rust_is_told_of_too_but_not_a_shim(install: Install, tmp_path: Path) -> None:
    it = install()
    mine = it.put(tmp_path / "mine", it.rust)
    assert f"{mine} cannot be told a configuration" in it.call("x", KATA_RUNTIME=str(mine)).stderr
    assert it.call("x", "start", executable=it.shim, KATA_RUNTIME=str(mine)).stderr == ""


def test_the_name_it_is_called_by_decides_the_role(install: Install, tmp_path: Path) -> None:
    it = install()
    runtime = it.put(it.prefix / "bin/kata-runtime", it.go)
    shim = it.put(it.prefix / "bin/containerd-shim-kata-v2", it.go)
    links = tmp_path / "links"
    links.mkdir()
    for name, target in (("toy", "toy"), ("kata", "toy"), ("containerd-shim-mine-v2", "toy"), ("odd", it.shim.name)):
        (links / name).symlink_to(it.prefix / "bin" / target)
    for name, expected in (("toy", runtime), ("kata", runtime), ("containerd-shim-mine-v2", shim), ("odd", shim)):
        assert it.call("x", executable=links / name, argv0=links / name).argv[0] == os.fsencode(expected), name
    # A caller may choose any first word: then the file tells.
    assert it.call("x", executable=it.shim, argv0="-bash").argv[0] == os.fsencode(shim)
    assert it.call("x", argv0="containerd-shim-toy-v2").argv[0] == os.fsencode(shim)


def test_kata_runtime_names_a_file_a_folder_or_a_command(install: Install, tmp_path: Path) -> None:
    it = install()
    it.put(it.prefix / "bin/kata-runtime", it.go)
    other = tmp_path / "other folder"
    mine = it.put(other / "my runtime", it.go)
    runtime = it.put(other / "kata-runtime", it.go)
    shim = it.put(other / "containerd-shim-kata-v2", it.go)
    it.path = str(other)
    for chosen, expected in ((mine, mine), (other, runtime), ("kata-runtime", runtime), (shim, runtime), ("", None)):
        expected_path = expected or it.prefix / "bin/kata-runtime"
        assert it.call("x", KATA_RUNTIME=str(chosen)).argv[0] == os.fsencode(expected_path), chosen
    for chosen, expected in ((mine, mine), (other, shim), (shim, shim), (runtime, shim)):
        assert it.call("start", executable=it.shim, KATA_RUNTIME=str(chosen)).argv[0] == os.fsencode(expected), chosen


def test_a_script_can_be_the_runtime(install: Install, tmp_path: Path) -> None:
    it = install()
    script = it.prefix / "bin/kata-runtime"
    script.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    script.chmod(0o755)
    assert it.call("a b").stdout == f"--config|{it.prefix / GO_CONFIG}|a b|"


@needs_no_kata
def test_the_path_is_searched_in_order_and_an_empty_element_is_this_folder(install: Install, tmp_path: Path) -> None:
    it = install()
    it.put(tmp_path / "b/kata-runtime", it.go)
    it.put(tmp_path / "c/kata-runtime", it.go)
    (tmp_path / "a/kata-runtime").mkdir(parents=True)  # a folder is no program
    it.path = f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/b:{tmp_path}/c"
    assert it.call("x").argv[0] == os.fsencode(tmp_path / "b/kata-runtime")
    it.path = f"{tmp_path}/none:"
    assert it.call("x", cwd=tmp_path / "c").argv[0] == b"./kata-runtime"


def test_opt_kata_comes_before_the_path(install: Install, tmp_path: Path) -> None:
    it = install()
    it.put(tmp_path / "path/kata-runtime", it.go)
    argv = namespaced(
        f"mount -t tmpfs none /opt; mkdir -p /opt/kata/bin; cp {it.go} /opt/kata/bin/kata-runtime",
        it.prefix / "bin/toy",
        "x",
    )
    env = {"PATH": f"{tmp_path / 'path'}:/usr/bin:/bin:/usr/sbin", "RECORD": str(tmp_path / "record")}
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, check=True)
    record = read_record(tmp_path / "record")
    assert record is not None
    assert record["argv"][0] == b"/opt/kata/bin/kata-runtime"


def loops(it: Installed, folder: Path) -> None:
    """Everything in ``folder`` is this wrapper under the names that are looked for."""
    folder.mkdir()
    (folder / "kata-runtime").symlink_to(it.prefix / "bin/toy")
    (folder / "chain").symlink_to(folder / "kata-runtime")
    os.link(it.prefix / "bin/toy", folder / "kata-ctl")
    shutil.copy(it.prefix / "bin/toy", folder / "containerd-shim-kata-v2")


@needs_no_kata
def test_it_never_runs_itself_by_link_or_copy(install: Install, tmp_path: Path) -> None:
    it = install()
    loops(it, tmp_path / "loop")
    it.path = str(tmp_path / "loop")
    assert it.call("x").status == 127
    assert it.call("x", executable=it.shim).status == 127
    # Called by such a link it still finds the real one behind it.
    real = it.put(tmp_path / "real/kata-runtime", it.go)
    it.path = f"{tmp_path / 'loop'}:{tmp_path / 'real'}"
    assert it.call("x", executable=tmp_path / "loop/kata-runtime").argv[0] == os.fsencode(real)
    for name in ("kata-runtime", "chain", "kata-ctl", "containerd-shim-kata-v2"):
        call = it.call("x", KATA_RUNTIME=str(tmp_path / "loop" / name))
        assert call.status == 127, name
        assert "leads back to this wrapper" in call.stderr


def test_without_proc_it_works_and_still_knows_itself(install: Install, tmp_path: Path) -> None:
    it = install()
    loops(it, tmp_path / "loop")
    runtime = it.put(tmp_path / "real/kata-runtime", it.go)
    argv = namespaced("mount -t tmpfs none /proc; test ! -e /proc/self", it.prefix / "bin/toy", "x")
    env = {"PATH": f"{tmp_path / 'loop'}:{tmp_path / 'real'}:/usr/bin:/bin", "RECORD": str(tmp_path / "record")}
    subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, check=True)
    record = read_record(tmp_path / "record")
    assert record is not None
    if not Path("/opt/kata").exists():
        assert record["argv"][0] == os.fsencode(runtime)
