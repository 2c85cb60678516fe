"""A registry on this machine that answers as it is told: the half of the distribution-spec that pulling needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_ERRORS = {401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN", 500: "UNKNOWN"}


class Registry:
    """``blobs``: by digest; ``tags``: (name, tag) → digest; ``fails``: the status of every answer, if not None."""

    def __init__(self, port: int) -> None:
        self.host = f"localhost:{port}"
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.fails: int | None = None
        self.asked: list[str] = []

    def put(self, name: str, tag: str, layout: Path) -> str:
        """Take in all blobs of an OCI image layout, its one manifest under a tag. Returns the manifest's digest."""
        for blob in (layout / "blobs/sha256").iterdir():
            self.blobs[blob.name] = blob.read_bytes()
        index = json.loads((layout / "index.json").read_text())
        digest = str(index["manifests"][0]["digest"]).removeprefix("sha256:")
        self.tags[name, tag] = digest
        return digest

    def put_index(self, name: str, tag: str, manifests: list[dict[str, Any]]) -> str:
        """An index of manifests under a tag. Returns its digest."""
        data = json.dumps(
            {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        ).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        self.tags[name, tag] = digest
        return digest

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        self.asked.append(path)
        if self.fails:
            error = {"errors": [{"code": _ERRORS[self.fails], "message": "the registry says no"}]}
            return self.fails, "application/json", json.dumps(error).encode()
        if path == "/v2/":
            return 200, "application/json", b"{}"
        name, _, rest = path.removeprefix("/v2/").rpartition("/")
        name, _, kind = name.rpartition("/")
        digest = rest.removeprefix("sha256:") if rest.startswith("sha256:") else self.tags.get((name, rest))
        data = self.blobs.get(digest or "")
        if data is None:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return 404, "application/json", json.dumps(error).encode()
        media = "application/octet-stream"
        if kind == "manifests":
            media = json.loads(data).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        return 200, media, data


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry that listens, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, media, body = registry.answer(self.path)
            self.send_response(status, HTTPStatus(status).phrase)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="here"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 -- the name that http.server looks for

        def log_message(self, *rest: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry = Registry(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def home_without_tls(folder: Path, host: str) -> str:
    """The home of a user whose registries.conf allows plain HTTP with a registry."""
    path = folder / "home/.config/containers/registries.conf"
    path.parent.mkdir(parents=True)
    path.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    return str(folder / "home")
