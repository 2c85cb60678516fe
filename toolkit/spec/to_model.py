"""Makes the model from a document that satisfies the schema and has its defaults filled in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..arch import arch_of
from ..errors import Where
from ..kata.flavours import flavour
from .model import (
    Agent,
    BinaryAgent,
    BuiltinAgent,
    CargoAgent,
    DebianKernel,
    DebianRootfs,
    Extension,
    FeatureChanges,
    FolderRootfs,
    GitKernel,
    GivenFile,
    Hypervisor,
    Image,
    Initrd,
    Kernel,
    KernelOption,
    KernelSource,
    MinimalRootfs,
    OciRootfs,
    OverlayEntry,
    PackagedKernel,
    Patch,
    Placed,
    PodOverhead,
    PrebuiltKernel,
    QemuBuild,
    Rootfs,
    Slim,
    Spec,
    TarballAgent,
    TarballKernel,
    TarballRootfs,
    TreeKernel,
)
from .yamltree import Tree

ALLOW_ALL = "allow-all"
_BARE = frozenset("ynm")  # a tristate's values; any other string is written in quotes

Document = dict[str, Any]


def to_model(document: Document, tree: Tree) -> Spec:
    """The model of a filled document; paths become absolute, relative to the spec's folder."""
    file = Path(tree.source.file).absolute()
    base = file.parent
    name = document["name"]
    return Spec(
        file=file,
        digest=tree.source.digest,
        name=name,
        arch=document["arch"],
        kernel=_kernel(document["kernel"], base, tree),
        agent=_agent(document["agent"], base, tree),
        rootfs=_rootfs(document["rootfs"], base, tree),
        image=_image(document["image"], tree),
        initrd=Initrd(**document["initrd"]),
        kata=document["runtime"]["kata"],
        hypervisors=tuple(
            _hypervisor(key, value, tree, arch_of(document["arch"]).uname)
            for key, value in document["runtime"]["hypervisors"].items()
        ),
        wrapper=document["wrapper"].get("name", f"kata-{name}"),
        prefix=_prefix(document["install"].get("prefix", f"/opt/{name}")),
        budgets=dict(document["budgets"]),
        extensions=tuple(_extension(value, base, tree, index) for index, value in enumerate(document["extensions"])),
        overhead=_overhead(document["runtime"]["overhead"]),
    )


def option_value(value: bool | int | str, raw: str | None) -> str:
    """A kernel option's value as ``conf`` writes it: y, n, m, a number, or a string in quotes.

    ``raw`` is the scalar as it stands in the file: a hexadecimal number stays one.
    """
    if isinstance(value, bool):
        return "y" if value else "n"
    if isinstance(value, int):
        return raw.lower() if raw and raw.startswith("0x") else str(value)
    if value in _BARE:
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _kernel(value: Document, base: Path, tree: Tree) -> Kernel:
    options = []
    for symbol, wanted in value["options"].items():
        path = ("kernel", "options", symbol)
        options.append(KernelOption(symbol, option_value(wanted, tree.node(path).raw), tree.key_where(path)))
    return Kernel(
        source=_source(value["source"], base, tree),
        profile=value["profile"],
        features=FeatureChanges(
            **{
                key: {n: tree.value_where(("kernel", "features", key, i)) for i, n in enumerate(value["features"][key])}
                for key in ("add", "drop")
            }
        ),
        options=tuple(options),
        patches=tuple(_patch(patch, base, tree, number) for number, patch in enumerate(value["patches"])),
        cmdline=tuple(value["cmdline"]),
        toolchain=value["toolchain"],
    )


def _image(value: Document, tree: Tree) -> Image:
    return Image(
        format=value["format"],
        dax=value["dax"],
        verity=value["verity"],
        align_mib=value.get("align_mib"),
        layout=value["layout"],
        size_mib=_mib(value["size"]),
        free_mib=value["free_mib"],
        compression=value["compression"],
        size_where=tree.value_where(("image", "size")),
    )


def _mib(size: int | str) -> int | None:
    """A size as the spec writes it, in MiB; None for auto."""
    if isinstance(size, int) or size == "auto":
        return None if size == "auto" else int(size)
    return int(size[:-3]) * (1024 if size.endswith("GiB") else 1)


def _rootfs(value: Document, base: Path, tree: Tree) -> Rootfs:
    overlay = tuple(_overlay(entry, base, tree, index) for index, entry in enumerate(value["overlay"]))
    init_where = tree.value_where(("rootfs", "init"))
    if value["kind"] == "tarball":
        return TarballRootfs(_artifact(value, base), overlay, value["init"], init_where)
    if value["kind"] == "directory":
        return FolderRootfs(base / value["path"], overlay, value["init"], init_where)
    if value["kind"] == "oci":
        path = base / value["path"] if "path" in value else None
        return OciRootfs(
            path, value.get("tag"), value.get("sha256"), overlay, value.get("reference"), value["init"], init_where
        )
    if value["kind"] == "debian":
        return _debian(value, base, tree, overlay)
    return MinimalRootfs(value["busybox"], overlay)


def _extension(value: Document, base: Path, tree: Tree, index: int) -> Extension:
    source: TarballRootfs | FolderRootfs | OciRootfs
    if value["kind"] == "tarball":
        source = TarballRootfs(_artifact(value, base))
    elif value["kind"] == "oci":
        source = OciRootfs(base / value["path"], value.get("tag"), value.get("sha256"))
    else:
        source = FolderRootfs(base / value["path"])
    where = tree.value_where(("extensions", index))
    return Extension(value["name"], source, value.get("compression", "none"), where)


def _debian(value: Document, base: Path, tree: Tree, overlay: tuple[OverlayEntry, ...]) -> DebianRootfs:
    def placed(key: str) -> tuple[Placed, ...]:
        texts = value.get(key, [])
        return tuple(Placed(text, tree.value_where(("rootfs", key, i))) for i, text in enumerate(texts))

    slim = value["slim"]
    return DebianRootfs(
        suite=value.get("suite"),
        components=tuple(value["components"]),
        packages=placed("packages"),
        variant=value["variant"],
        mirrors=placed("mirrors"),
        keyring=base / value["keyring"] if "keyring" in value else None,
        slim=Slim(**slim) if isinstance(slim, dict) else Slim(slim, slim, slim, slim),
        overlay=overlay,
        init=value["init"],
        init_where=tree.value_where(("rootfs", "init")),
        where=tree.value_where(("rootfs", "suite") if "suite" in value else ("rootfs",)),
    )


def _overlay(value: Document, base: Path, tree: Tree, index: int) -> OverlayEntry:
    uid, _, gid = value.get("owner", "0:0").partition(":")
    if value["kind"] == "user":
        uid = gid = str(value["uid"])
    return OverlayEntry(
        kind=value["kind"],
        path=value.get("path") or value.get("home", ""),
        where=tree.value_where(("rootfs", "overlay", index)),
        source=base / value["from"] if "from" in value else None,
        text=value.get("text") or value.get("to") or value.get("shell", ""),
        name=value.get("name", ""),
        mode=int(value["mode"], 8) if "mode" in value else None,
        uid=int(uid),
        gid=int(gid),
    )


def _patch(value: Document | str, base: Path, tree: Tree, number: int) -> Patch:
    where = tree.value_where(("kernel", "patches", number))
    if isinstance(value, str):
        return Patch(base / value, where=where)
    return Patch(base / value["path"], value.get("sha256"), where)


def _source(value: Document, base: Path, tree: Tree) -> KernelSource:
    kind = value["kind"]
    if kind == "debian":
        return DebianKernel(value["package"], value.get("version"), value.get("sha256"))
    if kind == "tarball":
        return TarballKernel(_artifact(value, base))
    if kind == "tree":
        return TreeKernel(base / value["path"])
    place = ("kernel", "source")
    if kind == "git":
        repository = value["repository"]
        where = tree.value_where((*place, "commit"))
        return GitKernel(repository if "://" in repository else str(base / repository), value["commit"], where)
    if "vmlinux" not in value:
        deb = _artifact(value["deb"], base) if "deb" in value else None
        where = tree.value_where(place)
        return PackagedKernel(value.get("package"), value.get("version"), value.get("sha256"), deb, where)
    return PrebuiltKernel(
        vmlinux=_artifact(value["vmlinux"], base),
        config=_artifact(value["config"], base) if "config" in value else None,
        bzimage=_artifact(value["bzimage"], base) if "bzimage" in value else None,
        where=tree.value_where(place),
    )


def _artifact(value: Document, base: Path) -> GivenFile:
    path = base / value["path"] if "path" in value else None
    return GivenFile(path, value.get("url"), value.get("sha256"))


def _agent(value: Document, base: Path, tree: Tree) -> Agent:
    if value["kind"] == "builtin":
        return BuiltinAgent()
    given = value.get("policy")
    policy = given if given in (None, ALLOW_ALL) else base / given
    if value["kind"] == "tarball":
        return TarballAgent(_artifact(value, base), value["member"], policy, tree.value_where(("agent", "member")))
    if value["kind"] == "cargo":
        return CargoAgent(
            path=base / value["path"],
            package=value.get("package"),
            bin=value.get("bin"),
            features=tuple(value["features"]),
            default_features=value["default_features"],
            target=value.get("target"),
            policy=policy,
            where=tree.value_where(("agent", "path")),
        )
    given_as = "path" if "path" in value else "url"
    return BinaryAgent(_artifact(value, base), policy, tree.value_where(("agent", given_as)))


def _hypervisor(name: str, value: Document, tree: Tree, arch: str) -> Hypervisor:
    path = ("runtime", "hypervisors", name)
    where: dict[str, Where] = {key: tree.key_where((*path, "settings", key)) for key in value["settings"]}
    return Hypervisor(
        name=name,
        boot=value["boot"],
        dialects=tuple(value.get("dialects", flavour(name).dialects(arch))),
        settings=value["settings"],
        where=where,
        boot_where=tree.value_where((*path, "boot")),
        ignored_by={
            dialect: {n: tree.value_where((*path, "ignored_by", dialect, i)) for i, n in enumerate(names)}
            for dialect, names in value["ignored_by"].items()
            if names
        },
        build=QemuBuild(value["build"].get("version"), tree.key_where((*path, "build"))) if "build" in value else None,
        trim=value.get("trim"),
    )


def _overhead(value: Document) -> PodOverhead:
    cpu = value.get("cpu")
    return PodOverhead(value.get("memory_mib"), None if cpu is None else math.ceil(round(cpu * 1000, 6)))


def _prefix(prefix: str) -> str:
    return prefix.rstrip("/") or "/"
