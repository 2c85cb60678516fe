"""A kernel's source from a git repository: one commit by its id, from a folder, a url, or a server of plain files."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kata_toolkit import run
from kata_toolkit.errors import InputError, KataToolkitError, ToolError, Where
from kata_toolkit.events import Note
from kata_toolkit.spec.model import GitKernel
from kernel_harness import VERSION, Bench, fake_tree, kernel_stages

pytestmark = pytest.mark.tool
PLACE = Where("guest.yaml", 5, 13)
ABSENT = "0123456789abcdef0123456789abcdef01234567"
AUTHOR = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_AUTHOR_DATE": "1000000000 +0000", "GIT_COMMITTER_DATE": "1000000000 +0000", "GIT_CONFIG_GLOBAL": "/dev/null",
}  # fmt: skip


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, *words], check=True, capture_output=True, text=True, env={**os.environ, **AUTHOR}
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake tree in three commits: the first, one with attributes that would change what is exported, the last."""
    folder = fake_tree(tmp_path_factory.mktemp("git") / "linux")
    git(folder.parent, "init", "-q", "-b", "main", str(folder))
    commit(folder, "first")
    git(folder, "tag", "-a", "v1", "-m", "the first")
    (folder / "hidden").write_text("must not be left out\n")
    (folder / "stamp").write_text("$Format:%H %d$ $Id$\n")
    (folder / ".gitattributes").write_text("hidden export-ignore\nstamp export-subst ident text eol=crlf\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("init/main.c")
    commit(folder, "second")
    (folder / "README").write_text("third\n")
    commit(folder, "third")
    git(folder, "update-server-info")
    return folder


def at(repository: Path, name: str) -> str:
    return git(repository, "rev-parse", f"{name}^{{commit}}")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "cache")


def source_of(bench: Bench, repository: str | Path, commit_id: str) -> dict[str, object]:
    stages = kernel_stages(GitKernel(str(repository), commit_id, PLACE))
    entry = bench.build(stages, "kernel_source")["kernel_source"]
    facts: dict[str, object] = json.loads(entry.path("source.json").read_text())
    return facts


def scratch_tree(bench: Bench) -> Path:
    (tree,) = [p for p in (bench.cache / "scratch").glob("kernel-source-*") if p.is_dir()]
    return tree


@pytest.mark.parametrize("form", ["path", "url"])
def test_a_commit_is_fetched_and_identified_by_its_tree(bench: Bench, repository: Path, form: str) -> None:
    place = repository.as_uri() if form == "url" else repository
    facts = source_of(bench, place, at(repository, "main"))
    assert facts == {"version": VERSION, "identity": git(repository, "rev-parse", "main^{tree}"), "patches": []}
    tree = scratch_tree(bench)
    assert not (tree / ".git").exists()
    assert (tree / "README").read_text() == "third\n"
    assert (tree / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (tree / "link").readlink() == Path("init/main.c")
    assert any(at(repository, "main") in e.text for e in bench.events if isinstance(e, Note)), "a silent choice"


def test_attributes_of_the_repository_change_nothing(bench: Bench, repository: Path) -> None:
    """Otherwise what is built would depend on branch names, and not be what the tree's id says."""
    source_of(bench, repository, at(repository, "main"))
    tree = scratch_tree(bench)
    assert (tree / "hidden").is_file()
    assert (tree / "stamp").read_bytes() == b"$Format:%H %d$ $Id$\n"


def test_only_the_commit_is_fetched_and_not_its_history(bench: Bench, repository: Path) -> None:
    source_of(bench, repository.as_uri(), at(repository, "main"))
    (bare,) = (bench.cache / "git").glob("*.git")
    assert git(bare, "rev-list", "--all", "--count") == "1"


def test_an_older_commit_is_as_good(bench: Bench, repository: Path) -> None:
    source_of(bench, repository, at(repository, "v1"))
    assert not (scratch_tree(bench) / "README").exists()


def test_two_commits_with_one_tree_are_one_source(bench: Bench, repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "-q", repository, other], check=True)
    git(other, "commit", "-q", "--allow-empty", "-m", "another with the same files")
    first, second = source_of(bench, repository, at(repository, "main")), source_of(bench, other, at(other, "main"))
    assert first == second
    scratch_tree(bench)


def test_what_is_in_the_cache_needs_neither_network_nor_repository(
    bench: Bench, repository: Path, tmp_path: Path
) -> None:
    """Not even when the unpacked tree is gone."""
    moved = tmp_path / "moved"
    shutil.copytree(repository, moved, symlinks=True)
    before = source_of(bench, moved, at(repository, "main"))
    shutil.rmtree(moved)
    shutil.rmtree(scratch_tree(bench))
    shutil.rmtree(bench.cache / "objects" / "kernel_source")
    bench.offline = True
    assert source_of(bench, moved, at(repository, "main")) == before


def test_the_whole_kernel_is_built_from_a_commit_and_built_once(bench: Bench, repository: Path) -> None:
    stages = kernel_stages(GitKernel(str(repository), at(repository, "main")), profile="default")[:2]
    bench.build(stages)
    bench.build(stages)
    assert bench.ran == []
    # Where a folder lies is nothing to the result; another commit is.
    bench.build(kernel_stages(GitKernel(repository.as_uri(), at(repository, "main")))[:2])
    assert "kernel_source" not in bench.ran


# -- servers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(repository: Path) -> Iterator[str]:
    """The url at which git's own server has the repository."""
    if subprocess.run(["git", "daemon", "-h"], capture_output=True, check=False).returncode not in (0, 129):
        pytest.skip("git daemon is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = ["git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", f"--port={port}",
            f"--base-path={repository.parent}"]  # fmt: skip
    server = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"git://127.0.0.1:{port}/linux"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def test_a_server_is_asked_for_the_commit_only_once(bench: Bench, repository: Path, daemon: str) -> None:
    facts = source_of(bench, daemon, at(repository, "main"))
    assert facts["identity"] == git(repository, "rev-parse", "main^{tree}")
    bench.offline = True
    shutil.rmtree(bench.cache / "objects")
    assert source_of(bench, daemon, at(repository, "main")) == facts


def test_a_server_without_the_commit_or_the_repository(bench: Bench, daemon: str) -> None:
    with pytest.raises(InputError, match=f"linux has no commit {ABSENT}") as caught:
        source_of(bench, daemon, ABSENT)
    assert caught.value.problems[0].where == PLACE
    with pytest.raises(ToolError, match="cannot fetch"):
        source_of(bench, daemon.replace("/linux", "/other"), ABSENT)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(repository: Path) -> Iterator[str]:
    """The url of the repository as plain files on a web server, which knows nothing of git."""
    handler = functools.partial(Quiet, directory=str(repository / ".git"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_a_web_server_with_plain_files_is_enough(bench: Bench, repository: Path, web: str) -> None:
    assert source_of(bench, web, at(repository, "v1"))["identity"] == git(repository, "rev-parse", "v1^{tree}")


def test_a_web_server_without_the_commit(bench: Bench, web: str) -> None:
    with pytest.raises(InputError, match=f"has no commit {ABSENT}"):
        source_of(bench, web, ABSENT)


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v1", "main", "HEAD~1", "abbreviated"])
def test_a_name_instead_of_an_id_is_refused_with_the_id_to_write(bench: Bench, repository: Path, name: str) -> None:
    name = at(repository, "main")[:12] if name == "abbreviated" else name
    with pytest.raises(InputError, match=f"40 hexadecimal digits, not {re.escape(name)}") as caught:
        source_of(bench, repository, name)
    (problem,) = caught.value.problems
    assert problem.where == PLACE
    assert f"write `commit: {at(repository, name)}`" in (problem.hint or "")


@pytest.mark.parametrize("kind", ["tag", "tree"])
def test_the_id_of_something_else_is_refused(bench: Bench, repository: Path, kind: str) -> None:
    other = git(repository, "rev-parse", "v1" if kind == "tag" else "v1^{tree}")
    with pytest.raises(InputError, match=f"has a {kind}, not a commit, by the id {other}"):
        source_of(bench, repository, other)


def not_a_repository(folder: Path) -> Path:
    (folder / "plain").mkdir()
    return folder / "plain"


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        ("{repository}", InputError, f"has no commit {ABSENT}"),
        ("{tmp}/gone", InputError, "is not a git repository"),
        ("{tmp}/plain", InputError, "is not a git repository"),
        ("file://{tmp}/gone", InputError, "is not a git repository"),
        ("http://127.0.0.1:1/linux.git", ToolError, "cannot fetch"),
        ("git://127.0.0.1:1/linux", ToolError, "Connection refused"),
        ("ext::sh -c date% >&2", ToolError, "cannot fetch"),
        ("nonsense://x/y", ToolError, "cannot fetch"),
    ],
)
def test_what_cannot_be_fetched_is_a_clear_error(
    bench: Bench, repository: Path, tmp_path: Path, place: str, error: type[KataToolkitError], message: str
) -> None:
    not_a_repository(tmp_path)
    with pytest.raises(error) as caught:
        source_of(bench, place.format(repository=repository, tmp=tmp_path), ABSENT)
    assert message in str(caught.value)
    assert not list((bench.cache / "scratch").glob("kernel-source-*"))


def test_a_url_never_runs_a_command(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(KataToolkitError):
        source_of(bench, f"ext::touch {tmp_path}/owned", ABSENT)
    with pytest.raises(KataToolkitError):
        source_of(bench, f"--upload-pack=touch {tmp_path}/owned", ABSENT)
    assert not (tmp_path / "owned").exists()


def test_offline_says_what_is_missing(bench: Bench) -> None:
    bench.offline = True
    with pytest.raises(ToolError, match=f"offline, and this is not in the cache: commit {ABSENT} of https://x/y"):
        source_of(bench, "https://x/y", ABSENT)


def test_without_git_it_says_what_to_install(bench: Bench, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "which", lambda tool: None)
    with pytest.raises(ToolError, match="git, which fetches the kernel's source, is not installed") as caught:
        source_of(bench, repository, ABSENT)
    assert caught.value.problems[0].hint == "apt-get install git"


def test_a_repository_of_something_else_is_refused(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "README").write_text("no kernel\n")
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    with pytest.raises(InputError, match="holds no kernel: there is no Kconfig at its top"):
        source_of(bench, folder, commit(folder, "first"))


def test_a_damaged_repository_in_the_cache_is_not_trusted(bench: Bench, repository: Path) -> None:
    """A lost pack means another fetch; a pack with other bytes is found out by git itself."""
    source_of(bench, repository, at(repository, "main"))
    for pack in (bench.cache / "git").rglob("*.pack"):
        pack.chmod(0o644)
        pack.unlink()
    shutil.rmtree(scratch_tree(bench))
    shutil.rmtree(bench.cache / "objects" / "kernel_source")
    assert source_of(bench, repository, at(repository, "main"))["version"] == VERSION
