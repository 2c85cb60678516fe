"""How each hypervisor of a spec boots the set, and what a kernel must have for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..kata.flavours import flavour
from ..kata.guest import guest_settings
from ..spec.model import Spec
from .fragments import Feature, Library, load_library
from .prebuilt_rules import Guest, PrebuiltRules
from .selection import select

# What every profile has, so that no library is read to find that out.
_USUAL = frozenset(("image", "image-ext4", "nvdimm", "virtio-blk"))


def guests_of(spec: Spec) -> tuple[Guest, ...]:
    """How each hypervisor boots. Raises InputError for settings that contradict each other."""
    found = []
    for hypervisor in spec.hypervisors:
        if hypervisor.boot == "initrd":
            conditions = initrd_conditions(spec)
        else:
            conditions = image_conditions(spec) | {guest_settings(spec, hypervisor.name).rootfs_driver}
        conditions |= extension_conditions(spec) | set(flavour(hypervisor.name).kernel_needs)
        found.append(Guest(hypervisor.name, hypervisor.boot, frozenset(conditions), hypervisor.boot_where))
    return tuple(found)


def initrd_conditions(spec: Spec) -> set[str]:
    """Words of kernel-configs/prebuilt.yaml's ``when`` for a guest that boots the initrd."""
    return {"initrd", f"initrd-{spec.initrd.compression}"}


def extension_conditions(spec: Spec) -> set[str]:
    """The same for what extension images ask for, however the guest boots."""
    compressed = any(extension.compression != "none" for extension in spec.extensions)
    return {*(["extension"] if spec.extensions else []), *(["extension-compressed"] if compressed else [])}


def image_conditions(spec: Spec) -> set[str]:
    """The same for one that boots the image, but for its driver."""
    image = spec.image
    return {
        "image",
        f"image-{image.format}",
        *(["image-verity"] if image.verity else []),
        *(["image-compressed", f"image-{image.compression}"] if image.compression != "none" else []),
    }


@dataclass(frozen=True, slots=True)
class Lacking:
    """What a kernel to be compiled would lack: ``when`` as in kernel-configs/prebuilt.yaml; ``fix``: what mends it."""

    when: str
    what: str
    symbols: tuple[str, ...]
    fix: str


def lacking(spec: Spec) -> Iterator[Lacking]:
    """What the spec's root needs and its kernel's features do not ask for; its ``options`` have the last word.

    Nothing is resolved: only symbols that a feature or an option must ask for are looked at. Raises InputError when the
    features do not fit together.
    """
    boots = {hypervisor.boot for hypervisor in spec.hypervisors}
    conditions = extension_conditions(spec)
    conditions |= image_conditions(spec) if "image" in boots else set()
    conditions |= initrd_conditions(spec) if "initrd" in boots else set()
    conditions.update(*(flavour(hypervisor.name).kernel_needs for hypervisor in spec.hypervisors))
    kernel = spec.kernel
    if conditions <= _USUAL and not kernel.features.drop:
        return
    library = load_library()
    if kernel.profile not in library.profiles:
        return  # which has been said
    values: dict[str, str] = {}
    for feature in select(library, kernel.profile, kernel.features, arch=spec.arch):
        for setting in feature.settings:
            if not setting.arch or spec.arch in setting.arch:
                values[setting.symbol] = max(values.get(setting.symbol, "n"), setting.value)
    values.update({option.symbol: option.value for option in kernel.options})
    named = {setting.symbol for feature in library.features.values() for setting in feature.settings}
    for need in PrebuiltRules().needs:
        if need["when"] not in conditions:
            continue
        asked = need["symbols"] if need["when"] not in _USUAL else named.intersection(need["symbols"])
        symbols = tuple(s for s in need["symbols"] if s in asked and values.get(s, "n") != "y")
        if symbols:
            yield Lacking(need["when"], need["what"], symbols, _fix(library, spec, symbols))


def _fix(library: Library, spec: Spec, symbols: tuple[str, ...]) -> str:
    """The line that mends it: features that ask for the symbols, or the symbols themselves."""
    overruled = {option.symbol for option in spec.kernel.options} & set(symbols)
    if overruled:
        return f"remove {' and '.join(sorted(overruled))} from kernel.options"
    found: list[str] = []
    for symbol in symbols:
        asking = [name for name, feature in sorted(library.features.items()) if _asks(feature, symbol, spec.arch)]
        dropped = [name for name in asking if name in spec.kernel.features.drop]
        if dropped:
            return f"remove {dropped[0]} from kernel.features.drop"
        if not asking:
            return f"kernel: {{options: {{{', '.join(f'{s}: y' for s in symbols)}}}}}"
        if not set(asking) & set(found):
            # the one that adds least
            found.append(min(asking, key=lambda name: len(library.features[name].settings)))
    return f"kernel: {{features: {{add: [{', '.join(found)}]}}}}"


def _asks(feature: Feature, symbol: str, arch: str) -> bool:
    return feature.is_for(arch, None) and any(s.symbol == symbol and s.value == "y" for s in feature.settings)
