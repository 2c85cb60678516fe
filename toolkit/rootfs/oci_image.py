"""A container image on this machine: its manifest, configuration and layers, each held to its digest.

Read are an OCI image layout (a folder, or a tar of one) and what ``docker save`` writes. Formats: OCI image-spec,
image-layout.md, image-index.md, manifest.md; Docker's Image Specification v1.2, "Combined Image JSON".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Where
from ..pipeline.files import sha256_of
from .layers import apply_layer
from .tar import open_tar
from .tree import Tree

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MAX_JSON = 4 << 20
_MAX_DEPTH = 5  # of indexes in indexes
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# What compresses a layer is seen by its first bytes; "foreign" and "nondistributable" ones may lie elsewhere.
_LAYER_TYPE = re.compile(
    r"application/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1|docker\.image\.rootfs\.(foreign\.)?diff)"
    r"\.tar([+.](gzip|zstd))?"
)
_TAG = "org.opencontainers.image.ref.name"
Unpack = Callable[[Path, Path, str], None]
"""Writes a tar's bytes, unpacked from what compresses it, to a new file: see ``archive.plain_tar``."""


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """An image that was found: its layers as files, lowest first, and the sha256 that each has unpacked.

    ``digest``: of the manifest, or of the configuration where there is none (``docker save``).
    """

    digest: str
    layers: tuple[Path, ...]
    diff_ids: tuple[str, ...]


def find_image(folder: Path, *, tag: str | None, arch: str) -> ContainerImage:
    """The image in an unpacked layout; ``arch`` is named as Go does ("amd64"), which is Debian's way.

    Raises InputError when it is damaged or incomplete, or when ``tag`` and ``arch`` do not lead to one image.
    """
    if (folder / "index.json").is_file():
        return _from_layout(folder, tag, arch)
    if (folder / "manifest.json").is_file():
        return _from_docker(folder, tag, arch)
    raise InputError(
        f"{folder} is no container image: it has neither index.json nor manifest.json",
        hint="read are an OCI image layout and what `docker save` writes",
    )


@contextmanager
def image_tree(image: ContainerImage, scratch: Path, unpack: Unpack) -> Iterator[Tree]:
    """The image's files, as long as the context lasts. ``scratch`` holds the unpacked layers.

    Raises InputError for a layer that is damaged, or is not the one that the image's configuration names.
    """
    tree = Tree()
    with ExitStack() as stack:
        for number, (layer, wanted) in enumerate(zip(image.layers, image.diff_ids, strict=True)):
            plain = scratch / f"layer-{number}.tar"
            unpack(layer, plain, f"the image's layer {number + 1}")
            found = sha256_of(plain)
            if found != wanted:
                raise InputError(f"the image's layer {number + 1} has the diff_id {found}, not {wanted}")
            apply_layer(tree, stack.enter_context(open_tar(plain, f"the image's layer {number + 1}")))
        yield tree


def _from_layout(folder: Path, tag: str | None, arch: str) -> ContainerImage:
    index = _json(folder / "index.json")
    found = [m for m in _list(index, "manifests", folder) if tag in (None, _annotation(m))]
    if not found:
        tags = sorted({t for m in _list(index, "manifests", folder) if (t := _annotation(m))})
        if tag is None:
            raise InputError(f"{folder} holds no image")
        raise InputError(f'{folder} has no image with the tag "{tag}"', hint=f"there are: {_listed(tags) or 'none'}")
    manifests = list(_manifests(folder, found, arch, _MAX_DEPTH, set()))
    if len({digest for digest, _ in manifests}) != 1:
        tags = sorted({t for m in found if (t := _annotation(m))})
        what = "several images" if manifests else "no image"
        raise InputError(
            f"{folder} has {what} for {arch}", hint=f"name one by its tag: {_listed(tags)}" if tags else None
        )
    digest, manifest = manifests[0]
    config = _json(_blob(folder, _field(manifest, "config", dict, folder)))
    layers = tuple(_layer(folder, layer) for layer in _list(manifest, "layers", folder))
    return ContainerImage(digest, layers, _diff_ids(config, len(layers), arch, folder))


def is_for(descriptor: Mapping[str, Any], arch: str) -> bool:
    """Whether a descriptor of an index is for Linux on this architecture; one that does not say may be."""
    platform = descriptor.get("platform")
    return not isinstance(platform, Mapping) or (platform.get("os"), platform.get("architecture")) == ("linux", arch)


def _manifests(
    folder: Path, descriptors: list[dict[str, Any]], arch: str, depth: int, seen: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The image manifests behind descriptors, those for other machines left out, each once (``seen``: digests)."""
    for descriptor in descriptors:
        if not is_for(descriptor, arch) or str(descriptor.get("digest")) in seen:
            continue
        seen.add(str(descriptor.get("digest")))
        document = _json(_blob(folder, descriptor))
        if descriptor.get("mediaType") in INDEX_TYPES or "manifests" in document:
            if not depth:
                raise InputError(f"{folder} has indexes in indexes without end")
            yield from _manifests(folder, _list(document, "manifests", folder), arch, depth - 1, seen)
        else:
            yield str(descriptor["digest"]).removeprefix("sha256:"), document


def _from_docker(folder: Path, tag: str | None, arch: str) -> ContainerImage:
    images = _json(folder / "manifest.json", list)
    if not all(isinstance(image, dict) for image in images):
        raise InputError(f"{folder / 'manifest.json'} does not describe images")
    found = [image for image in images if tag is None or tag in _repo_tags(image)]
    if len(found) != 1:
        tags = sorted({tag for image in images for tag in _repo_tags(image)})
        what = "several images" if found else f'no image with the tag "{tag}"'
        raise InputError(f"{folder} has {what}", hint=f"there are: {_listed(tags) or 'no tags'}")
    config = _inside(folder, _field(found[0], "Config", str, folder))
    layers = tuple(_inside(folder, str(layer)) for layer in _field(found[0], "Layers", list, folder))
    return ContainerImage(sha256_of(config), layers, _diff_ids(_json(config), len(layers), arch, folder))


def _repo_tags(image: Mapping[str, Any]) -> list[str]:
    tags = image.get("RepoTags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _listed(names: list[str]) -> str:
    """A few names of an image's, for a message: cut where they are long, and made readable."""
    texts = [name[:80] if name.isprintable() else repr(name[:80]) for name in names[:20]]
    return ", ".join([*texts, "…"] if len(names) > len(texts) else texts)


def _diff_ids(config: dict[str, Any], layers: int, arch: str, folder: Path) -> tuple[str, ...]:
    if config.get("architecture") not in (None, arch):
        named = _listed([str(config["architecture"])])
        raise InputError(f"the image in {folder} is for {named}, and the guest for {arch}")
    found = _field(_field(config, "rootfs", dict, folder), "diff_ids", list, folder)
    ids = [_DIGEST.fullmatch(str(one)) for one in found]
    if len(ids) != layers or not all(ids):
        raise InputError(f"the image in {folder} has {layers} layers, and its configuration names {len(ids)}")
    return tuple(one[1] for one in ids if one)


def _annotation(descriptor: dict[str, Any]) -> str | None:
    annotations = descriptor.get("annotations")
    tag = annotations.get(_TAG) if isinstance(annotations, dict) else None
    return tag if isinstance(tag, str) else None


def _blob(folder: Path, descriptor: dict[str, Any]) -> Path:
    """The file of a descriptor, held to its digest and size."""
    named = _DIGEST.fullmatch(str(descriptor.get("digest")))
    if not named:
        raise InputError(f"{folder} names a blob by {str(descriptor.get('digest'))[:100]!r}, which is no sha256")
    path = folder / "blobs" / "sha256" / named[1]
    if not path.is_file():
        raise InputError(f"{folder} is incomplete: the blob sha256:{named[1]} is missing", hint="copy the image again")
    if path.stat().st_size != descriptor.get("size") or sha256_of(path) != named[1]:
        raise InputError(f"the blob sha256:{named[1]} in {folder} is damaged", hint="copy the image again")
    return path


def _layer(folder: Path, descriptor: dict[str, Any]) -> Path:
    """The file of a layer. Raises InputError for one of a type that we do not know how to apply, too."""
    kind = descriptor.get("mediaType")
    if kind and not _LAYER_TYPE.fullmatch(str(kind)):
        raise InputError(f"the image in {folder} has a layer of the type {str(kind)[:100]!r}, which is not known")
    return _blob(folder, descriptor)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    with suppress(OSError, ValueError):  # for names that no path can have
        if path.resolve().is_relative_to(folder.resolve()) and path.is_file():
            return path
    raise InputError(f"the image in {folder} names {name[:300]!r}, which is not in it")


def _json(path: Path, kind: type = dict) -> Any:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise InputError("it is too large to be one", where=Where(str(path)))
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON: {error}", where=Where(str(path))) from error
    if not isinstance(document, kind):
        raise InputError("it is not what a container image has there", where=Where(str(path)))
    return document


def _list(document: dict[str, Any], key: str, folder: Path) -> list[dict[str, Any]]:
    found = _field(document, key, list, folder)
    if not all(isinstance(item, dict) for item in found):
        raise InputError(f"the image in {folder} is damaged: {key} does not list objects")
    return list(found)


def _field(document: dict[str, Any], key: str, kind: type, folder: Path) -> Any:
    value = document.get(key)
    if not isinstance(value, kind):
        raise InputError(f"the image in {folder} is damaged: it has no {key}")
    return value
