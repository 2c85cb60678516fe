"""Which packages a wish becomes: from an archive of our own, by the real apt; and where packages come from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from debian_parts import PACKAGES, SUITE, Archive, Deb
from kata_toolkit.download import Pool
from kata_toolkit.errors import InputError, KataToolkitError, ToolError, Where
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.store import Store
from kata_toolkit.rootfs import debian_preflight
from kata_toolkit.rootfs.debian_apt import PrivateApt, Wish
from kata_toolkit.rootfs.debian_pool import missing
from kata_toolkit.rootfs.debian_sources import AptSource, host_sources, named_source
from kata_toolkit.spec.load import load_spec
from kata_toolkit.spec.model import DebianRootfs, Placed, Slim
from kata_toolkit.stages import debian
from kata_toolkit.stages.debian import DebianStage

pytestmark = pytest.mark.tool
Resolve = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    made = Archive(tmp_path_factory.mktemp("archive"))
    made.publish()
    return made


@pytest.fixture(autouse=True)
def _able(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is installed here, so no user namespace is needed to find out what would be."""
    monkeypatch.setattr(debian, "require_able", lambda arch: None)
    return


@pytest.fixture
def resolve(archive: Archive, tmp_path: Path) -> Resolve:
    """Resolves a list of packages in a cache that lasts as long as the test."""

    def call(*packages: str, offline: bool = False, **more: Any) -> dict[str, Any]:
        places = tuple(Placed(text, Where("guest.yaml", 7, 3 + i)) for i, text in enumerate(packages))
        given = {
            "suite": SUITE,
            "packages": places,
            "mirrors": (Placed(archive.uri, Where("guest.yaml", 9, 1)),),
            "keyring": archive.keyring,
            "where": Where("guest.yaml", 5, 1),
            **more,
        }
        inputs = BuildInputs(Store(tmp_path / "cache"), offline=offline)
        return DebianStage(DebianRootfs(**given), "x86_64").find(inputs)

    return call


def names(answer: dict[str, Any]) -> list[str]:
    return [f"{p['name']}={p['version']}" for p in answer["packages"]]


def problem(error: KataToolkitError) -> tuple[str, str, str]:
    first = error.problems[0]
    return str(first.where), first.message, first.hint or ""


def test_dependencies_come_and_the_newest_is_taken(resolve: Resolve, archive: Archive) -> None:
    answer = resolve("tool")
    assert names(answer) == ["base=1", "lib=2", "tool=1", "usr-is-merged=1"]
    (lib,) = (p for p in answer["packages"] if p["name"] == "lib")
    file = archive.folder / "pool" / "lib_2_amd64.deb"
    assert lib["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (lib["architecture"], lib["size"], lib["uri"]) == ("amd64", file.stat().st_size, f"file:{file}")
    (release,) = answer["releases"]
    signed = archive.folder / "dists" / SUITE / "InRelease"
    assert release["sha256"] == hashlib.sha256(signed.read_bytes()).hexdigest()
    assert answer["sources"] == []  # a folder of this machine is no source for a guest


def test_a_version_is_a_pin(resolve: Resolve) -> None:
    assert "lib=1" in names(resolve("tool", "lib=1"))
    assert "lib=1" in names(resolve("needs-old", "lib=1"))


def test_systemd_comes_when_it_is_the_init(resolve: Resolve) -> None:
    assert "systemd-sysv=1" in names(resolve(init="systemd"))
    assert "systemd-sysv=1" not in names(resolve())


WRONG = {
    "misspelt": (("tol",), "guest.yaml:7:3", "there is no package tol in toy main", 'did you mean "tool"?'),
    "the second of two": (("tool", "xyzzy"), "guest.yaml:7:4", "there is no package xyzzy", "another component"),
    "a pattern": (("li.",), "guest.yaml:7:3", "there is no package li. in", 'did you mean "lib"?'),
    "a version": (("lib=3",), "guest.yaml:7:3", "lib has no version 3", "there are: 2, 1"),
    "a name that others provide": (("colour",), "guest.yaml:7:3", "is no package of its own", "blue, red"),
    "two that exclude each other": (("red", "blue"), "guest.yaml:7:3", "red : Conflicts: colour", ""),
    "two that need different versions": (("needs-old", "needs-new"), "guest.yaml:7:", "do not go together", ""),
    "a dependency that is nowhere": (("lonely",), "guest.yaml:7:3", "nobody-has-this", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_had(resolve: Resolve, case: str) -> None:
    packages, where, message, hint = WRONG[case]
    with pytest.raises(InputError) as caught:
        resolve(*packages)
    told = problem(caught.value)
    assert told[0].startswith(where)
    assert message in told[1]
    assert hint in told[2]


def test_another_signature_is_refused(resolve: Resolve, tmp_path: Path) -> None:
    stranger = Archive(tmp_path / "stranger")
    with pytest.raises(ToolError, match=r"guest.yaml:9:1: apt cannot read the sources.*(public key|sign)"):
        resolve("tool", keyring=stranger.keyring)


def test_an_index_that_was_changed_is_refused(resolve: Resolve, tmp_path: Path) -> None:
    own = Archive(tmp_path / "own")
    own.publish()
    index = own.folder / "dists" / SUITE / "main" / "binary-amd64" / "Packages"
    index.write_bytes(index.read_bytes().replace(b"toy", b"tox"))
    with pytest.raises(ToolError, match="apt cannot read the sources"):
        resolve("tool", mirrors=(Placed(own.uri),), keyring=own.keyring)


def test_an_unsigned_archive_is_refused(resolve: Resolve, tmp_path: Path) -> None:
    own = Archive(tmp_path / "own")
    own.publish()
    (own.folder / "dists" / SUITE / "InRelease").unlink()
    with pytest.raises(ToolError, match="apt cannot read the sources"):
        resolve("tool", mirrors=(Placed(own.uri),), keyring=own.keyring)
    line = f"deb [trusted=yes] {own.uri} {SUITE} main"
    answer = resolve("tool", mirrors=(Placed(line),))
    assert "tool=1" in names(answer)
    assert answer["releases"] == []


def test_a_folder_of_packages_that_the_spec_trusts(resolve: Resolve, tmp_path: Path) -> None:
    own = Archive(tmp_path / "own")
    own.publish()
    flat = own.folder / "dists" / SUITE / "main" / "binary-amd64" / "Packages"
    (own.folder / "Packages").write_bytes(flat.read_bytes())
    answer = resolve("tool", mirrors=(Placed(f"deb [trusted=yes] {own.uri} ./"),))
    assert "tool=1" in names(answer)
    assert answer["releases"] == []


def test_a_keyring_that_is_not_there(resolve: Resolve) -> None:
    with pytest.raises(InputError, match=r"the keyring /nowhere/key\.gpg is not there"):
        resolve("tool", keyring=Path("/nowhere/key.gpg"))


def test_an_archive_that_is_not_there(resolve: Resolve) -> None:
    with pytest.raises(ToolError, match="apt cannot read the sources of rootfs"):
        resolve("tool", mirrors=(Placed("file:/nowhere/debian"),))


def test_offline_with_lists_and_without(resolve: Resolve, archive: Archive) -> None:
    remote = (Placed("http://127.0.0.1:9/debian"),)
    with pytest.raises(ToolError, match="offline, and the package lists are not in the cache"):
        resolve("tool", mirrors=remote, offline=True)
    online = resolve("tool")
    assert resolve("tool", offline=True) == online


def test_new_packages_are_found_when_they_are_asked_for(resolve: Resolve, tmp_path: Path) -> None:
    own = Archive(tmp_path / "own")
    own.publish()
    more = {"mirrors": (Placed(own.uri),), "keyring": own.keyring}
    before = resolve("tool", **more)
    own.publish((*PACKAGES, Deb("lib", "3"), Deb("novel")))
    assert resolve("tool", **more) == before  # the same lists, the same answer
    assert "novel=1" in names(resolve("novel", **more))


def test_only_what_is_named_is_renewed(resolve: Resolve, archive: Archive, tmp_path: Path) -> None:
    """`lock --update NAME` takes today's version of NAME, and keeps all else."""
    earlier = resolve("tool")
    today = resolve("tool", "lib=1")
    stage = DebianStage(DebianRootfs(), "x86_64")
    for asked, version in (("lib", "1"), ("base", "2")):
        found = debian.renewed(earlier, today, frozenset({asked}))
        assert {p["name"]: p["version"] for p in found["packages"]}["lib"] == version
    assert stage.fetches


def test_what_is_missing_is_told(archive: Archive, tmp_path: Path) -> None:
    package = {"name": "tool", "version": "1", "architecture": "amd64", "sha256": "0" * 64, "size": 7}
    pool = Pool(tmp_path)
    (one,) = missing([{**package, "uri": "https://example.org/tool.deb"}], pool)
    assert (one.what, one.sha256, one.size) == ("tool 1 (amd64)", "0" * 64, 7)
    assert not missing([{**package, "uri": archive.uri}], pool)  # it can be read without a network


def test_only_what_has_left_the_archive_is_told_to_have_left_it(tmp_path: Path) -> None:
    apt = PrivateApt(tmp_path / "cache", Wish((), (), "amd64"), offline=False, shared=False)
    said = {}
    for uri in (f"file://{tmp_path}/gone.deb", "http://127.0.0.1:1/tool.deb"):
        with pytest.raises(ToolError) as caught:
            apt.fetch([(uri, tmp_path / "tool.deb", "0" * 64)], io.StringIO())
        said[uri[:4]] = str(caught.value)
    assert "keeps its newest versions only" in said["file"]
    assert "connect" in said["http"]
    assert "newest" not in said["http"]


# -- where packages come from ------------------------------------------------------------------------------

HOST = {
    "sources.list": "deb http://one/debian bookworm main contrib # both\n#deb http://off/debian bookworm main\n"
    "deb-src http://one/debian bookworm main\ndeb [arch=arm64] http://arm/debian bookworm main\n"
    "deb [trusted=yes] http://unsigned/debian bookworm main\ndeb cdrom:[Debian]/ bookworm main\n",
    "sources.list.d/more.list": "deb [signed-by=/k.gpg] http://two/debian bookworm-updates main\n"
    "deb http://other/apt nodistro main\n",
    "sources.list.d/debian.sources": "Types: deb deb-src\nURIs: http://three/a http://three/b\n"
    "Suites: bookworm-security\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n abc\n\n# off\n"
    "Types: deb\nURIs: http://off/b\nSuites: bookworm\nComponents: main\nEnabled: no\n",
}


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    for name, text in HOST.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_of_the_hosts_sources_those_of_the_suite(etc: Path) -> None:
    found = host_sources("bookworm", ("main",), "amd64", etc=etc)
    assert [source.line for source in found] == [
        "deb http://one/debian bookworm main",
        "deb http://two/debian bookworm-updates main",
        "deb http://three/a bookworm-security main",
        "deb http://three/b bookworm-security main",
    ]
    assert "Signed-By: /k.gpg\n" in found[1].stanza()
    assert "Signed-By: \n -----BEGIN PGP\n .\n abc\n" in found[2].stanza()
    both = host_sources("bookworm", ("main", "contrib"), "amd64", etc=etc)
    assert both[0].components == ("main", "contrib")
    assert [s.uri for s in host_sources("bookworm", ("main",), "arm64", etc=etc)][:2] == [
        "http://one/debian",
        "http://arm/debian",
    ]


def test_a_suite_that_the_host_does_not_have(etc: Path) -> None:
    for suite, hint in (("trixie", "mirrors: [ADDRESS]"), ("bookwrm", 'did you mean "bookworm"?')):
        with pytest.raises(InputError, match=rf"no {suite} \(they have: bookworm, .*nodistro") as caught:
            host_sources(suite, ("main",), "amd64", etc=etc)
        assert hint in (caught.value.problems[0].hint or "")
    with pytest.raises(InputError, match="bookworm has no mian for amd64") as caught:
        host_sources("bookworm", ("mian",), "amd64", etc=etc)
    assert caught.value.problems[0].hint == "it has: contrib, main"


def test_mirrors_by_address_and_by_line() -> None:
    key = Path("/k.gpg")
    plain = named_source("https://m/debian", "bookworm", ("main", "contrib"), key)
    assert plain == AptSource("https://m/debian", "bookworm", ("main", "contrib"), {"Signed-By": "/k.gpg"})
    line = named_source("deb [signed-by=/o.gpg check-valid-until=no]  https://m/apt ./", "bookworm", ("main",), key)
    assert line.stanza() == "Types: deb\nURIs: https://m/apt\nSuites: ./\nSigned-By: /o.gpg\nCheck-Valid-Until: no\n"
    old = named_source("http://snapshot.example/archive/debian/20250520T000000Z", "bookworm", ("main",), None)
    assert "Check-Valid-Until: no\n" in old.stanza()
    assert "Check-Valid-Until" not in plain.stanza()


# -- whether this machine can ------------------------------------------------------------------------------


def test_a_user_is_told_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    from kata_toolkit.arch import native

    monkeypatch.setattr(debian_preflight.os, "geteuid", lambda: 4242)
    monkeypatch.setattr(debian_preflight.run, "which", lambda tool: None)
    with pytest.raises(ToolError) as caught:
        debian_preflight.require_able(native())
    told = "\n".join(map(str, caught.value.problems))
    assert caught.value.exit_code == 3
    for words in ("mmdebstrap", "apt-get install uidmap", "/etc/subuid gives the user 4242 no range", "usermod"):
        assert words in told


# -- the spec ----------------------------------------------------------------------------------------------


def spec_of(folder: Path, rootfs: str) -> DebianRootfs:
    path = folder / "guest.yaml"
    path.write_text(f"version: 1\nname: guest\nrootfs: {rootfs}\n")
    found = load_spec(path).rootfs
    assert isinstance(found, DebianRootfs)
    return found


def test_the_words_of_the_spec(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "{kind: debian}") == DebianRootfs()
    (tmp_path / "key.gpg").write_bytes(b"x")
    words = (
        "{kind: debian, suite: trixie, components: [main, contrib], packages: [curl, 'chrony=1:4.3-2+deb12u1'], "
        "variant: required, mirrors: ['file:/srv/debian', 'deb http://m/debian x y'], keyring: key.gpg, "
        "init: systemd, slim: {docs: false}}"
    )
    found = spec_of(tmp_path, words)
    assert found == DebianRootfs(
        suite="trixie",
        components=("main", "contrib"),
        packages=(Placed("curl"), Placed("chrony=1:4.3-2+deb12u1")),
        variant="required",
        mirrors=(Placed("file:/srv/debian"), Placed("deb http://m/debian x y")),
        keyring=tmp_path / "key.gpg",
        slim=Slim(docs=False),
        init="systemd",
    )
    assert found.packages[1].where == Where(str(tmp_path / "guest.yaml"), 3, 85)
    nothing = Slim(docs=False, locales=False, apt=False, dpkg=False)
    assert spec_of(tmp_path, "{kind: debian, slim: false}").slim == nothing
