"""The documents that say what a set is made of, derived from the entries at hand as the manifest is."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import set_paths
from ..errors import InternalError
from ..pipeline.files import read_json, write_atomically
from ..pipeline.layout import Artifact, Generated
from ..pipeline.store import Entry, Store
from ..spec.model import Spec


class Documents:
    """sources.json and both bills of materials of a set.

    A build with nothing to do only asks for their digests: those are remembered (CACHE/documents/SPEC.json) under all
    that decides the bytes, so that nothing need be written, and no code be loaded that writes it.
    """

    def __init__(self, spec: Spec, artifacts: Sequence[Artifact], entries: Mapping[str, Entry], store: Store) -> None:
        self._spec, self._artifacts, self._entries, self._store = spec, artifacts, entries, store
        self._texts: dict[str, bytes] | None = None
        self.listed: Sequence[Generated] = ()
        memo, key = store.cache / "documents" / f"{spec.key}.json", self._key()
        known = read_json(memo, {})
        if known.get("key") == key:
            self.listed = tuple(Generated(*facts) for facts in known["listed"])
            return
        self.listed = _listed(self.texts())
        facts = [[g.path, g.role, g.size, g.sha256] for g in self.listed]
        with contextlib.suppress(OSError):
            write_atomically(memo, json.dumps({"key": key, "listed": facts}).encode())

    def texts(self) -> Mapping[str, bytes]:
        """The bytes of each, by its path in the set."""
        if self._texts is None:
            self._texts = self._written()
            if self.listed and self.listed != _listed(self._texts):
                raise InternalError("the bill of materials is not what it was for the same set")
        return self._texts

    def _key(self) -> str:
        """The digest of all that decides the bytes: the facts in the entries, the files, and the code."""
        code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(__file__).parent.glob("*.py"))]
        facts: list[Any] = [code, self._spec.name, self._spec.arch]
        for stage, entry in sorted(self._entries.items()):
            said = {n: f.sha256 for n, f in entry.files.items() if n.endswith(".json") or n == "release"}
            facts.append([stage, entry.id, said])
        facts += [[a.path, a.role, self._entries[a.stage].files[a.source].sha256] for a in self._artifacts]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _written(self) -> dict[str, bytes]:
        from .bill import SetFile
        from .collect import Collection
        from .cyclonedx import cyclonedx_json
        from .sources import sources_json
        from .spdx import spdx_json

        recipes = {stage: self._store.recipe(stage, entry.id) or {} for stage, entry in self._entries.items()}
        collection = Collection(self._spec, self._artifacts, self._entries, recipes)
        path = f"{set_paths.licences(self._spec.name)}/sources.json"
        sources = sources_json(collection, self._spec.name)
        bill = collection.bill([SetFile(path, hashlib.sha256(sources).hexdigest(), "sources")])
        return {path: sources, set_paths.SPDX: spdx_json(bill), set_paths.CYCLONEDX: cyclonedx_json(bill)}


def _listed(texts: Mapping[str, bytes]) -> tuple[Generated, ...]:
    boms: Iterable[str] = (set_paths.SPDX, set_paths.CYCLONEDX)
    return tuple(
        Generated(path, "sbom" if path in boms else "sources", len(data), hashlib.sha256(data).hexdigest())
        for path, data in texts.items()
    )
