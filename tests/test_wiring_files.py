"""The files for container managers: what each says, held to the schemas and to what the managers do with them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kata_toolkit.errors import InputError
from kata_toolkit.kata.request import Built
from kata_toolkit.wiring.annotations import PREFIX, describe
from kata_toolkit.wiring.index import read_wiring
from kata_toolkit.wiring.overhead import figures, overhead
from kata_toolkit.wiring.text import as_toml
from wiring_parts import RELEASE, files_of, handlers_of, stage_of, wired_set

TWO = "runtime: {hypervisors: {qemu: {}, clh: {}}}\n"
ONE = "runtime: {hypervisors: {qemu: {dialects: [rs]}}}\n"
INITRD = "initrd: {enabled: true}\nruntime: {hypervisors: {qemu: {boot: initrd}}}\n"
FIRECRACKER = "kernel: {features: {add: [virtio-mmio]}}\nimage: {dax: false}\nruntime: {hypervisors: {fc: {}}}\n"


def settings(text: str) -> str:
    return f"runtime: {{hypervisors: {{qemu: {{settings: {{{text}}}}}}}}}\n"


def check(root: Path, schema: str, document: Any) -> None:
    jsonschema.validate(document, json.loads((root / f"schemas/{schema}.schema.json").read_text()))


@pytest.mark.parametrize("text", ["", TWO, ONE, INITRD, FIRECRACKER], ids=["plain", "two", "one", "initrd", "fc"])
def test_every_file_satisfies_the_schema_of_its_manager(root: Path, tmp_path: Path, text: str) -> None:
    files = files_of(tmp_path, text)
    for version in (2, 3, 4):
        document = tomllib.loads(files[f"containerd/kata-toy-v{version}.toml"])
        check(root, "wiring/containerd", document)
        assert document["version"] == version
    check(root, "wiring/crio", tomllib.loads(files["crio/50-kata-toy.conf"]))
    check(root, "wiring/docker", json.loads(files["docker/daemon.json"]))
    check(root, "wiring/docker", json.loads(files["docker/daemon-20.10.json"]))
    check(root, "wiring/podman", tomllib.loads(files["podman/50-kata-toy.conf"]))
    check(root, "wiring", json.loads(files["wiring.json"]))
    for document in yaml.safe_load_all(files["kubernetes/runtimeclass.yaml"]):
        if document is not None:
            check(root, "wiring/runtimeclass", document)
    values = yaml.safe_load(files["kubernetes/kata-deploy-values.yaml"])
    check(root, "wiring/kata-deploy", values)
    for runtime in values["customRuntimes"]["runtimes"].values():
        check(root, "wiring/runtimeclass", yaml.safe_load(runtime["runtimeClass"]))
        tomllib.loads(runtime["dropIn"])


def test_handlers_are_called_as_the_shims_are(tmp_path: Path) -> None:
    assert [(h.name, h.flavour, h.dialect) for h in handlers_of(tmp_path)] == [
        ("kata-toy", "qemu", "go"),
        ("kata-toy-qemu-runtime-rs", "qemu-runtime-rs", "rs"),
    ]
    two = handlers_of(tmp_path, TWO)
    assert [h.name.removeprefix("kata-toy") for h in two] == [
        "", "-qemu", "-qemu-runtime-rs", "-clh", "-clh-runtime-rs",
    ]  # fmt: skip
    assert all(h.shim == f"/opt/toy/bin/containerd-shim-{h.name}-v2" for h in two)
    assert two[0].config == two[1].config == "/opt/toy/share/defaults/kata-containers/configuration-qemu.toml"
    assert two[4].config.endswith("/runtime-rs/configuration-clh-runtime-rs.toml")


def test_only_handlers_with_a_command_line_are_for_managers_that_run_one(tmp_path: Path) -> None:
    files = files_of(tmp_path, TWO)
    assert list(json.loads(files["docker/daemon-20.10.json"])["runtimes"]) == [
        "kata-toy",
        "kata-toy-qemu",
        "kata-toy-clh",
    ]
    assert tomllib.loads(files["podman/50-kata-toy.conf"])["engine"]["runtimes"]["kata-toy-clh"] == [
        "/opt/toy/bin/kata-toy-clh"
    ]


def test_nerdctl_has_arguments_where_the_configuration_can_be_the_default_one(tmp_path: Path) -> None:
    files = files_of(tmp_path, TWO)
    assert {name for name in files if name.startswith("nerdctl/")} == {
        "nerdctl/kata-toy.args", "nerdctl/kata-toy-qemu-runtime-rs.args",
    }  # fmt: skip
    assert files["nerdctl/kata-toy.args"] == "--runtime=io.containerd.kata-toy.v2\n"


def test_firecracker_gets_a_snapshotter_of_block_devices_everywhere(tmp_path: Path) -> None:
    files = files_of(tmp_path, FIRECRACKER)
    runtimes = tomllib.loads(files["containerd/kata-toy-v3.toml"])["plugins"]["io.containerd.cri.v1.runtime"]
    assert runtimes["containerd"]["runtimes"]["kata-toy"]["snapshotter"] == "devmapper"
    values = yaml.safe_load(files["kubernetes/kata-deploy-values.yaml"])["customRuntimes"]["runtimes"]
    assert values["kata-toy"]["containerd"] == {"snapshotter": "devmapper"}
    assert "--snapshotter=devmapper" in files["annotations/kata-toy.args"]
    assert "--snapshotter=devmapper" in files["nerdctl/kata-toy.args"]
    assert "snapshotter" not in files_of(tmp_path)["containerd/kata-toy-v2.toml"].replace("# The key snapshotter", "")


def test_kata_deploy_gets_this_sets_guest_over_katas_own_configuration(tmp_path: Path) -> None:
    values = yaml.safe_load(files_of(tmp_path, INITRD)["kubernetes/kata-deploy-values.yaml"])["customRuntimes"][
        "runtimes"
    ]
    go = values["kata-toy"]
    assert go["baseConfig"] == "qemu"
    table = tomllib.loads(go["dropIn"])["hypervisor"]["qemu"]
    assert table["kernel"] == "/opt/toy/share/kata-containers/vmlinux-6.12.1"
    assert table["initrd"] == "/opt/toy/share/kata-containers/toy.initrd"
    assert table["image"] == ""  # which the base configuration has; both is an error
    assert values["kata-toy-qemu-runtime-rs"]["baseConfig"] == "qemu-runtime-rs"


def test_kata_deploy_gets_dm_verity_and_extension_images(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    text = "image: {verity: true}\nextensions: [{name: coco, kind: directory, path: parts}]\n"
    verity = f"root_hash={'ab' * 32},salt={'cd' * 32},data_blocks=9,data_block_size=4096,hash_block_size=4096"
    built = Built(RELEASE, verity, {"coco": verity.replace("ab", "ef")})
    for handler in stage_of(tmp_path, text).handlers(built):
        table = tomllib.loads(as_toml(handler.changes))["hypervisor"]["qemu"]
        assert table["kernel_verity_params"] == verity
        extensions = table["guest_extension_images"]
        assert [(e["name"], e["verity_params"]) for e in extensions] == [("coco", verity.replace("ab", "ef"))]
        assert extensions[0]["path"] == "/opt/toy/share/kata-containers/toy-coco-extension.img"


def test_a_name_that_kubernetes_would_refuse_is_refused(tmp_path: Path) -> None:
    name = "a" * 48
    assert (
        len(
            handlers_of(
                tmp_path, f"wrapper: {{name: {name}}}\nruntime: {{hypervisors: {{qemu: {{dialects: [go]}}}}}}\n"
            )
        )
        == 1
    )
    with pytest.raises(InputError, match="64 characters; Kubernetes takes 63"):
        handlers_of(tmp_path, f"wrapper: {{name: {name}}}\n")


def test_the_same_spec_makes_the_same_bytes_and_its_prefix_is_everywhere(tmp_path: Path) -> None:
    assert files_of(tmp_path / "a", TWO) == files_of(tmp_path / "b", TWO)
    files = files_of(tmp_path, "install: {prefix: /opt/v2}\n")
    assert not [name for name, text in files.items() if "/opt/toy" in text]
    assert not [name for name, text in files.items() if str(tmp_path) in text]


# ---- the overhead of a RuntimeClass ----


def classes(files: dict[str, str]) -> dict[str, Any]:
    documents = [d for d in yaml.safe_load_all(files["kubernetes/runtimeclass.yaml"]) if d]
    return {d["handler"]: d["overhead"]["podFixed"] for d in documents}


def test_the_overhead_holds_all_that_is_measured_and_a_margin() -> None:
    for memory in (64, 256, 2048, 65536):
        found = overhead("qemu", memory, virtiofsd=True)
        assert [part.name for part in found.parts] == ["guest kernel and agent", "VMM", "virtiofsd", "shim"]
        total = sum(part.mib for part in found.parts)
        assert found.memory_mib >= total * (1 + figures()["margin"])
        assert found.memory_mib - total * (1 + figures()["margin"]) < figures()["round_mib"]
        assert found.memory_mib % figures()["round_mib"] == 0
    assert overhead("qemu", 256, virtiofsd=True).memory_mib == 176
    assert overhead("qemu", 2048, virtiofsd=True).memory_mib == 208


def test_measured_guests_fit_into_their_part() -> None:
    """The two measurements that the line goes through, in KiB that the host gave the guest."""
    for memory, kib in ((256, 40_960), (2048, 71_680)):
        part = overhead("qemu", memory, virtiofsd=False).parts[0]
        assert kib / 1024 <= part.mib < kib / 1024 + 1.5


def test_what_shares_no_folders_has_no_virtiofsd() -> None:
    assert [p.name for p in overhead("firecracker", 256, virtiofsd=False).parts] == [
        "guest kernel and agent",
        "VMM",
        "shim",
    ]


def test_a_guest_sized_before_it_starts_may_use_what_was_added_for_it() -> None:
    small, sized = overhead("qemu", 256, virtiofsd=True), overhead("qemu", 256, virtiofsd=True, static_mib=96)
    assert sized.parts[0].mib == 96
    assert sized.memory_mib > small.memory_mib


def test_a_guest_whose_memory_is_taken_at_the_start_counts_whole(tmp_path: Path) -> None:
    found = overhead("qemu", 2048, virtiofsd=True, taken_at_start=True)
    assert found.parts[0].mib == 2048
    assert found.memory_mib > 2048
    text = settings("default_memory: 512, enable_mem_prealloc: true")
    assert int(classes(files_of(tmp_path, text))["kata-toy"]["memory"].removesuffix("Mi")) > 512


def test_a_passed_through_device_has_all_memory_pinned(tmp_path: Path) -> None:
    found = handlers_of(tmp_path, "runtime: {hypervisors: {qemu-nvidia-gpu: {}}}\n")[0].overhead
    assert found.parts[0].mib == 8192
    assert found.memory_mib > found.ceiling_mib > 8192


def test_a_guest_elsewhere_takes_no_memory_here(tmp_path: Path) -> None:
    found = handlers_of(tmp_path, "image: {dax: false}\nruntime: {hypervisors: {remote: {dialects: [go]}}}\n")[
        0
    ].overhead
    assert [part.name for part in found.parts] == ["VMM", "shim"]
    assert found.memory_mib < 128


def test_the_spec_may_give_the_overhead(tmp_path: Path) -> None:
    files = files_of(tmp_path, "runtime: {overhead: {memory_mib: 77, cpu: 0.5}}\n")
    assert classes(files)["kata-toy"] == {"memory": "77Mi", "cpu": "500m"}
    assert "the spec's (runtime.overhead)" in files["kubernetes/runtimeclass.yaml"]
    measured = classes(files_of(tmp_path))["kata-toy"]
    assert classes(files_of(tmp_path, "runtime: {overhead: {cpu: 1}}\n"))["kata-toy"] == {**measured, "cpu": "1000m"}


@pytest.mark.parametrize(
    "text",
    ["memory_mib: 0", "memory_mib: 15", "memory_mib: -1", "memory_mib: 1.5", "memory_mib: 192Mi", "memory_mib: 2000000",
     "cpu: 0", "cpu: -1", "cpu: 250m", "cpu: 2000", "memory: 192", "cpus: 1", "[]", "memory_mib: null"],
)  # fmt: skip
def test_an_overhead_that_is_none_is_refused_at_its_place(tmp_path: Path, text: str) -> None:
    given = text if text == "[]" else f"{{{text}}}"
    with pytest.raises(InputError) as caught:
        stage_of(tmp_path, f"runtime: {{overhead: {given}}}\n")
    assert caught.value.problems[0].where is not None
    assert caught.value.problems[0].where.line == 3


def test_the_class_says_what_its_overhead_is_made_of(tmp_path: Path) -> None:
    text = files_of(tmp_path)["kubernetes/runtimeclass.yaml"]
    for word in ("guest kernel and agent", "VMM", "virtiofsd", "shim", "measured", "25% more", "320Mi"):
        assert word in text


def test_the_figures_satisfy_their_schema(root: Path) -> None:
    check(root, "overheads", json.loads((root / "schemas/overheads.json").read_text()))


# ---- annotations ----

VALUES = {
    "path": "/usr/bin/qemu",
    "kernel": "/k",
    "image": "/i",
    "default_vcpus": 1.0,
    "default_memory": 256,
    "virtio_fs_daemon": "/usr/libexec/virtiofsd",
    "valid_hypervisor_paths": ["/usr/bin/qemu*"],
    "valid_virtio_fs_daemon_paths": ["/opt/*"],
}


@pytest.mark.parametrize(
    ("enabled", "admitted"),
    [
        ([], set()),
        (["default_memory"], {"default_memory"}),
        (["default_vcpus", "default_memory"], {"default_vcpus", "default_memory"}),
        (["default_.*"], {"default_vcpus", "default_memory"}),
        (["kernel_params"], set()),
        (["kernel"], {"kernel"}),
        (["^kernel$", "image"], {"kernel", "image"}),
        (["path"], {"path"}),
        (["virtio_fs_daemon"], set()),  # its valid paths do not admit it
        ([".*"], {"path", "kernel", "image", "default_vcpus", "default_memory"}),
        (["("], set()),  # no expression
        (["["], set()),
        (["default_memory", "("], {"default_memory"}),
        (["DEFAULT_MEMORY"], set()),
        (["io.katacontainers.config.hypervisor.default_memory"], set()),
        (["m"], {"default_memory", "image"}),  # found anywhere in the name
    ],
)
def test_only_what_the_configuration_admits_is_annotated(enabled: list[str], admitted: set[str]) -> None:
    found, refused = describe({**VALUES, "enable_annotations": enabled})
    assert {key.removeprefix(PREFIX) for key in found} == admitted
    assert set(found) | set(refused) == {PREFIX + key for key in VALUES if not key.startswith("valid_")}
    assert all(isinstance(value, str) for value in found.values())


def test_annotations_are_text_and_the_reasons_are_told(tmp_path: Path) -> None:
    files = files_of(tmp_path, settings('enable_annotations: ["kernel", "image", "default_memory"]'))
    found = json.loads(files["annotations/kata-toy.json"])["annotations"]
    assert found == {
        f"{PREFIX}kernel": "/opt/toy/share/kata-containers/vmlinux-6.12.1",
        f"{PREFIX}image": "/opt/toy/share/kata-containers/toy.img",
        f"{PREFIX}default_memory": found[f"{PREFIX}default_memory"],
    }
    assert found[f"{PREFIX}default_memory"].isdigit()
    pod = files["kubernetes/pod-kata-toy.yaml"]
    assert yaml.safe_load(pod)["metadata"]["annotations"] == found
    assert f"{PREFIX}path: enable_annotations does not admit path" in pod
    arguments = files["annotations/kata-toy.args"].splitlines()
    assert f"--annotation={PREFIX}image=/opt/toy/share/kata-containers/toy.img" in arguments
    assert all(" " not in word for word in arguments)  # $(cat FILE) must not split one


# ---- the index ----


def test_the_index_reads_back_as_what_was_written(tmp_path: Path) -> None:
    read = read_wiring(wired_set(tmp_path, TWO))
    written = handlers_of(tmp_path, TWO)
    assert [(h.name, h.shim, h.config, h.command, h.overhead, h.annotations, h.refused) for h in read.handlers] == [
        (h.name, h.shim, h.config, h.command, h.overhead, h.annotations, h.refused) for h in written
    ]
    assert read_wiring(read.file) == read


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"version": 1}', b"[" * 100_000, "version", "handlers", "prefix",
        "wrapper", {"version": 2}, {"prefix": "opt/toy"}, {"handlers": []}, {"handlers": [{}]}, {"wrapper": "A/../b"},
        {"wrapper": "x\n[evil]"}, {"name": 5}, {"more": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_a_damaged_index_is_refused_with_its_place(tmp_path: Path, damage: Any) -> None:
    file = wired_set(tmp_path) / "share/toy/wiring.json"
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    else:
        data = json.loads(file.read_text())
        if isinstance(damage, str):
            del data[damage]
        else:
            data |= damage
        file.write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        read_wiring(tmp_path / "set")
    assert str(file) in str(caught.value)


def test_a_folder_without_or_with_several_sets_is_told(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError):
            read_wiring(place)
    folder = wired_set(tmp_path)
    (folder / "share/other").mkdir()
    (folder / "share/other/wiring.json").write_text("{}")
    with pytest.raises(InputError, match="several sets"):
        read_wiring(folder)
    assert read_wiring(folder / "share/toy/wiring.json").name == "toy"


# ---- TOML as we write it ----


@pytest.mark.parametrize(
    "tree",
    [
        {"a": 1, "b": {"c": "x"}},
        {"a": {"b.c": {"d e": 'quote" \\ tab\t'}}},
        {"list": [{"name": "one"}, {"name": "two", "n": 2}]},
        {"a": {"b": {"c": {"d": True}}}, "e": {"f": [1, 2]}},
        {"t": {"empty": []}},
    ],
)
def test_toml_says_what_the_tree_says(tree: dict[str, Any]) -> None:
    assert tomllib.loads(as_toml(tree)) == tree
