"""What contradicts itself in a spec's ``image`` and ``initrd``: rules of `crosscheck`, with place and reason."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InputError, Problem
from ..image.layout import default_align_mib
from .read import Read

IMAGE = ("image",)
# Where the spec asks for what a kernel may lack: the words are those of kernel-configs/prebuilt.yaml's `when`.
_ASKED_AT = {
    "image-verity": ("image", "verity"),
    "image-compressed": ("image", "compression"),
    "image-zstd": ("image", "compression"),
    "initrd": ("initrd", "enabled"),
    "extension": ("extensions",),
    "extension-compressed": ("extensions",),
}
_READ_ONLY = {
    "erofs": "an EROFS cannot be written to, so free space in it is of no use",
    "verity": "dm-verity makes the root read-only, so free space in it is of no use",
}


def image_room(read: Read) -> Iterator[Problem]:
    """``size`` and ``free_mib``: not both, and only where room can be used."""
    image, tree = read.spec.image, read.tree
    if not image.free_mib:
        return
    where = tree.key_where((*IMAGE, "free_mib"))
    if image.size_mib is not None:
        yield Problem("image.free_mib with a fixed image.size: the size decides what stays free", where, "remove one")
    reason = "verity" if image.verity else image.format
    if reason in _READ_ONLY:
        yield Problem(f"image.free_mib cannot be had: {_READ_ONLY[reason]}", where, "remove it")


def image_size(read: Read) -> Iterator[Problem]:
    """A fixed size must be one that the guest accepts."""
    from ..kata.guest import plugs_dimms

    spec = read.spec
    size = spec.image.size_mib
    if size is None:
        return
    try:
        align = spec.image.align_mib or default_align_mib(dimms=plugs_dimms(spec))
    except InputError:
        return  # the settings' own rule has said so
    if size % align:
        below = size // align * align
        sizes = [str(n) for n in (below, below + align) if n]
        why = "as image.align_mib says" if spec.image.align_mib else "or the guest would not accept it"
        yield Problem(
            f"image.size must be a multiple of {align} MiB, {why}",
            read.tree.value_where((*IMAGE, "size")),
            f"{' or '.join(sizes)} would do",
        )


def image_layout(read: Read) -> Iterator[Problem]:
    """2 MiB pages are mapped with DAX, or not at all."""
    image = read.spec.image
    if image.layout != "huge":
        return
    where = read.tree.value_where((*IMAGE, "layout"))
    if not image.dax:
        yield Problem("layout: huge is for dax: true: nothing else maps files in 2 MiB pages", where, "remove it")
    elif image.verity:
        yield Problem("layout: huge is of no use with verity: dm-verity has no DAX", where, "remove it")


def image_compression(read: Read) -> Iterator[Problem]:
    """Compressed files are for EROFS, and not for DAX."""
    image = read.spec.image
    if image.compression == "none":
        return
    where = read.tree.value_where((*IMAGE, "compression"))
    if image.format != "erofs":
        yield Problem(f"image.compression is for EROFS: {image.format} has none", where, "set image.format: erofs")
    if image.dax:
        yield Problem(
            "image.compression cannot be had with dax: a guest maps the image's blocks as they are, "
            "and compressed ones must be unpacked into its own memory",
            where,
            "set image.dax: false, or remove it",
        )


def kernel_reads_root(read: Read) -> Iterator[Problem]:
    """A kernel that is compiled here must be able to mount the image, or to unpack the initrd, in each VMM's VM."""
    from ..kata.flavours import flavour
    from ..kconfig.guests import lacking
    from .model import PackagedKernel, PrebuiltKernel

    spec = read.spec
    if isinstance(spec.kernel.source, PackagedKernel | PrebuiltKernel):
        return  # whose configuration is looked at when it is here
    try:
        found = list(lacking(spec))
    except InputError:
        return  # the features' own rule has said so
    for lack in found:
        asking = [h.name for h in spec.hypervisors if lack.when in flavour(h.name).kernel_needs]
        path = _ASKED_AT.get(lack.when, ("initrd", "compression") if "initrd" in lack.when else ("image", "format"))
        path = ("runtime", "hypervisors", asking[0]) if asking else path
        yield Problem(
            f"the kernel would lack what this needs: {lack.what} ({', '.join(lack.symbols)})",
            read.tree.key_where(path) if asking else read.tree.value_where(path),
            lack.fix,
        )
