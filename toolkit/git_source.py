"""Fetches one commit of a git repository, without its history, and hands out its files.

CACHE/git/KEY.git   a bare repository for each url or path: what was fetched from there

A commit is named by its full id, so nothing that comes over the network has to be trusted: git checks every object
against its id (gitformat-pack(5), git-fetch(1)).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from . import run
from .errors import InputError, Problem, ToolError, Where
from .locks import locked
from .pipeline.packages import install_hint
from .spec.model import GitKernel

FACTS = "kernel.json"  # in the sources stage's output: the commit, and the id of its tree

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PROTOCOLS = "file:git:http:https:ssh"  # not ext:, which would run a command
# A repository's own .gitattributes must not change what its files are: the identity is the tree's.
_ATTRIBUTES = "* -export-subst -export-ignore -text -ident -filter -working-tree-encoding\n"
# Of the environment: who the user is to a server, and the way there.
_PASSED = ("HOME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY")
_ABSENT = ("not our ref", "couldn't find remote ref", "unadvertised object", "bad object")
_NO_REPOSITORY = ("does not appear to be a git repository", "not found", "does not exist", "no such file")
_SHALLOW_UNKNOWN = "does not support shallow"


def spec_problem(source: GitKernel, repository_where: Where) -> Problem | None:
    """What is wrong with a spec's repository or commit, as far as this machine can tell without the network."""
    if source.local and not _path_of(source).exists():
        hint = "a path is relative to the folder of the spec; on another machine it is ssh://USER@HOST/PATH"
        return Problem(f"{_path_of(source)} does not exist", repository_where, hint)
    if _COMMIT.fullmatch(source.commit):
        return None
    return _refused(source)


def fetched(source: GitKernel, cache: Path, *, offline: bool, log: run.Log | None = None) -> Path:
    """The bare repository in the cache that has the commit; fetched first if it is not there yet.

    Raises InputError for what is no commit's id, no repository, or a commit that it has not; ToolError without git,
    without network, or when ``offline`` and the commit is not here.
    """
    if not _COMMIT.fullmatch(source.commit):
        problem = _refused(source)
        raise InputError(problem.message, where=problem.where, hint=problem.hint)
    if run.which("git") is None:
        raise ToolError("git, which fetches the kernel's source, is not installed", hint=install_hint("git"))
    folder = _folder(source, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock")):
        if not (folder / "HEAD").is_file():
            _git("init", "-q", "--bare", str(folder), log=log)
        (folder / "info").mkdir(exist_ok=True)
        (folder / "info" / "attributes").write_text(_ATTRIBUTES)
        if not _has(folder, source.commit):
            if offline and not source.local:
                raise ToolError(
                    f"offline, and this is not in the cache: commit {source.commit} of {source.repository}",
                    hint="build once without --offline",
                )
            _fetch(folder, source, log)
    return folder


def is_here(source: GitKernel, cache: Path) -> bool:
    """Whether nothing must be fetched: the commit is in the cache, or its repository on this machine."""
    folder = _folder(source, cache)
    return source.local or ((folder / "HEAD").is_file() and _has(folder, source.commit))


def tree_id(folder: Path, commit: str) -> str:
    """The id of a commit's tree, which stands for every byte of its files. Raises ToolError."""
    return _git("-C", str(folder), "rev-parse", "--verify", f"{commit}^{{tree}}").output.strip()


def archive_argv(folder: Path, commit: str) -> tuple[str, ...]:
    """The command that writes the commit's files as a tar to stdout, to be run with `ENVIRONMENT`."""
    return ("git", "-C", str(folder), "archive", "--format=tar", commit)


ENVIRONMENT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
"""For what only reads the cache: nobody's configuration decides what a file holds."""


def _fetch(folder: Path, source: GitKernel, log: run.Log | None) -> None:
    """Bring the commit, without history where the server can do that."""
    where = ("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--no-auto-gc")
    result = _remote(folder, *where, "--depth=1", "--", source.repository, source.commit, log=log)
    if result.status and _SHALLOW_UNKNOWN in result.output:  # plain files on a web server: all or nothing
        result = _remote(folder, *where, "--", source.repository, "+refs/*:refs/remotes/source/*", log=log)
    if result.status:
        raise _failure(source, result.output)
    kind = _git("-C", str(folder), "cat-file", "-t", source.commit, check=False)
    if kind.status or kind.output.strip() != "commit":
        absent = "has no commit" if kind.status else f"has a {kind.output.strip()}, not a commit, by the id"
        raise InputError(f"{source.repository} {absent} {source.commit}", where=source.where)
    _git("-C", str(folder), "update-ref", _mark(source.commit), source.commit)


def _failure(source: GitKernel, output: str) -> InputError | ToolError:
    said = [line.removeprefix("fatal: ").removeprefix("error: ") for line in output.splitlines() if line.strip()]
    text = "; ".join(dict.fromkeys(said)) or "git says nothing"
    low = output.lower()
    if any(sign in low for sign in _ABSENT):
        hint = "is it from another repository? a commit that was rebased away is gone for good"
        return InputError(f"{source.repository} has no commit {source.commit}", where=source.where, hint=hint)
    if "dubious ownership" in low:
        hint = f"git config --global --add safe.directory {_path_of(source)}"
        return InputError(f"{source.repository} belongs to somebody else, and git does not read it: {text}", hint=hint)
    if source.local and any(sign in low for sign in _NO_REPOSITORY):
        return InputError(f"{source.repository} is not a git repository", where=source.where)
    return ToolError(f"cannot fetch {source.commit} from {source.repository}: {text}")


def _folder(source: GitKernel, cache: Path) -> Path:
    return cache / "git" / f"{hashlib.sha256(source.repository.encode()).hexdigest()[:32]}.git"


def _refused(source: GitKernel) -> Problem:
    """A name instead of an id may mean another commit tomorrow; tell which it means now, if that can be seen here."""
    message = f"kernel.source.commit must be a commit's full id, 40 hexadecimal digits, not {source.commit}"
    if not source.local:
        hint = f"`git ls-remote {source.repository} {source.commit}` prints the commit that it means now"
        return Problem(message, source.where, hint)
    known = None
    if run.which("git"):
        found = _git("-C", str(_path_of(source)), "rev-parse", "--verify", "-q", "--end-of-options",
                     f"{source.commit}^{{commit}}", check=False)  # fmt: skip
        known = _COMMIT.fullmatch(found.output.strip())
    means = f"it means {known.group()} now: write `commit: {known.group()}`" if known else None
    return Problem(message, source.where, means or "`git rev-parse NAME^{commit}` prints one")


def _path_of(source: GitKernel) -> Path:
    from urllib.parse import unquote, urlsplit

    if source.repository.startswith("file://"):
        return Path(unquote(urlsplit(source.repository).path))
    return Path(source.repository)


def _has(folder: Path, commit: str) -> bool:
    """Whether the commit and all its files are there: its mark is set last, when a fetch is done."""
    return _git("-C", str(folder), "rev-parse", "-q", "--verify", f"{_mark(commit)}^{{tree}}", check=False).status == 0


def _mark(commit: str) -> str:
    return f"refs/kata-toolkit/{commit}"


def _remote(folder: Path, *words: str, log: run.Log | None) -> run.Result:
    """Talk to another repository as the user would: with their proxy, keys and credentials."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    env = {**passed, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS}
    return run.run(["git", "-C", str(folder), *words], env=env, log=log, check=False)


def _git(*words: str, log: run.Log | None = None, check: bool = True) -> run.Result:
    return run.run(["git", *words], env=ENVIRONMENT, log=log, check=check)
