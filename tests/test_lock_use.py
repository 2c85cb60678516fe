"""What a lock file does: builds are held to it, ``lock`` writes it, and once all was fetched no network is needed."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kata_toolkit.apt import LISTS
from oci_parts import Layout
from package_parts import elf
from registry_parts import home_without_tls, serving

MISSING = "a0" * 32
LINUX = "linux-source-6.12"
OLD_LINUX = {"kind": "debian", "package": LINUX, "version": "6.12.1-1", "sha256": MISSING, "size": 1}
needs_lists = pytest.mark.skipif(not any(LISTS.glob("*_Packages*")), reason="this machine has no apt package lists")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server's address: it has /vmlinux and /config."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "vmlinux").write_bytes(elf())
    (folder / "bzimage").write_bytes(b"never fetched")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass
class Desk:
    """A folder with a spec, and the program with a cache of its own."""

    folder: Path
    tool: Path
    cache: Path

    @property
    def spec(self) -> Path:
        return self.folder / "s.yaml"

    @property
    def lock(self) -> Path:
        return self.folder / "s.lock.json"

    def write(self, kernel: str, rootfs: str = "{kind: minimal}", more: str = "") -> None:
        self.spec.write_text(f"version: 1\nname: s\nkernel:\n  source: {kernel}\nrootfs: {rootfs}\n{more}")

    def run(self, *words: str | Path, before: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KATA_TOOLKIT_CACHE": str(self.cache), **env}
        argv = [*before, str(self.tool), *map(str, words)]
        return subprocess.run(argv, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def good(self, *words: str | Path, **more: Any) -> str:
        done = self.run(*words, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bad(self, status: int, *words: str | Path, **more: Any) -> str:
        done = self.run(*words, **more)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def document(self) -> Any:
        return json.loads(self.lock.read_text())

    def edit(self, *steps: str, value: Any) -> None:
        """Change one value of the lock, which keeps its form."""
        document = self.document()
        inner = document
        for step in steps[:-1]:
            inner = inner[step]
        inner[steps[-1]] = value
        self.lock.write_text(json.dumps(document, indent=2) + "\n")


@pytest.fixture
def desk(tmp_path: Path, tool: Path) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk(folder, tool, tmp_path / "cache")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the agent needs to be compiled once."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def warm(desk: Desk, shared: Path) -> Desk:
    desk.cache = shared
    return desk


def first(done: subprocess.CompletedProcess[str]) -> Any:
    """The first JSON value on stdout."""
    return json.JSONDecoder().raw_decode(done.stdout)[0]


def fetched(web: str) -> str:
    """A kernel that was built elsewhere, by url."""
    return f"{{kind: prebuilt, vmlinux: {{url: {web}/vmlinux, sha256: {hashlib.sha256(elf()).hexdigest()}}}}}"


def local(desk: Desk) -> str:
    (desk.folder / "vmlinux").write_bytes(elf())
    return "{kind: prebuilt, vmlinux: {path: vmlinux}}"


def given_agent(desk: Desk) -> str:
    """An agent that needs no compiling."""
    (desk.folder / "agent").write_bytes(elf())
    return "agent: {kind: binary, path: agent}\n"


def debian(desk: Desk, answer: dict[str, Any], package: str = LINUX) -> None:
    """A spec with a Debian kernel, and a lock that was written some time ago."""
    desk.write(f"{{kind: debian, package: {package}}}")
    inputs = {"kernel.source": {"request": {"package": LINUX}, "answer": answer}}
    document = {"version": 1, "toolkit": "0.0.1", "inputs": inputs, "tools": {"gcc": "gcc 1.0"}}
    desk.lock.write_text(json.dumps(document))


# ---- writing ----


def test_lock_writes_what_the_schema_says_without_places_of_this_machine(desk: Desk, root: Path) -> None:
    desk.write(local(desk))
    told = desk.good("lock", "s.yaml")
    assert "s.lock.json: written" in told
    document = desk.document()
    jsonschema.validate(document, json.loads((root / "schemas/lock.schema.json").read_text()))
    assert document["inputs"].keys() == {"rootfs.busybox"}
    assert {"protoc-c", "ld", "libc.a"} <= document["tools"].keys()
    assert not document["tools"].keys() & {"e2fsck", "sfdisk", "veritysetup"}, "tools that only look decide no bytes"
    for text in (str(desk.folder), str(Path.home()), "/usr/", os.uname().nodename):
        assert text not in desk.lock.read_text()
    before = desk.lock.read_bytes(), desk.lock.stat().st_mtime_ns
    assert "up to date" in desk.good("lock", "s.yaml", TZ="Asia/Tokyo", LC_ALL="C", USER="x")
    assert before == (desk.lock.read_bytes(), desk.lock.stat().st_mtime_ns), "what is up to date is not written again"
    desk.edit("toolkit", value="0.0.1")
    desk.good("lock", "s.yaml", "--check")


def test_every_tool_of_a_built_set_that_decides_bytes_is_in_its_lock(desk: Desk, built_set: Path, root: Path) -> None:
    shutil.copy(root / "examples/quickstart.yaml", desk.spec)
    if not any(LISTS.glob("*_Packages*")):
        pytest.skip("this machine has no apt package lists")
    desk.good("lock", "s.yaml")
    stages = json.loads((built_set / "manifest.json").read_text())["stages"].values()
    used = {tool for stage in stages for tool in stage["tools"]}
    locked = desk.document()["tools"]
    assert used - locked.keys() <= {"e2fsck", "sfdisk"}, "which only look"
    assert locked.keys() - used <= {"bzip2", "lz4", "lzop", "xz", "zstd"}, "more than a kernel could need"


def test_check_writes_nothing(desk: Desk, root: Path) -> None:
    desk.write(local(desk))
    assert "there is no s.lock.json" in desk.bad(1, "lock", "s.yaml", "--check")
    assert not desk.lock.exists()
    desk.good("lock", "s.yaml")
    desk.good("lock", "s.yaml", "--check")
    desk.edit("tools", "protoc-c", value="protobuf-c 0.1")
    before = desk.lock.read_bytes()
    done = desk.run("lock", "s.yaml", "--check", "--json")
    assert done.returncode == 1
    assert desk.lock.read_bytes() == before
    told = first(done)
    jsonschema.validate(told, json.loads((root / "schemas/lock-changes.schema.json").read_text()))
    assert (told["changed"], told["written"]) == (True, False)
    assert [(c["key"], c["name"], c["old"]) for c in told["changes"]] == [("tools", "protoc-c", "protobuf-c 0.1")]


@needs_lists
def test_an_old_answer_stays_until_it_is_to_be_found_anew(desk: Desk) -> None:
    debian(desk, OLD_LINUX)
    desk.good("lock", "s.yaml")
    assert desk.document()["inputs"]["kernel.source"]["answer"] == OLD_LINUX
    changes = first(desk.run("lock", "s.yaml", "--update", "--check", "--json"))["changes"]
    assert [(c["name"], c["old"]) for c in changes if c["key"] == "kernel.source"] == [(LINUX, "6.12.1-1")]
    told = desk.good("lock", "s.yaml", "--update", LINUX)
    assert re.search(rf"kernel\.source +{LINUX} +6\.12\.1-1 → 6\.12\.\d+", told)
    assert desk.document()["inputs"]["kernel.source"]["answer"]["sha256"] != MISSING


@needs_lists
def test_only_what_is_named_is_found_anew(desk: Desk) -> None:
    debian(desk, OLD_LINUX)
    desk.good("lock", "s.yaml")
    desk.good("lock", "s.yaml", "--update", "rootfs.busybox")
    assert desk.document()["inputs"]["kernel.source"]["answer"] == OLD_LINUX
    desk.good("lock", "s.yaml", "--update", "kernel.source")
    assert desk.document()["inputs"]["kernel.source"]["answer"] != OLD_LINUX


def test_a_name_that_is_not_in_the_lock_is_refused(desk: Desk) -> None:
    debian(desk, OLD_LINUX)
    told = desk.bad(2, "lock", "s.yaml", "--update", "linux-source-6.1", "kernel.sourec")
    assert "nothing in the lock file is called linux-source-6.1" in told
    assert f'did you mean "{LINUX}"?' in told
    assert 'did you mean "kernel.source"?' in told
    assert "--update NAME" in desk.bad(2, "lock", "s.yaml", LINUX)


@needs_lists
def test_a_new_wish_is_resolved_and_told(desk: Desk) -> None:
    debian(desk, OLD_LINUX, package="linux-source-6.1")
    told = desk.good("lock", "s.yaml")
    assert re.search(r"kernel\.source +linux-source-6\.1 +\(new\) → 6\.1\.\d", told)
    assert re.search(rf"kernel\.source +{LINUX} +6\.12\.1-1 → \(gone\)", told)


def test_a_folder_that_cannot_be_written(desk: Desk, unprivileged: Any) -> None:
    desk.write(local(desk))
    desk.folder.chmod(0o555)
    for folder in (desk.folder, *desk.folder.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    cache = desk.folder.parent / "cache"
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    try:
        before = tuple(unprivileged([]))
        done = desk.run("lock", "s.yaml", before=before, KATA_TOOLKIT_CACHE=str(cache), HOME=str(cache))
    finally:
        desk.folder.chmod(0o755)
    assert done.returncode == 3, done.stderr
    assert "cannot write" in done.stderr
    assert not [path for path in desk.folder.iterdir() if "lock" in path.name]


# ---- being held to it ----


def test_locked_needs_a_lock(desk: Desk) -> None:
    desk.write(local(desk))
    told = desk.bad(2, "build", "s.yaml", "--locked")
    assert "s.lock.json, which --locked needs, is not there" in told
    assert "kata-toolkit lock s.yaml" in told
    assert "kata-toolkit lock s.yaml" in desk.bad(2, "fetch", "s.yaml", "--locked")


def test_the_manifest_names_the_lock(desk: Desk, root: Path) -> None:
    desk.write(local(desk), more=given_agent(desk))
    desk.good("build", "s.yaml", "-q", "--only", "rootfs", "-o", "without")
    desk.good("lock", "s.yaml")
    desk.good("build", "s.yaml", "-q", "--only", "rootfs", "-o", "with", "--locked")
    manifests = [json.loads((desk.folder / each / "manifest.json").read_text()) for each in ("without", "with")]
    for manifest in manifests:
        jsonschema.validate(manifest, json.loads((root / "schemas/manifest.schema.json").read_text()))
    assert "lock_sha256" not in manifests[0]
    assert manifests[1].pop("lock_sha256") == hashlib.sha256(desk.lock.read_bytes()).hexdigest()
    assert manifests[0] == manifests[1]


def test_another_tool_is_a_note_and_with_locked_an_error_at_its_line(warm: Desk) -> None:
    warm.write(local(warm))
    warm.good("lock", "s.yaml")
    warm.edit("tools", "protoc-c", value="protobuf-c 0.1")
    done = warm.run("build", "s.yaml", "--only", "agent")
    assert done.returncode == 0, done.stderr
    assert '"protobuf-c 0.1" in s.lock.json: the bytes may differ' in done.stdout + done.stderr
    told = warm.bad(2, "build", "s.yaml", "--only", "agent", "--locked")
    line = next(n for n, text in enumerate(warm.lock.read_text().splitlines(), 1) if "protobuf-c 0.1" in text)
    assert f"s.lock.json:{line}:" in told
    assert re.search(r'protoc-c is "protobuf-c 1.*" here, and "protobuf-c 0.1" in s.lock.json', told)
    warm.good("build", "s.yaml", "--only", "kernel", "--locked", "-q")


def test_all_tools_that_differ_are_told_at_once(desk: Desk) -> None:
    desk.write(local(desk))
    desk.good("lock", "s.yaml")
    desk.edit("tools", value={"ld": "GNU ld 1.0", "protoc-c": "protobuf-c 0.1"})
    told = desk.bad(2, "build", "s.yaml", "--locked")
    assert told.count("error: ") == told.count("s.lock.json:") >= 3
    assert "and not in s.lock.json at all" in told


def test_another_busybox_than_the_locked_one_is_refused(desk: Desk) -> None:
    desk.write(local(desk))
    desk.good("lock", "s.yaml")
    desk.edit("inputs", "rootfs.busybox", "answer", "version", value="BusyBox v1.30.0 multi-call binary.")
    told = desk.bad(2, "build", "s.yaml")
    assert "BusyBox v1.30.0 multi-call binary. in s.lock.json" in told
    assert "--update rootfs.busybox" in told
    desk.good("lock", "s.yaml")
    desk.edit("inputs", "rootfs.busybox", "answer", "sha256", value=MISSING)
    assert f"(sha256 {MISSING[:12]}…) in s.lock.json" in desk.bad(2, "build", "s.yaml")
    assert "rootfs.busybox" in desk.bad(2, "plan", "s.yaml")


def test_a_lock_that_is_older_than_the_spec_is_noticed_at_the_specs_line(desk: Desk) -> None:
    debian(desk, OLD_LINUX, package="linux-source-6.1")
    told = desk.bad(2, "build", "s.yaml")
    assert "s.yaml:4:3" in told
    assert (
        f'kernel.source has changed since s.lock.json was written: package was "{LINUX}", is "linux-source-6.1"' in told
    )
    assert "s.lock.json has no answer for rootfs.busybox" in told, "all that is stale is told at once"
    assert "hint: kata-toolkit lock s.yaml" in told


def test_a_pin_that_came_later_makes_the_lock_stale(desk: Desk) -> None:
    debian(desk, OLD_LINUX)
    desk.write(f"{{kind: debian, package: {LINUX}, version: 6.12.2-1}}", "{kind: minimal, busybox: false}")
    assert 'version was not given, is "6.12.2-1"' in desk.bad(2, "build", "s.yaml")


def test_what_the_spec_no_longer_asks_for(desk: Desk) -> None:
    desk.write(local(desk), more=given_agent(desk))
    desk.good("lock", "s.yaml")
    desk.write(local(desk), "{kind: minimal, busybox: false}", given_agent(desk))
    told = desk.run("build", "s.yaml", "-o", "o1")
    assert told.returncode == 0, told.stderr
    assert "nothing in the spec asks for rootfs.busybox any more" in told.stdout + told.stderr
    assert re.search(
        r"s\.lock\.json:\d+:\d+: error: nothing in the spec asks", desk.bad(2, "build", "s.yaml", "--locked")
    )
    assert re.search(r"rootfs\.busybox .*→ \(gone\)", desk.good("lock", "s.yaml"))
    desk.good("build", "s.yaml", "--locked", "-q")


def test_a_broken_lock_stops_every_verb_that_would_use_it(desk: Desk) -> None:
    desk.write(local(desk))
    desk.lock.write_text('{"version": 1,\n')
    for words in (["build"], ["build", "--locked"], ["lock"], ["fetch"], ["plan"], ["validate"]):
        assert "s.lock.json:2:1: error: is no JSON" in desk.bad(2, words[0], "s.yaml", *words[1:])


@needs_lists
def test_a_version_that_is_gone_from_the_archives(desk: Desk) -> None:
    debian(desk, OLD_LINUX)
    desk.good("lock", "s.yaml")
    told = desk.bad(2, "fetch", "s.yaml")
    assert f"{LINUX} 6.12.1-1 is in none of the apt sources any more (there are: 6.12." in told
    assert "snapshot" in told
    assert "kata-toolkit lock SPEC --update" in told


def test_another_file_than_the_locked_one_is_never_taken(desk: Desk, web: str) -> None:
    """The pool holds what was fetched by digest; what comes from elsewhere with another digest is refused."""
    wrong = fetched(web).replace(hashlib.sha256(elf()).hexdigest(), MISSING)
    desk.write(wrong)
    desk.good("lock", "s.yaml")
    assert f"not {MISSING}" in desk.bad(2, "build", "s.yaml", "--only", "kernel")


@pytest.mark.tool
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_an_image_stays_what_its_tag_was_when_it_was_locked(desk: Desk) -> None:
    with serving() as registry:
        home = home_without_tls(desk.folder, registry.host)
        digests = []
        for content in (b"old", b"new"):
            made = Layout(desk.folder / content.decode())
            made.image({"bin": None, "bin/sh": content})
            digests.append(registry.put("shell", "1", made.done()))
            if content == b"old":
                rootfs = f'{{kind: oci, reference: "{registry.host}/shell:1"}}'
                desk.write(local(desk), rootfs, given_agent(desk))
                desk.good("lock", "s.yaml", HOME=home)
        assert desk.document()["inputs"]["rootfs.image"]["answer"]["digest"] == digests[0]
        assert registry.blobs.pop(digests[0])  # gone from the registry, as old images go
        told = desk.bad(3, "build", "s.yaml", "--offline", HOME=home)
        assert f"(sha256 {digests[0]})" in told
        desk.bad(3, "fetch", "s.yaml", HOME=home)
        told = desk.good("lock", "s.yaml", "--update", "rootfs.image", HOME=home)
        assert f"{registry.host}/shell:1  {digests[0][:12]} → {digests[1][:12]}" in told
        desk.good("fetch", "s.yaml", "--locked", "-q", HOME=home)
    desk.good("build", "s.yaml", "--offline", "--locked", "-q", "--only", "rootfs", HOME=home)
    manifest = json.loads((desk.folder / "out/s/manifest.json").read_text())
    assert manifest["sources"]["image"]["digest"] == digests[1]


# ---- offline ----


def test_offline_tells_all_that_is_missing(desk: Desk, web: str) -> None:
    digest = hashlib.sha256(elf()).hexdigest()
    kernel = fetched(web).removesuffix("}") + f", bzimage: {{url: {web}/b, sha256: {MISSING}}}}}"
    desk.write(kernel, more=f"agent: {{kind: binary, url: {web}/agent, sha256: {'b1' * 32}}}\n")
    told = desk.bad(3, "build", "s.yaml", "--offline")
    assert told.count("offline, and this is not in the cache") == 3
    for text in (
        f"{web}/vmlinux (sha256 {digest})",
        f"{web}/b (sha256 {MISSING})",
        f"{web}/agent (sha256 {'b1' * 32})",
    ):
        assert text in told
    assert "kata-toolkit fetch" in told
    assert not (desk.folder / "out/s").exists()
    assert len(first(desk.run("build", "s.yaml", "--offline", "--json"))["errors"]) == 3


def test_offline_needs_only_what_is_built(desk: Desk, web: str) -> None:
    desk.write(fetched(web), more=given_agent(desk))
    desk.good("build", "s.yaml", "--offline", "--only", "image", "-q")
    assert "/vmlinux" in desk.bad(3, "build", "s.yaml", "--offline", "--only", "kernel")


def test_offline_names_a_locked_package_with_its_size(desk: Desk) -> None:
    debian(desk, {**OLD_LINUX, "size": 153_476_148})
    desk.write(f"{{kind: debian, package: {LINUX}}}", "{kind: minimal, busybox: false}")
    told = desk.bad(3, "build", "s.yaml", "--offline")
    assert f"{LINUX} 6.12.1-1 (sha256 {MISSING}, 153,476,148 bytes)" in told


def test_a_package_that_was_installed_where_the_lock_was_written(desk: Desk) -> None:
    debian(desk, {"kind": "installed", "package": LINUX, "version": "6.12.1-1", "sha256": MISSING})
    desk.write(f"{{kind: debian, package: {LINUX}}}", "{kind: minimal, busybox: false}")
    assert f"{LINUX} 6.12.1-1, which is not installed here" in desk.bad(3, "build", "s.yaml", "--offline")


def without_network() -> tuple[str, ...]:
    """What starts a program in a network namespace that has no interface but a dead lo."""
    for words in (("unshare", "-n"), ("unshare", "-rn")):
        if (
            shutil.which("unshare")
            and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
        ):
            return words
    return ()


def test_after_a_fetch_a_locked_build_needs_no_network(desk: Desk, web: str) -> None:
    before = without_network()
    if not before:
        pytest.skip("no network namespace can be made here")
    desk.write(fetched(web), more=given_agent(desk))
    desk.good("lock", "s.yaml")
    assert "vmlinux" in desk.bad(3, "build", "s.yaml", "--offline", "--locked", before=before)
    assert "cannot fetch" in desk.bad(3, "build", "s.yaml", "--locked", before=before), "there is a network"
    told = desk.good("fetch", "s.yaml", "--locked")
    assert "s: 1 fetched" in told
    assert "s: all is there" in desk.good("fetch", "s.yaml")
    desk.good("build", "s.yaml", "--offline", "--locked", "-q", before=before)
    manifest = json.loads((desk.folder / "out/s/manifest.json").read_text())
    assert not manifest["partial"]
    desk.good("build", "s.yaml", "--locked", "-q", "-o", "again")
    assert manifest == json.loads((desk.folder / "again/manifest.json").read_text())


def test_a_fetch_tells_programs_what_it_does(desk: Desk, web: str, root: Path) -> None:
    desk.write(fetched(web))
    events = [json.loads(line) for line in desk.good("fetch", "s.yaml", "--json").splitlines()]
    for event in events:
        jsonschema.validate(event, json.loads((root / "schemas/event.schema.json").read_text()))
    assert (events[0]["event"], events[0]["reason"]) == ("started", f"to fetch: {web}/vmlinux")
    assert events[-1] == {"event": "result", "name": "s", "fetched": {"sources": 1}}


def test_a_fetch_is_all_that_the_cache_needs_to_keep(desk: Desk, web: str) -> None:
    """A cache of nothing but downloads will do: what CI keeps between runs may be that."""
    desk.write(fetched(web))
    desk.good("fetch", "s.yaml", "-q")
    for path in desk.cache.iterdir():
        if path.name != "downloads":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    desk.good("build", "s.yaml", "--offline", "-q", "--only", "kernel")


@pytest.mark.full
@pytest.mark.tool
@needs_lists
def test_debian_packages_are_locked_fetched_and_installed_without_a_network(desk: Desk) -> None:
    before = without_network()
    if not before:
        pytest.skip("no network namespace can be made here")
    desk.write(local(desk), "{kind: debian, suite: bookworm, packages: [busybox]}", given_agent(desk))
    desk.good("lock", "s.yaml")
    packages = desk.document()["inputs"]["rootfs.packages"]["answer"]["packages"]
    assert {"libc6", "busybox", "coreutils"} <= {package["name"] for package in packages}
    missing = desk.bad(3, "build", "s.yaml", "--offline", "--locked", before=before)
    assert missing.count("offline, and this is not in the cache") == len(packages)
    desk.good("fetch", "s.yaml", "--locked", "-q")
    shutil.rmtree(desk.cache / "apt", ignore_errors=True)
    shutil.rmtree(desk.cache / "debian", ignore_errors=True)  # not even the lists are needed
    desk.good("build", "s.yaml", "--offline", "--locked", "-q", "--only", "image", before=before)
    old = next(package for package in packages if package["name"] == "busybox")
    told = desk.good("lock", "s.yaml", "--update", "busybox")
    assert "up to date" in told, "it is the newest already"
    document = desk.document()
    for package in document["inputs"]["rootfs.packages"]["answer"]["packages"]:
        if package["name"] in ("busybox", "libc6"):
            package["version"] = "0.1"
    desk.lock.write_text(json.dumps(document))
    told = desk.good("lock", "s.yaml", "--update", "busybox")
    assert f"0.1 → {old['version']}" in told
    versions = {p["name"]: p["version"] for p in desk.document()["inputs"]["rootfs.packages"]["answer"]["packages"]}
    assert versions["libc6"] == "0.1", "all else stays as it was locked"
