"""What container managers are told: a table of configuration files and what the checks say of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from host_trees import GOOD, Checked, Link, Program, Tree, checked, lay
from kata_toolkit.host.wanted import Wanted

CONTAINERD = "/etc/containerd/config.toml"
V1, V2, V3 = "cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
CONFIG = "/opt/kata/share/defaults/kata-containers/configuration-qemu.toml"
SHIM = "/usr/local/bin/containerd-shim-kata-v2"
OLD, NEW = "containerd containerd.io 1.6.20 abc", "containerd containerd.io 2.1.0 abc"


def containerd(version: int, table: str, *lines: str, head: str = "") -> str:
    said = f"version = {version}\n" if version > 1 else ""
    told = "\n".join(lines or ('runtime_type = "io.containerd.kata.v2"',))
    return f'{said}{head}\n[plugins."{table}".containerd.runtimes.kata]\n{told}\n'


def crio(*lines: str) -> str:
    return "[crio.runtime.runtimes.kata]\n" + "\n".join(lines)


@dataclass(frozen=True)
class Case:
    """Files over a good host without any configuration, and what is said: check, status, words of the detail."""

    files: Tree
    check: str
    status: str
    says: str
    remedy: str = ""


PASSES = f"options = {{ConfigPath = '{CONFIG}'}}"
CASES = {
    "v2 without options": Case({CONTAINERD: containerd(2, V2)}, "runtime-handlers", "pass", "its default"),
    "v2 with ConfigPath": Case(
        {CONTAINERD: containerd(2, V2, 'runtime_type = "io.containerd.kata.v2"', PASSES)},
        "runtime-handlers",
        "pass",
        f"containerd's kata ({CONFIG})",
    ),
    "v1": Case({CONTAINERD: containerd(1, V1)}, "runtime-handlers", "pass", "containerd's kata"),
    "v3 under containerd 2": Case(
        {CONTAINERD: containerd(3, V3), "/usr/bin/containerd": Program({"--version": NEW})},
        "manager-config",
        "pass",
        CONTAINERD,
    ),
    "v3 under containerd 1": Case(
        {CONTAINERD: containerd(3, V3), "/usr/bin/containerd": Program({"--version": OLD})},
        "manager-config",
        "fail",
        "version 3, but containerd 1.x reads up to 2",
        "version = 2",
    ),
    "v4 under containerd 2": Case(
        {CONTAINERD: containerd(4, V3), "/usr/bin/containerd": Program({"--version": NEW})},
        "manager-config",
        "pass",
        CONTAINERD,
    ),
    "v5 under containerd 2": Case(
        {CONTAINERD: containerd(5, V3), "/usr/bin/containerd": Program({"--version": NEW})},
        "manager-config",
        "fail",
        "reads up to 4",
    ),
    "the table of v2 in a file of v3": Case(
        {CONTAINERD: containerd(3, V2)}, "manager-config", "fail", "is ignored", f'plugins."{V3}"'
    ),
    "the table of v3 in a file of v2": Case(
        {CONTAINERD: containerd(2, V3)}, "manager-config", "fail", "is ignored", f'plugins."{V2}"'
    ),
    "the table of v2 without a version": Case(
        {CONTAINERD: containerd(1, V2)}, "manager-config", "fail", "has version 1"
    ),
    "the wrong table names nothing": Case(
        {CONTAINERD: containerd(3, V2), SHIM: ""}, "runtime-handlers", "warn", "names Kata"
    ),
    "no TOML": Case({CONTAINERD: "version = 2\n[plugins\n"}, "manager-config", "fail", "is no TOML"),
    "a version that is none": Case({CONTAINERD: 'version = "2"\n'}, "manager-config", "pass", CONTAINERD),
    "plugins that are none": Case({CONTAINERD: "version = 2\nplugins = 7\n"}, "manager-config", "pass", CONTAINERD),
    "in an import": Case(
        {
            CONTAINERD: 'version = 2\nimports = ["conf.d/*.toml"]\n',
            "/etc/containerd/conf.d/kata.toml": containerd(2, V2),
        },
        "runtime-handlers",
        "pass",
        "containerd's kata",
    ),
    "an import of itself": Case(
        {CONTAINERD: containerd(2, V2, head='imports = ["*.toml", "/nowhere/*"]')},
        "runtime-handlers",
        "pass",
        "containerd's kata",
    ),
    "an import of another version": Case(
        {
            CONTAINERD: 'version = 2\nimports = ["/etc/containerd/x.toml"]\n',
            "/etc/containerd/x.toml": containerd(3, V2),
        },
        "manager-config",
        "fail",
        "/etc/containerd/x.toml has version 3",
    ),
    "K3s": Case(
        {"/var/lib/rancher/k3s/agent/etc/containerd/config.toml": containerd(2, V2)},
        "runtime-handlers",
        "pass",
        "containerd's kata",
    ),
    "a ConfigPath to nowhere": Case(
        {CONTAINERD: containerd(2, V2, 'runtime_type = "io.containerd.kata.v2"', "options.ConfigPath = '/x.toml'")},
        "runtime-handlers",
        "fail",
        "ConfigPath /x.toml does not exist",
    ),
    "a shim that is not on PATH": Case(
        {CONTAINERD: containerd(2, V2, 'runtime_type = "io.containerd.kata-clh.v2"')},
        "runtime-handlers",
        "fail",
        "containerd-shim-kata-clh-v2 is not on PATH",
        "ln -s",
    ),
    "a path to no shim": Case(
        {CONTAINERD: containerd(2, V2, 'runtime_path = "/opt/x/containerd-shim-kata-v2"', 'runtime_type = "a.b.c"')},
        "runtime-handlers",
        "fail",
        "/opt/x/containerd-shim-kata-v2 does not exist",
    ),
    "a shim that cannot be executed": Case(
        {CONTAINERD: containerd(2, V2, 'runtime_path = "/opt/kata-shim"'), "/opt/kata-shim": "x"},
        "runtime-handlers",
        "fail",
        "not executable",
    ),
    "neither type nor path": Case(
        {CONTAINERD: containerd(2, V2, "privileged_without_host_devices = true")},
        "runtime-handlers",
        "fail",
        "neither a type nor a path",
    ),
    "only runc": Case(
        {
            CONTAINERD: f'version = 2\n[plugins."{V2}".containerd.runtimes.runc]\nruntime_type = "io.c.runc.v2"',
            SHIM: "",
        },
        "runtime-handlers",
        "warn",
        "no configuration of containerd names Kata",
    ),
    "no file, but the shim is on PATH": Case({}, "runtime-handlers", "pass", "containerd finds"),
    "no file": Case({SHIM: ""}, "manager-config", "skip", "no manager has"),
    "CRI-O": Case(
        {
            "/etc/crio/crio.conf.d/50-kata": crio(
                f'runtime_path = "{SHIM}"', 'runtime_type = "vm"', f'runtime_config_path = "{CONFIG}"'
            )
        },
        "runtime-handlers",
        "pass",
        f"CRI-O's kata ({CONFIG})",
    ),
    "CRI-O with the type of runc": Case(
        {"/etc/crio/crio.conf": crio(f'runtime_path = "{SHIM}"')},
        "runtime-handlers",
        "fail",
        "CRI-O's kata (/etc/crio/crio.conf)",
    ),
    "CRI-O without a path": Case(
        {"/etc/crio/crio.conf": crio('runtime_type = "vm"')}, "runtime-handlers", "fail", "has no runtime_path"
    ),
    "CRI-O, corrected by a drop-in": Case(
        {
            "/etc/crio/crio.conf": crio('runtime_type = "oci"'),
            "/etc/crio/crio.conf.d/99.conf": crio(f'runtime_path = "{SHIM}"', 'runtime_type = "vm"'),
        },
        "runtime-handlers",
        "pass",
        "CRI-O's kata",
    ),
    "Docker": Case(
        {
            "/etc/docker/daemon.json": '{"runtimes": {"kata": {"runtimeType": "io.containerd.kata.v2", '
            f'"options": {{"ConfigPath": "{CONFIG}"}}}}}}}}'
        },
        "runtime-handlers",
        "pass",
        f"Docker's kata ({CONFIG})",
    ),
    "Docker with a shim's path as type": Case(
        {"/etc/docker/daemon.json": f'{{"runtimes": {{"kata": {{"runtimeType": "{SHIM}"}}}}}}'},
        "runtime-handlers",
        "pass",
        "Docker's kata",
    ),
    "Docker with the old command": Case(
        {"/etc/docker/daemon.json": '{"runtimes": {"kata": {"path": "/usr/bin/kata-runtime"}}}'},
        "runtime-handlers",
        "fail",
        "as an OCI command line",
    ),
    "Docker, no JSON": Case({"/etc/docker/daemon.json": "{"}, "manager-config", "fail", "is no JSON"),
    "Docker, a list": Case({"/etc/docker/daemon.json": "[]"}, "manager-config", "pass", "daemon.json"),
    "Docker, empty": Case({"/etc/docker/daemon.json": ""}, "manager-config", "pass", "daemon.json"),
    "Podman": Case(
        {"/etc/containers/containers.conf": '[engine.runtimes]\nkata = ["/usr/bin/kata-runtime"]\n'},
        "runtime-handlers",
        "fail",
        "Podman's kata",
    ),
    "Podman's own list of what might be there": Case(
        {
            "/usr/share/containers/containers.conf": '[engine.runtimes]\nkata = ["/usr/bin/kata-runtime"]\n',
            "/usr/bin/podman": Program({"--version": "podman version 4.3.1"}),
        },
        "runtime-handlers",
        "pass",
        "containerd finds",
    ),
}


def host(tmp_path: Path, files: Tree, wanted: Wanted | None = None) -> Checked:
    """A good host without the configuration that a good host has, with ``files``; an empty shim: none."""
    tree = {**GOOD["intel"], **files}
    if CONTAINERD not in files:
        del tree[CONTAINERD]
    if tree[SHIM] == "":
        del tree[SHIM]
    lay(tmp_path, tree)
    return checked(tmp_path, wanted=wanted)


@pytest.mark.parametrize("name", CASES)
def test_each_configuration(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    verdict = host(tmp_path, case.files)[case.check]
    assert verdict.status == case.status, verdict
    assert case.says in verdict.detail
    assert case.remedy in (verdict.remedy or "")
    assert verdict.status == "pass" or verdict.remedy


FC = Wanted(hypervisors=("fc",))
FIRECRACKER: Tree = {"/usr/bin/firecracker": Program({"--version": "Firecracker v1.12.0"})}
MAPPER = '[plugins."io.containerd.snapshotter.v1.devmapper"]\npool_name = "{}"\n'


@pytest.mark.parametrize(
    ("files", "status", "says"),
    [
        ({}, "skip", "no configuration file"),
        ({CONTAINERD: containerd(2, V2)}, "fail", "no snapshotter gives block devices"),
        ({CONTAINERD: containerd(2, V2) + MAPPER.format("")}, "fail", "no pool_name"),
        ({CONTAINERD: containerd(2, V2) + MAPPER.format("pool")}, "fail", "not in /dev/mapper"),
        (
            {CONTAINERD: containerd(2, V2) + MAPPER.format("pool"), "/dev/mapper/pool": ""},
            "warn",
            "takes the default snapshotter",
        ),
        (
            {
                CONTAINERD: containerd(2, V2, 'runtime_type = "io.containerd.kata.v2"', 'snapshotter = "devmapper"')
                + MAPPER.format("pool"),
                "/dev/mapper/pool": "",
            },
            "pass",
            "the pool pool",
        ),
        (
            {CONTAINERD: containerd(2, V2) + '[proxy_plugins.nydus]\ntype = "snapshot"\naddress = "/run/n"\n'},
            "pass",
            "nydus",
        ),
    ],
)
def test_firecracker_needs_block_devices(tmp_path: Path, files: Tree, status: str, says: str) -> None:
    verdict = host(tmp_path, {**FIRECRACKER, **files}, FC)["snapshotter"]
    assert (verdict.status, says in verdict.detail) == (status, True), verdict


def test_the_snapshotter_matters_to_firecracker_alone(tmp_path: Path) -> None:
    assert "snapshotter" not in host(tmp_path, {}).report.verdicts


@pytest.mark.parametrize(
    ("program", "version", "status"),
    [
        ("/usr/bin/containerd", "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1", "pass"),
        ("/usr/bin/containerd", "containerd containerd.io 1.5.9 abc", "warn"),
        ("/usr/bin/containerd", "containerd containerd.io v2.2.0 abc", "pass"),
        ("/usr/bin/containerd", "no number", "pass"),
        ("/usr/bin/dockerd", "Docker version 20.10.24+dfsg1, build 297e128", "warn"),
        ("/usr/bin/dockerd", "Docker version 28.0.1, build 068a01e", "pass"),
        ("/usr/bin/podman", "podman version 4.3.1", "pass"),
    ],
)
def test_versions_of_managers(tmp_path: Path, program: str, version: str, status: str) -> None:
    assert host(tmp_path, {program: Program({"--version": version})})["container-manager"].status == status


def test_a_loop_of_links_is_only_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert host(tmp_path, {CONTAINERD: Link("config.toml")})["manager-config"].status == "skip"


CONF_D = "/etc/systemd/system/containerd.service.d/kata.conf"
SCRIPT = "/usr/local/bin/containerd-shim-kata-fc-v2"


@pytest.mark.parametrize(
    ("files", "status", "says"),
    [
        ({}, "pass", "nothing sets it"),
        ({CONF_D: "[Service]\nEnvironment=KATA_CONF_FILE=/etc/kata/fc.toml\n"}, "warn", "sets it to /etc/kata/fc.toml"),
        ({CONF_D: '[Service]\nEnvironment="KATA_CONF_FILE=/x/y.toml"\n'}, "warn", "sets it to /x/y.toml"),
        ({CONF_D: "[Service]\n#Environment=KATA_CONF_FILE=/etc/kata/fc.toml\n"}, "pass", "nothing sets it"),
        (
            {CONF_D: "[Service]\nEnvironment=KATA_CONF_FILE=/etc/kata-containers/configuration.toml\n"},
            "pass",
            "names a default place",
        ),
        ({"/etc/systemd/system/crio.service": "Environment=KATA_CONF_FILE=/a\n"}, "warn", "crio.service"),
        ({SCRIPT: "#!/bin/sh\nKATA_CONF_FILE=/opt/fc.toml exec containerd-shim-kata-v2 $@\n"}, "warn", SCRIPT),
        ({SCRIPT: "#!/bin/sh\nexport KATA_CONF_FILE='/opt/fc.toml'\n"}, "warn", "/opt/fc.toml"),
        ({SCRIPT: "\x7fELF" + "x" * 70_000 + "\nKATA_CONF_FILE=/x\n"}, "pass", "nothing sets it"),
    ],
)
def test_the_variable_that_no_longer_chooses(tmp_path: Path, files: Tree, status: str, says: str) -> None:
    verdict = host(tmp_path, files)["kata-conf-file"]
    assert (verdict.status, says in verdict.detail) == (status, True), verdict
