"""``check-host --for``: what a spec, a set and a purpose ask of a host; and arguments that are none of these."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import pytest
from host_trees import GOOD, capable, checked, lay, program
from kata_toolkit.errors import InputError
from kata_toolkit.host.asked import wanted_for
from kata_toolkit.host.purposes import purposes
from kata_toolkit.host.table import CHECKS
from kata_toolkit.host.wanted import Wanted

SPEC = "version: 1\nname: toy\nruntime:\n  kata: '4.1'\n  hypervisors:\n"


def spec(tmp_path: Path, *lines: str, name: str = "toy.yaml") -> Path:
    file = tmp_path / name
    file.write_text(SPEC + "".join(f"    {line}\n" for line in lines))
    return file


def built(tmp_path: Path, prefix: str = "/opt/toy", **tomls: str) -> Path:
    """The folder of a set with these runtime configurations, by flavour."""
    folder = tmp_path / "out"
    defaults = folder / "share/defaults/kata-containers"
    defaults.mkdir(parents=True)
    artifacts = []
    for flavour, text in tomls.items():
        name = f"share/defaults/kata-containers/configuration-{flavour.replace('_', '-')}.toml"
        (folder / name).write_text(text)
        artifacts.append({"path": name, "role": "runtime_config", "size": len(text), "sha256": "0" * 64})
    manifest = {
        "version": 1,
        "name": "toy",
        "arch": "x86_64",
        "kata": "4.1",
        "prefix": prefix,
        "partial": True,
        "toolkit": {"version": "1"},
        "artifacts": artifacts,
        "root": {},
        "guests": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_spec_with_defaults(tmp_path: Path) -> None:
    wanted = wanted_for(str(spec(tmp_path, "qemu: {}")))
    assert (wanted.arch, wanted.memory_mib, wanted.vcpus, wanted.hypervisors) == ("x86_64", 2048, 1, ("qemu",))
    assert (wanted.virtio_fs, wanted.hugepages, wanted.vfio, wanted.builds) == (True, False, False, True)


def test_the_settings_of_a_spec_count(tmp_path: Path) -> None:
    settings = "settings: {default_memory: 8192, default_vcpus: 3, enable_hugepages: true, shared_fs: virtio-9p}"
    wanted = wanted_for(str(spec(tmp_path, f"qemu: {{dialects: [go], {settings}}}")))
    assert (wanted.memory_mib, wanted.vcpus, wanted.hugepages, wanted.virtio_fs) == (8192, 3, True, False)


@pytest.mark.parametrize(
    ("tomls", "expected"),
    [
        (
            {"qemu": "[hypervisor.qemu]\n"},
            {"memory_mib": 2048, "vcpus": 1, "virtio_fs": True, "hypervisors": ("qemu",)},
        ),
        ({"qemu": "[hypervisor.qemu]\ndefault_memory = 512\n"}, {"memory_mib": 512}),
        ({"qemu": "[hypervisor.qemu]\ndefault_memory = 0\ndefault_vcpus = -1\n"}, {"memory_mib": 2048, "vcpus": 1}),
        ({"qemu": "[hypervisor.qemu]\ndefault_vcpus = 2.5\n"}, {"vcpus": 3}),
        ({"qemu": "[hypervisor.qemu]\nenable_hugepages = true\n"}, {"hugepages": True}),
        ({"qemu": "[hypervisor.qemu]\nshared_fs = 'none'\n"}, {"virtio_fs": False}),
        ({"qemu": "[hypervisor.qemu]\nrootless = true\n"}, {"rootless": True}),
        ({"qemu": "[hypervisor.qemu]\ncold_plug_vfio = 'root-port'\n"}, {"vfio": True}),
        ({"qemu": "[hypervisor.qemu]\nhot_plug_vfio = 'no-port'\n"}, {"vfio": False}),
        ({"qemu_tdx": "[hypervisor.qemu]\n"}, {"confidential": "tdx", "hypervisors": ("qemu-tdx",)}),
        ({"qemu_snp_runtime_rs": "[hypervisor.qemu]\n"}, {"confidential": "snp", "hypervisors": ("qemu-snp",)}),
        ({"qemu_nvidia_gpu": "[hypervisor.qemu]\n"}, {"vfio": True}),
        ({"fc": "[hypervisor.firecracker]\nshared_fs = 'none'\n"}, {"hypervisors": ("fc",), "virtio_fs": False}),
        (
            {"qemu": "[hypervisor.qemu]\ndefault_memory = 4096\n", "clh": "[hypervisor.clh]\ndefault_memory = 512\n"},
            {"memory_mib": 4096, "hypervisors": ("qemu", "clh")},
        ),
        ({"qemu": "[hypervisor.qemu]\n[hypervisor.clh]\ndefault_memory = 3000\n"}, {"memory_mib": 3000}),
    ],
)
def test_the_configurations_of_a_set_count(tmp_path: Path, tomls: dict[str, str], expected: dict[str, object]) -> None:
    wanted = wanted_for(str(built(tmp_path, **tomls)))
    assert {name: getattr(wanted, name) for name in expected} == expected
    assert (wanted.sets, wanted.builds) == (("/opt/toy",), False)


def broken(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """By name: an argument, and what is said of it."""
    return {
        "nothing": ("", "needs a spec"),
        "a purpose, misspelt": ("k8s-nod", "no purpose"),
        "a purpose in capitals": ("CI", "no purpose"),
        "a file that is not there": (str(tmp_path / "absent.yaml"), "no such spec or folder"),
        "a folder that is not there": (str(tmp_path / "absent/"), "no such spec or folder"),
        "a folder without a set": (str(tmp_path), "manifest.json"),
        "a name that is too long": ("x" * 5000, "cannot be looked at"),
        "a zero": ("a\0b", "needs a spec"),
        "a blank": (" ", "no purpose"),
        "two purposes": ("ci,k8s-node", "no purpose"),
        "a file that is no YAML": (str(put(tmp_path / "a.yaml", "a: [")), "a.yaml"),
        "a file that is no spec": (str(put(tmp_path / "b.yaml", "a: 1\n")), "a"),
        "an empty file": (str(put(tmp_path / "c.yaml", "")), ""),
        "a binary": (str(put(tmp_path / "d", "\x01\x02")), ""),
        "a spec with a mistake": (str(spec(tmp_path, "qemu: {settings: {default_memry: 1}}", name="e.yaml")), "memry"),
        "a device": ("/dev/null", ""),
        "below a file": ("/dev/null/x", "no such"),
        "a set with a broken manifest": (str(put(tmp_path / "f/manifest.json", "{").parent), "manifest.json"),
        "a set of another version": (str(put(tmp_path / "g/manifest.json", '{"version": 9}').parent), "not known"),
        "a set without configurations": (str(built(tmp_path / "h")), "partial"),
        "a set with a broken configuration": (str(built(tmp_path / "i", qemu="[x")), "cannot be read"),
    }


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("number", range(21))
def test_arguments_that_mean_nothing(tmp_path: Path, number: int) -> None:
    text, says = list(broken(tmp_path).values())[number]
    with pytest.raises(InputError) as error:
        wanted_for(text)
    assert says in str(error.value)


def test_a_purpose_changes_what_counts(tmp_path: Path) -> None:
    capable(tmp_path)
    (tmp_path / "usr/libexec/virtiofsd").unlink()
    (tmp_path / "dev/kvm").unlink()
    plain, node, ci = (
        checked(tmp_path, wanted=wanted).report
        for wanted in (Wanted(), purposes()["k8s-node"].wanted, purposes()["ci"].wanted)
    )
    assert (plain.verdicts["virtiofsd"].status, node.verdicts["virtiofsd"].status) == ("warn", "fail")
    assert "virtiofsd" not in ci.verdicts
    assert (plain.verdicts["kvm-device"].status, ci.verdicts["kvm-device"].status) == ("fail", "warn")
    assert "store-space" in ci.verdicts
    assert "store-space" not in plain.verdicts


def test_a_node_without_a_manager_is_none(tmp_path: Path) -> None:
    lay(tmp_path, GOOD["intel"])
    for name in ("usr/bin/containerd", "etc/containerd/config.toml"):
        (tmp_path / name).unlink()
    assert checked(tmp_path, wanted=purposes()["k8s-node"].wanted)["runtime-handlers"].status == "fail"


@pytest.mark.parametrize("name", ["host-programs", "host-purposes"])
def test_the_data_follows_its_schema(root: Path, name: str) -> None:
    data, schema = (json.loads((root / "schemas" / f"{name}{end}.json").read_text()) for end in ("", ".schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)


def test_purposes_name_checks_that_exist() -> None:
    known = {entry.id for entry in CHECKS}
    for purpose in purposes().values():
        assert purpose.must | purpose.may | purpose.left_out <= known
        assert not purpose.must & purpose.may
        assert not (purpose.must | purpose.may) & purpose.left_out


def test_a_set_that_wants_more_than_there_is(tmp_path: Path) -> None:
    capable(tmp_path)
    program(tmp_path, "/usr/bin/firecracker", version="Firecracker v1.9.0")
    text = "[hypervisor.qemu]\ndefault_memory = 64000\nenable_hugepages = true\n"
    wanted = wanted_for(str(built(tmp_path / "set", qemu_tdx=text)))
    it = checked(tmp_path, wanted=wanted)
    for check in ("huge-pages", "tdx"):
        assert it[check].status == "fail", check
    assert it["set-files"].status == "warn"


Unprivileged = Callable[[Sequence[str | Path]], list[str]]


def test_the_command(tool: Path, root: Path, tmp_path: Path, unprivileged: Unprivileged) -> None:
    env = {"PATH": os.environ["PATH"], "KATA_TOOLKIT_CACHE": str(tmp_path)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = unprivileged([tool, "check-host", *words])
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=env, timeout=30)

    done = run("--for", "ci", "--json")
    report = json.loads(done.stdout)
    jsonschema.validate(report, json.loads((root / "schemas/checks.schema.json").read_text()))
    assert done.returncode == (0 if report["ok"] else 1)
    assert report["measurements"]["asked_for"] == "ci"
    bad = run("--for", "c1")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "Traceback" not in bad.stderr
    assert "ci" in bad.stderr
    assert run("--for").returncode == 2
