"""What is wired, loaded by the managers themselves; and containers that they really start through it.

Kata cannot be had everywhere: runc stands in for it, behind the real wrapper. The managers run as root, in a mount
namespace and folders of their own. CRI-O, nerdctl, Kubernetes and kata-deploy are held to schemas instead
(test_wiring_files.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.wiring.index import read_wiring
from kata_toolkit.wiring.wire import Wish, wire
from managers import containerd, needs_containerd
from wiring_parts import files_of, make_set
from wrapper_harness import GO, Install, Installed

pytest_plugins = ("wrapper_fixtures",)
pytestmark = pytest.mark.tool

V2 = "io.containerd.grpc.v1.cri"
# To raise a limit takes a capability that root lacks in a container; so does what the managers would ask for.
LIMITS = ("--ulimit", "nofile=100:100", "--ulimit", "nproc=100:100")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="wire", dir="/tmp") as folder:
        yield Path(folder)


def needs(*programs: str, root: bool = True) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if root and os.geteuid() != 0:
        pytest.skip(f"{programs[0]} needs root")


def spec_for(prefix: Path) -> str:
    return f"wrapper: {{name: toy}}\ninstall: {{prefix: {prefix}}}\n"


def wired(folder: Path, prefix: Path) -> tuple[Path, dict[str, str]]:
    """A set with wiring for a prefix, and the wiring's files."""
    files = files_of(folder / "spec", spec_for(prefix))
    named = {f"share/toy/{name}": text.encode() for name, text in files.items()}
    return make_set(folder / "set", named, str(prefix)), files


def merged(made: Path, manager: str, file: Path, before: str = "", **options: Any) -> Path:
    if before:
        file.write_text(before)
    wire(read_wiring(made), Wish(manager, into=file, **options))
    return file


def dump(*files: Path) -> dict[str, Any]:
    """What containerd makes of a configuration."""
    done = subprocess.run(
        ["containerd", "--config", *files, "config", "dump"], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return tomllib.loads(done.stdout)


def major() -> int:
    text = subprocess.run(["containerd", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\s v?(\d+)\.\d+", text, re.VERBOSE)
    assert found is not None, text
    return int(found[1])


# ---- containerd ----


@pytest.mark.parametrize("version", [2, 3, 4])
def test_containerd_loads_the_drop_in(tmp_path: Path, version: int) -> None:
    needs("containerd", root=False)
    if version > 2 and major() < 2:
        pytest.skip(f"containerd {major()}.x reads no configuration of version {version}")
    _, files = wired(tmp_path, Path("/opt/toy"))
    name = f"containerd/toy-v{version}.toml"
    file = tmp_path / "drop-in.toml"
    file.write_text(files[name])
    plugins = dump(file)["plugins"]
    plugin = next(plugins[key] for key in (V2, "io.containerd.cri.v1.runtime") if "containerd" in plugins.get(key, {}))
    written = next(iter(tomllib.loads(files[name])["plugins"].values()))["containerd"]["runtimes"]
    for handler, said in written.items():
        loaded = plugin["containerd"]["runtimes"][handler]
        assert {key: loaded[key] for key in said} == said


def test_containerd_1_loses_what_it_knew_when_a_drop_in_is_imported(tmp_path: Path) -> None:
    """Which is why the drop-in says so, and why `wire` merges instead."""
    needs("containerd", root=False)
    if major() != 1:
        pytest.skip("only containerd 1.x does")
    made, files = wired(tmp_path, Path("/opt/toy"))
    before = f'version = 2\n[plugins."{V2}"]\n  sandbox_image = "mine:1"\n'
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/toy.toml").write_text(files["containerd/toy-v2.toml"])
    imports = tmp_path / "imports.toml"
    imports.write_text(f'version = 2\nimports = ["{tmp_path}/conf.d/*.toml"]\n{before.partition(chr(10))[2]}')
    assert dump(imports)["plugins"][V2]["sandbox_image"] != "mine:1"
    plugin = dump(merged(made, "containerd", tmp_path / "config.toml", before))["plugins"][V2]
    assert plugin["sandbox_image"] == "mine:1"
    assert {"runc", "toy", "toy-qemu-runtime-rs"} <= set(plugin["containerd"]["runtimes"])


def test_a_containerd_that_runs_takes_the_handlers_into_its_cri_plugin(tmp_path: Path, short: Path) -> None:
    needs_containerd()
    made, _ = wired(tmp_path, Path("/opt/toy"))
    base = f"""version = 2
root = "{short}/root"
state = "{short}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{short}/c.sock"
[ttrpc]
  address = "{short}/t.sock"
[plugins."{V2}"]
  disable_tcp_service = true
  [plugins."{V2}".cni]
    conf_dir = "{short}/net.d"
"""
    file = merged(made, "containerd", short / "config.toml", base)
    with process(short / "log", "containerd", "--config", file) as log:
        ctr = ["ctr", "--address", str(short / "c.sock")]
        wait_for(log, *ctr, "version")
        plugins = subprocess.run([*ctr, "plugins", "ls", "id==cri"], capture_output=True, text=True, check=True).stdout
        assert re.search(r"grpc\.v1\s+cri\s+\S+\s+ok", plugins), plugins + log.read_text()
    started = re.search(r"Start cri plugin with config (.*)", log.read_text())
    assert started is not None
    for word in ("toy-qemu-runtime-rs", "/opt/toy/bin/containerd-shim-toy-v2", "configuration-qemu.toml"):
        assert word in started[1]


STANDIN = """#!/bin/sh
for last; do :; done
[ "$last" = start ] || exit 0
cat > {record}/stdin
cp config.json {record}/config.json
printf '%s\\n' "$0" "$@" > {record}/argv
exit 1
"""


def test_the_arguments_for_ctr_bring_configuration_and_annotations_to_the_shim(tmp_path: Path, short: Path) -> None:
    needs_containerd()
    _, files = wired(tmp_path, short / "prefix")
    shim = short / "prefix/bin/containerd-shim-toy-v2"
    shim.parent.mkdir(parents=True)
    shim.write_text(STANDIN.format(record=short))
    shim.chmod(0o755)
    arguments = files["annotations/toy.args"].split()
    with containerd(short, [shim.parent]) as daemon:
        done = daemon.ctr("run", *arguments, "--rootfs", short, "c1", "true")
        assert done.returncode != 0  # the stand-in makes no sandbox
    assert (short / "argv").read_text().startswith(f"{shim}\n")
    assert (
        f"{short}/prefix/share/defaults/kata-containers/configuration-qemu.toml".encode()
        in (short / "stdin").read_bytes()
    )
    annotations = json.loads((short / "config.json").read_text())["annotations"]
    assert annotations == json.loads(files["annotations/toy.json"])["annotations"]


# ---- Docker and Podman: a container through the wrapper, with runc in Kata's place ----

RUNC = """#!/bin/sh
printf '%s\\n' "$*" >> {record}
[ "$1" = --config ] && shift 2
exec runc --root {record}.state "$@"
"""


@pytest.fixture
def kata(install: Install, short: Path) -> Installed:
    """A wrapper installed, with a runtime behind it that is runc and writes down how it is called."""
    it = install(configs=(GO,))
    runtime = it.prefix / "bin/kata-runtime"
    runtime.write_text(RUNC.format(record=short / "calls"))
    runtime.chmod(0o755)
    return it


@pytest.fixture
def tree(short: Path) -> Path:
    """A root file system with busybox in it."""
    busybox = shutil.which("busybox")
    if not busybox:
        pytest.skip("needs busybox")
    for name in ("bin", "proc", "dev", "sys", "etc"):
        (short / "tree" / name).mkdir(parents=True)
    shutil.copy(busybox, short / "tree/bin/busybox")
    return short / "tree"


@contextlib.contextmanager
def process(log: Path, *words: str | Path) -> Iterator[Path]:
    """A daemon in a mount namespace of its own."""
    with log.open("wb") as stream:
        argv = ["unshare", "--mount", "--propagation", "private", "--", *map(str, words)]
        daemon = subprocess.Popen(argv, stdout=stream, stderr=stream)
    try:
        yield log
    finally:
        daemon.terminate()
        daemon.wait(20)


def wait_for(log: Path, *words: str) -> None:
    deadline = time.monotonic() + 20
    while subprocess.run(words, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def configured(kata: Installed, calls: Path) -> bool:
    """Whether the wrapper gave the runtime the set's configuration in each call."""
    lines = calls.read_text().splitlines()
    given = f"--config {kata.prefix}/{GO.path} "
    assert [line for line in lines if " create " in line], lines
    return all(line.startswith(given) for line in lines)


def test_docker_lists_the_runtime_and_runs_a_container_through_it(
    kata: Installed, tmp_path: Path, short: Path, tree: Path
) -> None:
    needs("dockerd", "docker", "containerd", "runc", "unshare", "tar")
    made, _ = wired(tmp_path, kata.prefix)
    base = json.dumps({"iptables": False, "bridge": "none", "ip-forward": False, "storage-driver": "vfs"})
    config = merged(made, "docker", short / "daemon.json", base, commands=True)
    words = ("--config-file", config, "--data-root", short / "d", "--exec-root", short / "e")
    socket = f"unix://{short}/s"
    with process(short / "log", "dockerd", *words, "--pidfile", short / "pid", "--host", socket) as log:
        docker = ["docker", "--host", socket]
        wait_for(log, *docker, "version")
        info = subprocess.run([*docker, "info", "--format", "{{json .Runtimes}}"], capture_output=True, check=True)
        assert json.loads(info.stdout)["toy"]["path"] == f"{kata.prefix}/bin/toy"
        tar = subprocess.run(["tar", "--directory", tree, "--create", "."], capture_output=True, check=True).stdout
        subprocess.run([*docker, "import", "-", "tiny"], input=tar, capture_output=True, check=True)
        words = ("--rm", "--runtime", "toy", "--network", "none", *LIMITS, "tiny", "/bin/busybox", "echo", "it ran")
        done = subprocess.run([*docker, "run", *words], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (0, "it ran\n"), done.stderr + log.read_text()
    assert configured(kata, short / "calls")


def test_podman_finds_the_runtime_and_runs_a_container_through_it(
    kata: Installed, tmp_path: Path, short: Path, tree: Path
) -> None:
    needs("podman", "runc", "unshare")
    _, files = wired(tmp_path, kata.prefix)
    drop_in = short / "toy.conf"
    drop_in.write_text(files["podman/50-toy.conf"])
    folders = ("--root", short / "d", "--runroot", short / "r", "--tmpdir", short / "t", "--storage-driver", "vfs")
    podman = ["unshare", "--mount", "--propagation", "private", "--", "podman", *map(str, folders)]
    podman += ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "toy"]

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [*podman, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(short), "CONTAINERS_CONF": str(drop_in)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    runtime = json.loads(run("info", "--format", "{{json .Host.OCIRuntime}}"))
    assert (runtime["name"], runtime["path"]) == ("toy", f"{kata.prefix}/bin/toy")
    words = ("--rm", "--network", "none", *LIMITS, "--rootfs", tree)
    assert run("run", *words, "/bin/busybox", "echo", "it ran") == "it ran\n"
    assert configured(kata, short / "calls")
