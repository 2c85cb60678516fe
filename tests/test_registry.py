"""Container images from registries: found by tag or digest, held to digests, kept for when there is no network."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from image_parts import AGENT, Given, tar_tree
from kata_toolkit.errors import InputError, ToolError
from kata_toolkit.events import ignore
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Entry, Store
from kata_toolkit.registry import Reference, manifest_digest
from kata_toolkit.rootfs.tree import read_padded
from kata_toolkit.spec.model import OciRootfs
from kata_toolkit.stages.rootfs import RootfsStage
from kata_toolkit.stages.sources import SourcesStage
from oci_parts import Layout
from registry_parts import Registry, home_without_tls, serving

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed"),
]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with serving() as found:
        monkeypatch.setenv("HOME", home_without_tls(tmp_path, found.host))
        yield found


def layout(folder: Path, content: bytes = b"shell", arch: str = "amd64", **more: Any) -> Path:
    made = Layout(folder)
    made.image({"bin": None, "bin/sh": content, "old": b""}, {".wh.old": b"", "etc/conf": b"x"}, arch=arch, **more)
    return made.done()


def build(source: OciRootfs, folder: Path, *, offline: bool = False, arch: str = "x86_64") -> Entry:
    """The root file system from an image, in the store below ``folder``."""
    store = Store(folder / "cache")
    stages = [
        SourcesStage(None, image=source, arch=arch),
        Given("agent", {"init": AGENT}),
        RootfsStage(source, arch=arch),
    ]
    engine = Engine("test", stages, store, BuildInputs(store, offline=offline), ignore, io.StringIO(), 1)
    return engine.build(["rootfs"])["rootfs"]


def shell_of(entry: Entry) -> bytes:
    node = tar_tree(entry.path("rootfs.tar")).get(b"bin/sh")
    assert node is not None
    assert node.content is not None
    return read_padded(node.content, 0, node.size)


def refusal(source: OciRootfs, folder: Path, *, offline: bool = False) -> str:
    with pytest.raises(ToolError) as caught:
        build(source, folder, offline=offline)
    return caught.value.problems[0].message


@pytest.mark.parametrize(
    ("text", "host", "asked"),
    [
        ("docker.io/library/busybox:1.36", "docker.io", "docker://docker.io/library/busybox:1.36"),
        ("busybox", "docker.io", "docker://busybox:latest"),
        ("localhost:5000/a/b", "localhost:5000", "docker://localhost:5000/a/b:latest"),
        ("quay.io/x:1@sha256:" + "a" * 64, "quay.io", "docker://quay.io/x@sha256:" + "a" * 64),
    ],
)
def test_references(text: str, host: str, asked: str) -> None:
    reference = Reference.of(text)
    assert (reference.host, reference.at()) == (host, asked)


def test_an_image_by_its_tag(registry: Registry, tmp_path: Path) -> None:
    digest = registry.put("team/root", "v1", layout(tmp_path / "image"))
    source = OciRootfs(reference=f"{registry.host}/team/root:v1")
    entry = build(source, tmp_path)
    tree = tar_tree(entry.path("rootfs.tar"))
    assert shell_of(entry) == b"shell"
    assert b"old" not in tree
    assert b"sbin/init" in tree
    (component,) = json.loads(entry.path("rootfs.json").read_text())["components"]
    assert (component["kind"], component["name"], component["version"]) == ("oci", "root", "v1")
    assert (component["sha256"], component["namespace"]) == (digest, f"{registry.host}/team")


def test_a_tag_that_moved_gives_another_image_and_a_pinned_one_the_same(registry: Registry, tmp_path: Path) -> None:
    first = registry.put("root", "v1", layout(tmp_path / "one", b"one"))
    source = OciRootfs(reference=f"{registry.host}/root:v1")
    assert shell_of(build(source, tmp_path)) == b"one"
    registry.put("root", "v1", layout(tmp_path / "two", b"two"))
    assert shell_of(build(source, tmp_path)) == b"two"
    for pinned in (
        OciRootfs(reference=f"{registry.host}/root:v1", sha256=first),
        OciRootfs(reference=f"{registry.host}/root:v1@sha256:{first}"),
    ):
        assert shell_of(build(pinned, tmp_path)) == b"one"


def test_nothing_is_asked_for_twice_when_the_digest_is_known(registry: Registry, tmp_path: Path) -> None:
    digest = registry.put("root", "v1", layout(tmp_path / "image"))
    build(OciRootfs(reference=f"{registry.host}/root:v1"), tmp_path)
    registry.asked.clear()
    build(OciRootfs(reference=f"{registry.host}/root@sha256:{digest}"), tmp_path)
    assert registry.asked == []


def test_the_guests_architecture_chooses(registry: Registry, tmp_path: Path) -> None:
    described = []
    for arch in ("arm64", "amd64"):
        folder = layout(tmp_path / arch, arch.encode(), arch)
        registry.put("one", arch, folder)
        (manifest,) = json.loads((folder / "index.json").read_text())["manifests"]
        described.append({**manifest, "platform": {"os": "linux", "architecture": arch}})
    attestation = {**described[0], "platform": {"os": "unknown", "architecture": "unknown"}}
    digest = registry.put_index("root", "v1", [attestation, *described])
    for reference in (f"{registry.host}/root:v1", f"{registry.host}/root@sha256:{digest}"):
        for arch, expected in (("x86_64", b"amd64"), ("arm64", b"arm64")):
            assert shell_of(build(OciRootfs(reference=reference), tmp_path / arch, arch=arch)) == expected
            assert shell_of(build(OciRootfs(reference=reference), tmp_path / arch, arch=arch, offline=True)) == expected
    with pytest.raises(InputError, match="has no image for linux/s390x") as caught:
        manifest_digest(f"{registry.host}/root:v1", "s390x", tmp_path / "cache", offline=False)
    assert caught.value.problems[0].hint == "there are: linux/amd64, linux/arm64"


def test_offline(registry: Registry, tmp_path: Path) -> None:
    """From the store alone, also once the store is emptied and only the pool is left; or what is missing, by name."""
    digest = registry.put("root", "v1", layout(tmp_path / "image"))
    reference = f"{registry.host}/root:v1"
    source = OciRootfs(reference=reference)
    assert refusal(source, tmp_path, offline=True) == f"offline, and what {reference} is for amd64 is not in the cache"
    pinned = OciRootfs(reference=reference, sha256=digest)
    assert f"sha256:{digest}" in refusal(pinned, tmp_path, offline=True)
    build(source, tmp_path)
    registry.fails = 500
    registry.asked.clear()
    shutil.rmtree(tmp_path / "cache/objects")
    assert shell_of(build(source, tmp_path, offline=True)) == b"shell"
    layers = json.loads(registry.blobs[digest])["layers"]
    lost = layers[1]["digest"].removeprefix("sha256:")
    (tmp_path / "cache/downloads" / lost).write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "cache/objects")
    message = refusal(source, tmp_path, offline=True)
    assert lost in message
    assert layers[0]["digest"] not in message
    assert registry.asked == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "has no"), (401, "does not give"), (403, "does not give"), (500, "cannot fetch")],
)
def test_a_registry_that_refuses(registry: Registry, tmp_path: Path, status: int, said: str) -> None:
    registry.put("root", "v1", layout(tmp_path / "image"))
    registry.fails = status
    message = refusal(OciRootfs(reference=f"{registry.host}/root:v1"), tmp_path)
    assert said in message
    assert f"{registry.host}/root:v1" in message
    assert "level=fatal" not in message


def test_a_name_that_is_not_there(registry: Registry, tmp_path: Path) -> None:
    message = refusal(OciRootfs(reference=f"{registry.host}/nothing:v1"), tmp_path)
    assert message.startswith(f"{registry.host} has no {registry.host}/nothing:v1: ")


def test_a_registry_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"localhost:{free.getsockname()[1]}"
    monkeypatch.setenv("HOME", home_without_tls(tmp_path, host))
    assert refusal(OciRootfs(reference=f"{host}/root:v1"), tmp_path).startswith(
        f"cannot reach {host} for {host}/root:v1"
    )


def test_blobs_that_are_not_what_they_are_named(registry: Registry, tmp_path: Path) -> None:
    digest = registry.put("root", "v1", layout(tmp_path / "image"))
    for name in registry.blobs:
        if name != digest:
            registry.blobs[name] += b"\n"
    refusal(OciRootfs(reference=f"{registry.host}/root:v1"), tmp_path)
    kept = [path.name for path in (tmp_path / "cache/downloads").iterdir() if len(path.name) == 64]
    assert kept == []


def test_a_manifest_that_is_not_what_was_asked_for(registry: Registry, tmp_path: Path) -> None:
    digest = registry.put("root", "v1", layout(tmp_path / "image"))
    registry.blobs[digest] += b"\n"
    with pytest.raises((InputError, ToolError), match=r"sha256|digest"):
        build(OciRootfs(reference=f"{registry.host}/root@sha256:{digest}"), tmp_path)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, "of schema 1"),
        ({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}, "has no image for linux/amd64"),
        ({"schemaVersion": 2, "manifests": "none"}, "has no image for linux/amd64"),
        ({"schemaVersion": 2, "config": {}, "layers": [{"digest": "sha256:../../x"}]}, "which is no sha256"),
        ({"schemaVersion": 2}, "is no container image"),
        ([], "is not what a container image has there"),
    ],
)
def test_odd_manifests(registry: Registry, tmp_path: Path, manifest: Any, said: str) -> None:
    data = json.dumps(manifest).encode()
    registry.tags["root", "v1"] = "f" * 64
    registry.blobs["f" * 64] = data
    with pytest.raises((InputError, ToolError)) as caught:
        build(OciRootfs(reference=f"{registry.host}/root:v1"), tmp_path)
    if isinstance(caught.value, InputError):
        assert said in caught.value.problems[0].message


def test_without_skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kata_toolkit.run.which", lambda name: None)
    with pytest.raises(ToolError, match=r"^skopeo, which fetches .*, is not installed") as caught:
        manifest_digest("localhost:1/root", "amd64", tmp_path, offline=False)
    assert caught.value.problems[0].hint == "apt-get install skopeo"


def test_a_lock_file_holds_a_tag_to_its_image(
    registry: Registry, tool: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked while a tag meant one image, built when it means another, and again when there is no registry."""
    monkeypatch.setenv("KATA_TOOLKIT_CACHE", str(tmp_path / "cache"))
    first = registry.put("root", "v1", layout(tmp_path / "one", b"the first image"))
    (tmp_path / "vmlinux").write_bytes(Path("/bin/busybox").read_bytes())
    spec = {
        "version": 1,
        "name": "guest",
        "kernel": {"source": {"kind": "prebuilt", "vmlinux": {"path": "vmlinux"}}},
        "agent": {"kind": "binary", "path": "/bin/busybox"},
        "rootfs": {"kind": "oci", "reference": f"{registry.host}/root:v1"},
        "image": {"format": "erofs"},
    }
    (tmp_path / "guest.yaml").write_text(json.dumps(spec))

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tool, *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    done = run("lock", "guest.yaml")
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "guest.lock.json").read_text())["inputs"]["rootfs.image"]["answer"]
    assert answer["digest"] == first
    registry.put("root", "v1", layout(tmp_path / "two", b"the second image"))
    build = ("build", "-q", "guest.yaml", "--only", "image", "--locked")
    done = run(*build, "--offline", "-o", "none")
    assert done.returncode == 3
    assert first in done.stderr
    done = run(*build, "-o", "one-set")
    assert done.returncode == 0, done.stderr
    registry.fails = 500
    shutil.rmtree(tmp_path / "cache/objects")
    done = run(*build, "--offline", "-o", "again")
    assert done.returncode == 0, done.stderr
    images = [next((tmp_path / name).rglob("*.img")).read_bytes() for name in ("one-set", "again")]
    assert images[0] == images[1]
    assert b"the first image" in images[0]
    assert b"the second image" not in images[0]
    manifest = json.loads((tmp_path / "again/manifest.json").read_text())
    jsonschema.validate(manifest, json.loads((root / "schemas/manifest.schema.json").read_text()))
    assert manifest["sources"]["image"]["digest"] == first
    assert manifest["root"]["agent"]["kind"] == "binary"


@pytest.fixture
def real_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Docker's own registry, with a folder of ours as its store."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"localhost:{free.getsockname()[1]}"
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": f"127.0.0.1:{host.partition(':')[2]}"},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(config))
    process = subprocess.Popen([program, "serve", tmp_path / "registry.yml"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        monkeypatch.setenv("HOME", home_without_tls(tmp_path, host))
        yield host
    finally:
        process.terminate()
        process.wait()


@pytest.mark.full
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_a_real_registry(real_registry: str, tmp_path: Path, form: str) -> None:
    """What another program pushed, in both kinds of manifests, to a registry that is not ours."""
    image = layout(tmp_path / "image", tag="t")
    push = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "--format", form]
    subprocess.run([*push, f"oci:{image}:t", f"docker://{real_registry}/team/root:v1"], check=True)
    assert shell_of(build(OciRootfs(reference=f"{real_registry}/team/root:v1"), tmp_path)) == b"shell"
    with pytest.raises(ToolError, match="has no"):
        build(OciRootfs(reference=f"{real_registry}/team/root:v2"), tmp_path)
