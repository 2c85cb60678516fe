"""Container images from registries: which manifest a reference means today, and its blobs, each by digest.

skopeo speaks with registries, by what the host says of them (registries.conf, policy.json, the user's logins). What it
brings is kept in the pool of downloads, and held to its digest before anything reads it. Formats: OCI image-spec,
manifest.md and image-index.md; the distribution's Image Manifest V 2, Schema 2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import run
from .download import Pool, copy_file
from .errors import InputError, ToolError
from .locks import locked
from .pipeline.files import read_json, write_atomically
from .pipeline.packages import install_hint
from .rootfs.oci_image import INDEX_TYPES, is_for

Progress = Callable[[int, int], None]
"""Called with blobs done and blobs in all (0: unknown)."""

_REFERENCE = re.compile(
    r"(?P<name>[^@]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))?(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)
_SECONDS = "120s"  # for a manifest, which is small
_MAX_MANIFEST = 4 << 20  # what registries must take at least, and no more (distribution-spec, "Pushing Manifests")
_MAX_DEPTH = 5  # of indexes in indexes
_MANIFEST = "manifest.json"
_BLOB = re.compile(r"[0-9a-f]{64}")
_MESSAGE = re.compile(r'level=fatal msg="(.*)"$')
# What says how to reach a registry and who asks; none of it changes a byte of what has a digest.
_ENVIRONMENT = (
    "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """``docker.io/library/busybox:1.36`` or ``…@sha256:…``; a digest counts for more than a tag beside it."""

    text: str
    name: str
    tag: str | None
    digest: str | None

    @classmethod
    def of(cls, text: str) -> Reference:
        """Raises InputError for what is no reference."""
        match = _REFERENCE.fullmatch(text)
        if match is None or not match["name"]:
            raise InputError(
                f'"{text}" is no reference to a container image', hint="such as docker.io/library/busybox:1"
            )
        return cls(text, match["name"], match["tag"], match["digest"])

    @property
    def host(self) -> str:
        """The registry, as one logs in to it."""
        first, slash, _ = self.name.partition("/")
        return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"

    def at(self, digest: str | None = None) -> str:
        """What to ask skopeo for: it takes a tag or a digest, not both."""
        digest = digest or self.digest
        return f"docker://{self.name}" + (f"@sha256:{digest}" if digest else f":{self.tag or 'latest'}")


def manifest_digest(text: str, arch: str, cache: Path, *, offline: bool) -> str:
    """The sha256 of the image's manifest for an architecture, named as Go does ("amd64").

    Asks the registry, unless the reference has a digest and the pool what it is the digest of; offline, what was
    answered last counts. Raises InputError for what has no image for it, ToolError without skopeo or an answer.
    """
    reference = Reference.of(text)
    memo = cache / "references" / f"{hashlib.sha256(f'{text} {arch}'.encode()).hexdigest()[:32]}.json"
    if offline and not reference.digest:
        known = read_json(memo, {}).get("digest")
        if not known:
            raise ToolError(
                f"offline, and what {text} is for {arch} is not in the cache", hint="build once without --offline"
            )
        return str(known)
    digest, document = _document(reference, reference.digest, cache, offline=offline)
    for _ in range(_MAX_DEPTH):
        if "manifests" not in document and document.get("mediaType") not in INDEX_TYPES:
            _require_layers(document, text)
            if not reference.digest:
                write_atomically(memo, json.dumps({"reference": text, "arch": arch, "digest": digest}).encode())
            return digest
        digest, document = _document(reference, _chosen(document, arch, text), cache, offline=offline)
    raise InputError(f"{text} is an index in an index without end")


def lay_out(
    text: str, digest: str, arch: str, cache: Path, target: Path, *, offline: bool, log: run.Log, progress: Progress
) -> None:
    """Write the image with this manifest as an OCI image layout, into the new folder ``target``.

    Raises ToolError when it cannot be fetched (offline: with all that is missing), InputError when what came is not
    what the digests say.
    """
    reference, pool = Reference.of(text), Pool(cache)
    try:
        pool.folder.mkdir(parents=True, exist_ok=True)
        with locked(pool.folder / f"{digest}.image.lock"):
            lacking = missing(text, digest, cache)
            if lacking and offline:
                names = ", ".join(f"sha256:{name}" for name in lacking)
                raise ToolError(
                    f"offline, and these blobs of {text} are not in the cache: {names}",
                    hint="build once without --offline",
                )
            if lacking:
                _fetch(reference, digest, arch, pool, log, progress)
        blobs = target / "blobs/sha256"
        blobs.mkdir(parents=True)
    except OSError as error:
        raise ToolError(f"cannot keep {text}: {error.strerror}") from error
    manifest = _pooled(pool, digest, text)
    assert manifest is not None  # noqa: S101 -- it was fetched above, and nothing of a pool goes away meanwhile
    size = (pool.folder / digest).stat().st_size
    for name in (digest, *_blobs_of(manifest, text)):
        copy_file(pool.folder / name, blobs / name)
    kind = manifest.get("mediaType") or "application/vnd.oci.image.manifest.v1+json"
    index = {"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": f"sha256:{digest}", "size": size}]}
    (target / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')
    (target / "index.json").write_text(json.dumps(index) + "\n")


def copy_command(text: str, digest: str, arch: str, folder: str) -> tuple[str, ...]:
    """What fetches the image with this manifest into a new folder, all of it as the registry has it."""
    options = ("--override-os", "linux", "--override-arch", arch)
    return ("skopeo", "copy", *options, Reference.of(text).at(digest), f"dir:{folder}")


def missing(text: str, digest: str, cache: Path) -> list[str]:
    """The sha256 of each blob of an image that is not in the pool, or damaged there.

    Which there are, only the manifest tells: without it, there is nothing but its own.
    """
    pool = Pool(cache)
    manifest = _pooled(pool, digest, text)
    if manifest is None:
        return [digest]
    return [name for name in _blobs_of(manifest, text) if pool.find(name) is None]


def _document(reference: Reference, digest: str | None, cache: Path, *, offline: bool) -> tuple[str, dict[str, Any]]:
    """A manifest or an index, by digest or by the reference's tag; one that is known by digest goes into the pool."""
    pool = Pool(cache)
    what = reference.text
    if digest and (known := _pooled(pool, digest, what)) is not None:
        return digest, known
    if digest and offline:
        raise ToolError(
            f"offline, and this is not in the cache: {what} (sha256 {digest})", hint="build once without --offline"
        )
    data = _raw(reference, digest)
    if digest:

        def keep(part: Path) -> None:
            part.write_bytes(data)

        pool.bring(digest, keep, what)
    return hashlib.sha256(data).hexdigest(), _parsed(data, what)


def _raw(reference: Reference, digest: str | None) -> bytes:
    """A manifest's bytes from the registry."""
    argv = ("skopeo", "--command-timeout", _SECONDS, "inspect", "--raw", reference.at(digest))
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as complaints:
        _require_skopeo(reference)
        process = run.spawn(argv, env=_environment(), stdout=answer, stderr=complaints)
        try:
            status = process.wait()
        finally:
            run.stop(process)
        answer.seek(0)
        complaints.seek(0)
        if status:
            raise _refused(reference, complaints.read().decode(errors="replace"))
        data = answer.read(_MAX_MANIFEST + 1)
    if len(data) > _MAX_MANIFEST:
        raise InputError(f"the manifest of {reference.text} is larger than {_MAX_MANIFEST >> 20} MiB")
    return data


def _fetch(reference: Reference, digest: str, arch: str, pool: Pool, log: run.Log, progress: Progress) -> None:
    """Bring the image's blobs into the pool, its manifest last: what is there counts only if all is."""
    part = pool.folder / f"{digest}.image.part"  # under the image's lock: a killed build's is removed
    shutil.rmtree(part, ignore_errors=True)
    argv = copy_command(reference.text, digest, arch, str(part))
    done = 0

    def on_line(line: str) -> None:
        nonlocal done
        done += line.startswith("Copying ")
        progress(done, 0)

    try:
        _require_skopeo(reference)
        result = run.run(argv, env=_environment(), log=log, on_line=on_line, check=False)
        if result.status:
            raise _refused(reference, result.output)
        for name in sorted(entry.name for entry in part.iterdir() if _BLOB.fullmatch(entry.name)):
            _keep(pool, name, part / name, f"a blob of {reference.text}")
        _keep(pool, digest, part / _MANIFEST, f"the manifest of {reference.text}")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _keep(pool: Pool, digest: str, file: Path, what: str) -> None:
    def move(to: Path) -> None:
        file.replace(to)

    pool.bring(digest, move, what)


def _pooled(pool: Pool, digest: str, text: str) -> dict[str, Any] | None:
    path = pool.find(digest)
    return _parsed(path.read_bytes(), text) if path and path.stat().st_size <= _MAX_MANIFEST else None


def _parsed(data: bytes, text: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the manifest of {text} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"the manifest of {text} is not what a container image has there")
    return document


def _require_layers(manifest: dict[str, Any], text: str) -> None:
    """Raises InputError for what is no image manifest: Schema 1 of before 2016, or something else in a registry."""
    if not isinstance(manifest.get("layers"), list) or not isinstance(manifest.get("config"), dict):
        old = manifest.get("schemaVersion") == 1
        raise InputError(
            f"{text} is no container image"
            + (" of today: its manifest is of schema 1" if old else " but something else"),
            hint="push it again with a newer program" if old else None,
        )


def _blobs_of(manifest: dict[str, Any], text: str) -> list[str]:
    """The digests of the configuration and the layers, each once, in their order."""
    _require_layers(manifest, text)
    found: dict[str, None] = {}
    for descriptor in (manifest["config"], *manifest["layers"]):
        named = str(descriptor.get("digest") if isinstance(descriptor, dict) else None)
        if not named.startswith("sha256:") or not _BLOB.fullmatch(named.removeprefix("sha256:")):
            raise InputError(f"{text} names a blob by {named[:100]!r}, which is no sha256")
        found[named.removeprefix("sha256:")] = None
    return list(found)


def _chosen(index: dict[str, Any], arch: str, text: str) -> str:
    """The digest of the first manifest for linux and this architecture: so do container engines choose."""
    descriptors = index.get("manifests")
    found = [d for d in descriptors if isinstance(d, dict)] if isinstance(descriptors, list) else []
    platforms = []
    for descriptor in found:
        named = str(descriptor.get("digest", "")).removeprefix("sha256:")
        if is_for(descriptor, arch) and _BLOB.fullmatch(named):
            return named
        if isinstance(platform := descriptor.get("platform"), dict):
            platforms.append(f"{platform.get('os')}/{platform.get('architecture')}")
    known = ", ".join(sorted({p for p in platforms if p != "unknown/unknown"}))
    raise InputError(f"{text} has no image for linux/{arch}", hint=f"there are: {known}" if known else None)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def _require_skopeo(reference: Reference) -> None:
    if run.which("skopeo") is None:
        raise ToolError(f"skopeo, which fetches {reference.text}, is not installed", hint=install_hint("skopeo"))


def _refused(reference: Reference, output: str) -> ToolError:
    """What went wrong, in words: skopeo's own last line ends in what the registry or the network said."""
    match = next((m for line in reversed(output.splitlines()) if (m := _MESSAGE.search(line.strip()))), None)
    said = match[1].replace('\\"', '"') if match else (output.strip().splitlines() or ["skopeo failed"])[-1]
    lower = re.sub(r"[0-9a-f]{32,}", "", said.lower())  # a digest may hold any number
    text, host = reference.text, reference.host
    if "trust policy" in lower:
        return ToolError(f"cannot fetch {text}: {said}", hint="apt-get install golang-github-containers-common")
    if any(word in lower for word in ("manifest unknown", "name unknown", "not found", "repository name not known")):
        return ToolError(f"{host} has no {text}: {said}", hint="are its name and tag right?")
    if any(word in lower for word in ("unauthorized", "authentication required", "denied", "401", "403")):
        return ToolError(
            f"{host} does not give {text} to just anyone: {said}",
            hint=f"is the name right? If it is: skopeo login {host}",
        )
    if any(word in lower for word in ("dial tcp", "no such host", "timeout", "deadline", "refused", "tls", "eof")):
        return ToolError(
            f"cannot reach {host} for {text}: {said}",
            hint="without a network, name an image on this machine with rootfs.path",
        )
    return ToolError(f"cannot fetch {text}: {said}")
