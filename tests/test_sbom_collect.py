"""What the bills say of parts that the quickstart does not have: patches, packages, crates, images, other sources."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path

import pytest
from kata_toolkit.cli.app import run
from kata_toolkit.components import Component
from kata_toolkit.pipeline.layout import artifacts
from kata_toolkit.pipeline.stage import Inputs, Recipe, Stage, Work
from kata_toolkit.pipeline.store import Entry, Store
from kata_toolkit.sbom.bill import Bill, uuid_of
from kata_toolkit.sbom.collect import Collection
from kata_toolkit.sbom.cyclonedx import cyclonedx_json
from kata_toolkit.sbom.documents import Documents
from kata_toolkit.sbom.purl import purl_of
from kata_toolkit.sbom.sources import sources_json
from kata_toolkit.sbom.spdx import spdx_json
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import GivenFile, Spec, TarballKernel
from kernel_harness import Bench, kernel_stages, member, tarball, tree_members
from sbom_checks import require_complete, require_cyclonedx, require_spdx

pytest_plugins = ("kernel_fixtures",)

PATCH = '--- a/Kconfig\n+++ b/Kconfig\n@@ -1,2 +1,2 @@\n-mainmenu "A small kernel"\n+mainmenu "B"\n \n'


@dataclasses.dataclass(frozen=True)
class Given(Stage):
    """A stage whose output is given: file → bytes."""

    name: str  # type: ignore[misc] # of each instance another
    title = "given"
    files: tuple[tuple[str, bytes], ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def plan(self, inputs: Inputs) -> Recipe:
        return Recipe(options={"files": [[n, d.hex()] for n, d in self.files], **dict(self.options)})

    def run(self, work: Work) -> None:
        for name, data in self.files:
            (work.out / name).parent.mkdir(parents=True, exist_ok=True)
            (work.out / name).write_bytes(data)


def rootfs(*components: Component, **options: str) -> Given:
    info = json.dumps({"version": 1, "components": [c.as_json() for c in components]}).encode()
    return Given("rootfs", (("rootfs.tar", b"tar"), ("rootfs.json", info)), tuple(options.items()))


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    (tmp_path / "s.yaml").write_text("version: 1\nname: s\n")
    return load_spec(tmp_path / "s.yaml")


def collected(spec: Spec, bench: Bench, *stages: Stage) -> Collection:
    return of_entries(spec, bench, bench.build(stages))


def of_entries(spec: Spec, bench: Bench, entries: dict[str, Entry]) -> Collection:
    store = Store(bench.cache)
    recipes = {stage: store.recipe(stage, entry.id) or {} for stage, entry in entries.items()}
    release = "6.12.9" if "kernel" in entries else None
    return Collection(spec, list(artifacts(spec, release, entries)), entries, recipes)


def sound(bill: Bill) -> tuple[bytes, bytes]:
    one, other = spdx_json(bill), cyclonedx_json(bill)
    require_complete(require_spdx(one), require_cyclonedx(other))
    return one, other


def part(collection: Collection, name: str) -> Component:
    [found] = [p.component for p in collection.parts if p.component.name == name]
    return found


@pytest.mark.tool
def test_a_compiled_kernel_with_its_patches(spec: Spec, bench: Bench, tmp_path: Path) -> None:
    members = [*tree_members(), member("linux-6.12.9/COPYING", b"GPL-2.0\n")]
    archive = tarball(tmp_path / "linux.tar.xz", [*members, member("linux-6.12.9/LICENSES/preferred/MIT", b"MIT\n")])
    (tmp_path / "b.patch").write_text(PATCH)
    (tmp_path / "a.patch").write_text(PATCH.replace("B", "C").replace("A small kernel", "B"))
    source = TarballKernel(GivenFile(path=archive))
    stages = kernel_stages(source, patches=(tmp_path / "b.patch", tmp_path / "a.patch"))
    entries = bench.build(stages, "kernel")
    collection = of_entries(spec, bench, entries)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert part(collection, "linux-source").sha256 == digest
    sources = json.loads(sources_json(collection, "s"))
    paths = ["share/s/licences/linux/patches/0001-b.patch", "share/s/licences/linux/patches/0002-a.patch"]
    assert [patch["path"] for patch in sources["kernel"]["patches"]] == paths, "in the order of the spec"
    assert sources["kernel"]["made_from"]["sha256"] == digest
    placed = {a.path: entries[a.stage].path(a.source) for a in artifacts(spec, "6.12.9", entries)}
    assert placed[paths[0]].read_text() == PATCH
    assert placed["share/s/licences/linux/COPYING"].read_text() == "GPL-2.0\n"
    assert placed["share/s/licences/linux/LICENSES/preferred/MIT"].read_text() == "MIT\n"
    spdx, cyclonedx = sound(collection.bill())
    assert spdx.count(b'"PATCH_FOR"') == 2
    [of_source] = [c for c in json.loads(cyclonedx)["components"] if c["name"] == "linux-source"]
    assert [p["diff"]["text"]["content"].split()[0] for p in of_source["pedigree"]["patches"]] == paths


def test_packages_crates_and_images(spec: Spec, bench: Bench) -> None:
    deb = Component(
        "libstdc++6", "12.2.0-14", "deb", "a" * 64, "amd64", "LicenseRef-Debian-x AND MIT", "", "gcc-12", "", "debian"
    )
    crate = Component("libc", "0.2.1", "cargo", "b" * 64, licence="MIT OR Apache-2.0")
    image = Component("alpine", "3.19", "oci", "c" * 64, origin="docker://x/alpine:3.19", namespace="docker.io/library")
    wrong = Component("odd", "1", licence="see file")
    collection = collected(spec, bench, rootfs(deb, crate, image, wrong))
    using = Component(
        "box", "1", "deb", source_name="box", source_version="1", built_using="glibc (= 2.36-9), g++ (= 1)"
    )
    of_box = json.loads(sources_json(collected(spec, bench, rootfs(using)), "s"))["parts"][0]
    assert of_box["built_using"] == [{"name": "glibc", "version": "2.36-9"}, {"name": "g++", "version": "1"}]
    spdx, cyclonedx = sound(collection.bill())
    packages = {p["name"]: p for p in json.loads(spdx)["packages"]}
    assert packages["libstdc++6"]["sourceInfo"] == "built from source package: gcc-12"
    assert packages["odd"]["licenseDeclared"] == "NOASSERTION"
    assert b"share/s/licences" in spdx, "where the text of a licence is that SPDX does not list"
    purls = {c["name"]: c.get("purl") for c in json.loads(cyclonedx)["components"]}
    assert purls["libstdc++6"] == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64"
    assert purls["libc"] == "pkg:cargo/libc@0.2.1"
    assert purls["alpine"].startswith(f"pkg:oci/alpine@sha256%3A{'c' * 64}?repository_url=docker.io/library/alpine")


def test_what_has_no_version_has_the_beginning_of_its_digest(spec: Spec, bench: Bench) -> None:
    collection = collected(spec, bench, rootfs(Component("agent", sha256="d" * 64)))
    _, cyclonedx = sound(collection.bill())
    assert {c["name"]: c["version"] for c in json.loads(cyclonedx)["components"]}["agent"] == "sha256:dddddddddddd"


def test_what_a_root_file_system_was_made_from(spec: Spec, bench: Bench) -> None:
    url = "https://example.org/root.tar.xz"
    fetched = Given("sources", (("rootfs", b"x"),), ())
    entries = bench.build([fetched, rootfs(kind="tarball", sha256="e" * 64)])
    recipes = {
        "sources": {"options": {"rootfs": {"kind": "url", "url": url, "sha256": "e" * 64}}},
        "rootfs": Store(bench.cache).recipe("rootfs", entries["rootfs"].id) or {},
    }
    collection = Collection(spec, [], entries, recipes)
    assert part(collection, "root.tar.xz").origin == url
    spdx, _ = sound(collection.bill())
    assert f'"downloadLocation": "{url}"'.encode() in spdx


def test_any_stage_may_say_what_it_put_in(spec: Spec, bench: Bench) -> None:
    said = json.dumps([Component("pause", "3.9", sha256="f" * 64).as_json()]).encode()
    stage = Given("extension", (("components.json", said), ("licences/pause/LICENSE", b"text")))
    collection = collected(spec, bench, stage)
    assert part(collection, "pause").version == "3.9"
    assert [f.path for f in collection.files] == ["share/s/licences/extension/pause/LICENSE"]
    sound(collection.bill())


def test_names_that_are_not_utf_8(spec: Spec, bench: Bench) -> None:
    odd = b"licences/\xff\nname".decode(errors="surrogateescape")
    collection = collected(spec, bench, Given("extension", ((odd, b"text"),)))
    sound(collection.bill())


def test_a_large_set_takes_no_time_worth_a_word(spec: Spec, bench: Bench) -> None:
    debs = [Component(f"p{i}", "1", "deb", f"{i:064x}", "amd64", "MIT AND ISC", "", f"s{i}", "1") for i in range(400)]
    texts = tuple((f"licences/p{i}/copyright", b"x") for i in range(400))
    plain = rootfs(*debs)
    entries = bench.build([dataclasses.replace(plain, files=(*plain.files, *texts))])
    chosen = list(artifacts(spec, None, entries))
    first = Documents(spec, chosen, entries, Store(bench.cache))
    begin = time.process_time()
    again = Documents(spec, chosen, entries, Store(bench.cache))
    assert time.process_time() - begin < 0.05
    assert again.listed == first.listed
    assert [hashlib.sha256(text).hexdigest() for text in again.texts().values()] == [g.sha256 for g in again.listed]


def test_what_is_remembered_is_forgotten_with_its_facts(spec: Spec, bench: Bench) -> None:
    def listed(version: str) -> object:
        entries = bench.build([rootfs(Component("bash", version))])
        return Documents(spec, list(artifacts(spec, None, entries)), entries, Store(bench.cache)).listed

    assert listed("5.1") == listed("5.1") != listed("5.2")


@pytest.mark.parametrize(
    ("component", "purl"),
    [
        (Component("musl", "1.2~rc+1", "deb", arch="amd64"), "pkg:deb/musl@1.2~rc%2B1?arch=amd64"),
        (
            Component("linux", "6.12", sha256="a" * 64, origin="https://k.org/l.tar?x=1&y"),
            f"pkg:generic/linux@6.12?checksum=sha256:{'a' * 64}&download_url=https://k.org/l.tar%3Fx%3D1%26y",
        ),
        (
            Component("linux", "6.12", origin="git+https://k.org/l.git@abc"),
            "pkg:generic/linux@6.12?vcs_url=git%2Bhttps://k.org/l.git%40abc",
        ),
        (Component("a b"), "pkg:generic/a%20b"),
    ],
)
def test_package_urls(component: Component, purl: str) -> None:
    from packageurl import PackageURL

    assert purl_of(component) == purl
    read = PackageURL.from_string(purl)
    assert (read.name, read.version or "") == (component.name, component.version)


def test_uuids_are_well_formed_and_follow_the_text() -> None:
    import uuid

    made = uuid.UUID(uuid_of("x"))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert uuid_of("x") == uuid_of("x") != uuid_of("y")


def test_a_packaged_kernel_and_its_modules(spec: Spec, bench: Bench) -> None:
    facts = {
        "package": "linux-image-x",
        "version": "6.1-1",
        "architecture": "amd64",
        "source": {"name": "linux-signed-amd64", "version": "6.1+1"},
        "sha256": "a" * 64,
        "licence": "",
        "built_using": "linux (= 6.1-1)",
    }
    files = (("release", b"6.12.9\n"), ("vmlinux", b"\x7fELF"), ("package.json", json.dumps(facts).encode()))
    entries = bench.build([Given("kernel", files), rootfs()])
    recipes = {"kernel": {}, "rootfs": {"inputs": {"kernel_modules/modules.tar": "b" * 64}}}
    collection = Collection(spec, list(artifacts(spec, "6.12.9", entries)), entries, recipes)
    kernel, modules = part(collection, "linux-image-x"), part(collection, "linux-image-x-modules")
    assert (kernel.licence, modules.licence) == ("GPL-2.0-only WITH Linux-syscall-note",) * 2
    assert modules.sha256 == "b" * 64
    said = json.loads(sources_json(collection, "s"))["kernel"]
    assert said["source"] == {"name": "linux-signed-amd64", "version": "6.1+1"}
    assert said["built_using"] == [{"name": "linux", "version": "6.1-1"}], "where the source of a signed kernel is"
    assert said["made_from"] is None
    sound(collection.bill())


def test_crates_are_linked_into_the_agent(spec: Spec, bench: Bench) -> None:
    digest = hashlib.sha256(b"program").hexdigest()
    parts = [Component("tiny", "1.0", "cargo", "a" * 64, licence="MIT"), Component("agent", "2.0", "cargo", digest)]
    info = json.dumps({"version": 1, "kind": "cargo", "components": [c.as_json() for c in parts]}).encode()
    agent = Given("agent", (("init", b"program"), ("agent.json", info)), (("kind", "cargo"),))
    collection = collected(spec, bench, rootfs(), agent)
    [of_agent] = collection.of_role("agent")
    [crate] = collection.of_role("package")
    assert (of_agent.component.name, crate.component.name) == ("agent", "tiny")
    spdx, _ = sound(collection.bill())
    links = json.loads(spdx)["relationships"]
    wanted = {"spdxElementId": f"SPDXRef-{of_agent.id}", "relatedSpdxElement": f"SPDXRef-{crate.id}"}
    assert {**wanted, "relationshipType": "STATIC_LINK"} in links


def test_our_own_agent_holds_the_c_library(spec: Spec, bench: Bench) -> None:
    ours = json.dumps({"version": 1, "components": [Component("kata-toolkit-agent", "1").as_json()]}).encode()
    agent = Given("agent", (("init", b"program"), ("agent.json", ours)), (("kind", "builtin"),))
    libc = Given("licences", (("components.json", json.dumps([Component("musl", "1.2").as_json()]).encode()),))
    collection = collected(spec, bench, rootfs(), agent, libc)
    component = part(collection, "kata-toolkit-agent")
    assert component.sha256 == hashlib.sha256(b"program").hexdigest()
    assert component.source_name == "kata-toolkit"
    spdx, _ = sound(collection.bill())
    assert spdx.count(b'"STATIC_LINK"') == 1


def test_a_package_that_changes_is_told(
    spec: Spec, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the formats: the one before in SPDX, the one after in CycloneDX."""
    same = Component(
        "dash", "0.5", "deb", "c" * 64, "amd64", "GPL-2.0-or-later", source_name="dash", namespace="debian"
    )
    before = Component("bash", "5.1-1", "deb", "a" * 64, "amd64", "GPL-3.0-or-later", namespace="debian")
    after = dataclasses.replace(before, version="5.2-1", sha256="b" * 64)
    (tmp_path / "a.json").write_bytes(spdx_json(collected(spec, bench, rootfs(before, same)).bill()))
    (tmp_path / "b.json").write_bytes(cyclonedx_json(collected(spec, bench, rootfs(after, same)).bill()))
    assert run(["sbom", "diff", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    told = capsys.readouterr().out
    assert "  ~ bash  version 5.1-1 → 5.2-1, digest aaaaaaaaaaaa → bbbbbbbbbbbb\n" in told
    assert "0 added, 0 removed, 1 changed" in told
