"""What is fetched: by url whole or not at all, from Debian as pinned, never when offline."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kata_toolkit import apt, run
from kata_toolkit.download import Pool, download
from kata_toolkit.errors import InputError, KataToolkitError, ToolError, Where
from kata_toolkit.events import Note, Progress
from kata_toolkit.spec.model import (
    DebianKernel,
    GitKernel,
    GivenFile,
    PackagedKernel,
    PrebuiltKernel,
    TarballKernel,
    TreeKernel,
)
from kata_toolkit.stages.sources import SourcesStage
from kernel_harness import Bench

PACKAGE = "linux-source-6.12"
IMAGE = "linux-image-cloud-amd64"
CONTENT = os.urandom(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files; /short.* promises more than it sends, /drop.* hangs up at once."""

    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        if self.path.startswith("/drop"):
            self.close_connection = True
        elif self.path.startswith("/short"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    """The url of a web server that has /agent.bin."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "agent.bin").write_bytes(CONTENT)
    Server.requests = 0
    with http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "cache")


def agent(url: str, sha256: str = DIGEST) -> list[SourcesStage]:
    return [SourcesStage(None, GivenFile(url=url, sha256=sha256))]


def leftovers(bench: Bench) -> list[str]:
    """What a failed download may not leave: anything but locks."""
    return [p.name for p in (bench.cache / "downloads").glob("*") if p.suffix != ".lock"]


@pytest.mark.parametrize(
    ("stage", "needed"),
    [
        (SourcesStage(None), False),
        (SourcesStage(TreeKernel(Path("/src"))), False),
        (SourcesStage(TarballKernel(GivenFile(path=Path("/x.tar")))), False),
        (SourcesStage(PrebuiltKernel(GivenFile(path=Path("/vmlinux")))), False),
        (SourcesStage(PackagedKernel(deb=GivenFile(path=Path("/k.deb")))), False),
        (SourcesStage(PackagedKernel(deb=GivenFile(url="https://x/k.deb", sha256=DIGEST))), True),
        (SourcesStage(PackagedKernel(IMAGE)), True),
        (SourcesStage(GitKernel("/linux", OTHER[:40])), True),
        (SourcesStage(DebianKernel(PACKAGE)), True),
        (SourcesStage(TarballKernel(GivenFile(url="https://x/y", sha256=DIGEST))), True),
        (SourcesStage(PrebuiltKernel(GivenFile(path=Path("/v")), GivenFile(url="https://x/c", sha256=DIGEST))), True),
        (SourcesStage(None, GivenFile(url="https://x/a", sha256=DIGEST)), True),
    ],
)
def test_the_stage_exists_only_when_there_is_something_to_fetch(stage: SourcesStage, needed: bool) -> None:
    assert stage.needed is needed


def test_a_url_is_fetched_with_progress_and_only_once(bench: Bench, base: str) -> None:
    entry = bench.build(agent(f"{base}/agent.bin"))["sources"]
    assert entry.path("agent").read_bytes() == CONTENT
    told = [(e.done, e.total) for e in bench.events if isinstance(e, Progress)]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    bench.build([SourcesStage(None, GivenFile(url=f"{base}/moved.bin", sha256=DIGEST))])
    assert Server.requests == 1, "another url for the same digest was fetched although the bytes are in the pool"


def test_a_file_url_works_even_offline(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "a b.bin"
    source.write_bytes(CONTENT)
    bench.offline = True
    entry = bench.build(agent(source.as_uri()))["sources"]
    assert entry.path("agent").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "digest", "error", "message"),
    [
        ("/agent.bin", OTHER, InputError, f"has the sha256 {DIGEST}, not {OTHER}"),
        ("/short.bin", DIGEST, ToolError, "ended after 1,572,864 of 3,145,728 bytes"),
        ("/drop.bin", DIGEST, ToolError, "ended early"),
        ("/gone.bin", DIGEST, ToolError, "404 File not found"),
    ],
)
def test_a_failed_download_is_a_clear_error_and_leaves_nothing(
    bench: Bench, base: str, path: str, digest: str, error: type[KataToolkitError], message: str
) -> None:
    with pytest.raises(error) as caught:
        bench.build(agent(base + path, digest))
    assert message in str(caught.value)
    assert leftovers(bench) == []


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("http://127.0.0.1:1/x", ToolError, "Connection refused"),
        ("file:///nonexistent/x", ToolError, "No such file or directory"),
        ("gopher://x/y", InputError, "cannot fetch gopher://x/y"),
        ("x/y", InputError, "cannot fetch x/y"),
    ],
)
def test_a_url_that_cannot_be_fetched_is_a_clear_error(
    url: str, error: type[KataToolkitError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        download(url, tmp_path / "x", lambda done, total: None)
    assert message in str(caught.value)


def test_offline_says_exactly_what_is_missing(bench: Bench, base: str) -> None:
    bench.offline = True
    with pytest.raises(ToolError) as caught:
        bench.build(agent(f"{base}/agent.bin"))
    assert f"{base}/agent.bin (sha256 {DIGEST})" in str(caught.value)
    assert Server.requests == 0


def test_a_damaged_pool_is_noticed(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    path = pool.bring(DIGEST, lambda part: (part.write_bytes(CONTENT), None)[1], "it")
    path.write_bytes(CONTENT[:-1])
    assert pool.find(DIGEST) is None
    assert not path.exists()


def test_a_full_disk_leaves_nothing(bench: Bench, base: str) -> None:
    """RLIMIT_FSIZE stands in for it: the write fails with an OSError in the middle of the file."""
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(ToolError, match=r"cannot keep .*File too large"):
            bench.build(agent(f"{base}/agent.bin"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert leftovers(bench) == []


# -- Debian packages: with the host's own apt lists, no network -------------------------------------------------

needs_lists = pytest.mark.skipif(
    run.which("apt-get") is None or not any("_Packages" in p.name for p in apt.LISTS.glob("*")),
    reason="this machine has no apt package lists",
)


@needs_lists
@pytest.mark.tool
def test_a_package_is_resolved_to_version_and_digest(bench: Bench) -> None:
    found = apt.Apt(bench.cache, offline=True).resolve(PACKAGE, None)
    assert found.version.startswith("6.12.")
    assert len(found.sha256) == 64
    assert found.size > 100_000_000
    again = apt.Apt(bench.cache, offline=True).resolve(PACKAGE, found.version)
    assert again == found


@needs_lists
@pytest.mark.tool
def test_a_package_that_only_depends_on_a_kernel_leads_to_it(bench: Bench) -> None:
    tool = apt.Apt(bench.cache, offline=True)
    found = tool.resolve_image(IMAGE, None)
    assert re.fullmatch(r"linux-image-\d.*-cloud-amd64", found.name)
    assert found.size > 10_000_000
    assert tool.resolve_image(found.name, found.version) == found
    assert tool.resolve_image(IMAGE, found.version) == found
    with pytest.raises(InputError, match=r"apt knows no version 6\.0-1 of") as caught:
        tool.resolve_image(IMAGE, "6.0-1")
    assert "there are: " in (caught.value.problems[0].hint or "")
    with pytest.raises(InputError, match="apt knows no package linux-image-clod-amd64") as caught:
        tool.resolve_image("linux-image-clod-amd64", None)
    assert caught.value.problems[0].hint == f'did you mean "{IMAGE}"?'


@needs_lists
@pytest.mark.tool
def test_a_wrong_digest_of_a_kernel_package_is_refused_at_the_specs_line(bench: Bench) -> None:
    place = Where("guest.yaml", 4, 3)
    with pytest.raises(InputError, match=f"not {OTHER} as kernel.source.sha256 says") as caught:
        bench.build([SourcesStage(PackagedKernel(IMAGE, sha256=OTHER, where=place))])
    assert caught.value.problems[0].where == place


@needs_lists
@pytest.mark.tool
def test_the_answer_is_remembered_without_asking_apt_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    found = apt.Apt(bench.cache, offline=True).resolve(PACKAGE, None)
    monkeypatch.setattr(run, "run", lambda *_, **__: pytest.fail("apt was asked again"))
    assert apt.Apt(bench.cache, offline=True).resolve(PACKAGE, None) == found


@needs_lists
@pytest.mark.tool
@pytest.mark.parametrize(
    ("kernel", "message", "hint"),
    [
        (DebianKernel("linux-source-9.99"), "apt knows no package linux-source-9.99", "linux-source-6."),
        (DebianKernel("nonsense"), "apt knows no package nonsense", "are the apt lists up to date?"),
        (DebianKernel(PACKAGE, version="6.12.0-1"), f"apt knows no version 6.12.0-1 of {PACKAGE}", "there are: 6.12."),
        (DebianKernel(PACKAGE, sha256=OTHER), f"not {OTHER} as kernel.source.sha256 says", "pin"),
    ],
)
def test_a_wrong_package_version_or_digest_is_refused(
    bench: Bench, kernel: DebianKernel, message: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        bench.build([SourcesStage(kernel)])
    (problem,) = caught.value.problems
    assert message in problem.message
    assert hint in (problem.hint or "")


@needs_lists
@pytest.mark.tool
def test_offline_a_package_that_is_not_here_is_named(bench: Bench) -> None:
    bench.offline = True
    with pytest.raises(ToolError, match=rf"offline, .*{PACKAGE} 6\.12\.\S+ \(sha256 [0-9a-f]+\)"):
        bench.build([SourcesStage(DebianKernel(PACKAGE))])


def test_a_full_pin_that_is_in_the_cache_needs_neither_apt_nor_network(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pool(bench.cache).bring(DIGEST, lambda part: (part.write_bytes(CONTENT), None)[1], "it")
    monkeypatch.setattr(run, "which", lambda tool: None)
    bench.offline = True
    entry = bench.build([SourcesStage(DebianKernel("linux-source-6.99", "6.99-1", DIGEST))])["sources"]
    assert entry.path("kernel").read_bytes() == CONTENT
    assert any("linux-source-6.99 6.99-1" in e.text for e in bench.events if isinstance(e, Note))


def test_without_lists_and_offline_it_says_what_to_do(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "LISTS", bench.cache / "no-lists")
    bench.offline = True
    with pytest.raises(ToolError, match="has no apt package lists") as caught:
        bench.build([SourcesStage(DebianKernel(PACKAGE))])
    assert "apt-get update" in (caught.value.problems[0].hint or "")


def test_without_apt_it_says_what_to_do(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "which", lambda tool: None)
    with pytest.raises(ToolError, match="apt-get is not installed") as caught:
        bench.build([SourcesStage(DebianKernel(PACKAGE))])
    assert "tarball" in (caught.value.problems[0].hint or "")


# -- an installed package: dpkg's files in a folder of ours ------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> apt.Installed:
    """As if linux-source-6.12 6.12.9-1 was installed."""
    tarball = tmp_path / "linux-source-6.12.tar.xz"
    tarball.write_bytes(CONTENT)
    found = apt.Installed(PACKAGE, "6.12.9-1", tarball)
    monkeypatch.setattr(apt, "installed", lambda name: found if name == PACKAGE else None)
    monkeypatch.setattr(apt, "undamaged", lambda package: package.tarball.read_bytes() == CONTENT)
    return found


@pytest.mark.parametrize(("version", "sha256"), [(None, None), ("6.12.9-1", None), (None, DIGEST)])
def test_an_installed_package_is_taken_without_network(
    bench: Bench, installed: apt.Installed, version: str | None, sha256: str | None
) -> None:
    bench.offline = True
    entry = bench.build([SourcesStage(DebianKernel(PACKAGE, version, sha256))])["sources"]
    assert entry.path("kernel").read_bytes() == CONTENT
    assert any("as installed in" in e.text for e in bench.events if isinstance(e, Note)), "a silent choice"


def test_a_damaged_installed_tarball_is_refused(bench: Bench, installed: apt.Installed) -> None:
    installed.tarball.write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not what its package installed") as caught:
        bench.build([SourcesStage(DebianKernel(PACKAGE))])
    assert caught.value.problems[0].hint == f"apt-get install --reinstall {PACKAGE}"
