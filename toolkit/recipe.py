"""Which stages a spec becomes, in the order a person would do them. The engine runs them as they are asked for."""

from __future__ import annotations

from .arch import arch_of
from .image.layout import default_align_mib
from .kata.guest import plugs_dimms
from .pipeline.layout import extension_stage
from .pipeline.stage import Stage
from .spec.model import (
    BinaryAgent,
    BuiltinAgent,
    DebianRootfs,
    GivenFile,
    KernelSource,
    MinimalRootfs,
    OciRootfs,
    PackagedKernel,
    PrebuiltKernel,
    Spec,
    TarballAgent,
    TarballRootfs,
)
from .stages.agent import AgentStage
from .stages.busybox import BusyboxStage
from .stages.image import ImageStage
from .stages.kernel import KernelStage
from .stages.kernel_config import KernelConfigStage
from .stages.kernel_source import KernelOrigin, KernelSourceStage
from .stages.licences import LicencesStage
from .stages.rootfs import RootfsStage
from .stages.runtime_config import RuntimeConfigStage
from .stages.sources import SourcesStage
from .stages.wiring import WiringStage
from .stages.wrapper import RuntimeConfig, WrapperStage


def stages_of(spec: Spec) -> tuple[Stage, ...]:
    """Every stage of a spec, from sources to wrapper."""
    fetched_agent = _fetched_agent(spec)
    fetched_root = spec.rootfs.archive if isinstance(spec.rootfs, TarballRootfs) and spec.rootfs.archive.url else None
    fetched_image = spec.rootfs if isinstance(spec.rootfs, OciRootfs) and spec.rootfs.reference else None
    sources = SourcesStage(
        spec.kernel.source, fetched_agent, fetched_root, fetched_image, spec.arch, _fetched_extensions(spec)
    )
    return (
        *([sources] if sources.needed else []),
        *_kernel(spec),
        AgentStage(spec.agent, spec.arch, libraries=not isinstance(spec.rootfs, MinimalRootfs)),
        *([BusyboxStage(spec.arch)] if _fetches_busybox(spec) else []),
        *_packages(spec),
        *_mounter(spec),
        RootfsStage(
            spec.rootfs,
            modular=isinstance(spec.kernel.source, PackagedKernel),
            arch=spec.arch,
            facts=_facts(spec),
            foreign=_fetches_busybox(spec),
            mounts=_lends_mounter(spec),
        ),
        ImageStage(spec.image, spec.image.align_mib or default_align_mib(dimms=plugs_dimms(spec))),
        *_initrd(spec),
        *_extensions(spec),
        *_qemu(spec),
        RuntimeConfigStage.of(spec),
        WrapperStage(
            spec.wrapper,
            spec.name,
            spec.prefix,
            spec.kata,
            spec.arch,
            tuple(RuntimeConfig.of(h.name, dialect) for h in spec.hypervisors for dialect in h.dialects),
            image="image" in _roots(spec),
            initrd=spec.initrd.enabled,
        ),
        WiringStage.of(spec),
        LicencesStage(spec.arch),
    )


def outputs_of(spec: Spec) -> tuple[str, ...]:
    """The stages whose files a whole set consists of; what they need is built on the way."""
    config = ["kernel_config"] if _is_compared(spec.kernel.source) else []
    extensions = [extension_stage(extension.name) for extension in spec.extensions]
    vmm = ["qemu"] if any(h.build for h in spec.hypervisors) else []
    return ("kernel", *config, *_roots(spec), *extensions, *vmm, "runtime_config", "wrapper", "wiring", "licences")


def _fetched_agent(spec: Spec) -> GivenFile | None:
    """The file that holds the agent, if it is given by url."""
    agent = spec.agent
    if isinstance(agent, BinaryAgent):
        return agent.binary if agent.binary.url else None
    return agent.archive if isinstance(agent, TarballAgent) and agent.archive.url else None


def _is_compared(source: KernelSource) -> bool:
    """Whether the kernel is held to what the guest needs after it was built: by others, with a known configuration."""
    return isinstance(source, PackagedKernel) or (isinstance(source, PrebuiltKernel) and source.config is not None)


def _roots(spec: Spec) -> list[str]:
    """What the guest can boot from: an image unless every hypervisor takes the initrd."""
    image = ["image"] if any(h.boot == "image" for h in spec.hypervisors) else []
    return [*image, *(["initrd"] if spec.initrd.enabled else [])]


def _extensions(spec: Spec) -> tuple[Stage, ...]:
    if not spec.extensions:
        return ()
    from .stages.extension import ExtensionStage

    return tuple(ExtensionStage(extension, spec.arch) for extension in spec.extensions)


def _qemu(spec: Spec) -> tuple[Stage, ...]:
    build = next((h.build for h in spec.hypervisors if h.build), None)
    if build is None:
        return ()
    from .stages.qemu import QemuStage
    from .stages.qemu_source import QemuSourceStage

    return (QemuSourceStage(build.version), QemuStage(spec.arch))


def _lends_mounter(spec: Spec) -> bool:
    """Whether the agent leaves mounting the extension images to systemd."""
    return bool(spec.extensions) and not isinstance(spec.agent, BuiltinAgent)


def _mounter(spec: Spec) -> tuple[Stage, ...]:
    if not _lends_mounter(spec):
        return ()
    from .stages.extension_mount import ExtensionMountStage

    return (ExtensionMountStage(spec.arch),)


def _fetched_extensions(spec: Spec) -> tuple[tuple[str, GivenFile], ...]:
    """The files of extension images that are given by url."""
    sources = [(extension_stage(extension.name), extension.source) for extension in spec.extensions]
    return tuple((n, s.archive) for n, s in sources if isinstance(s, TarballRootfs) and s.archive.url)


def _initrd(spec: Spec) -> tuple[Stage, ...]:
    if not spec.initrd.enabled:
        return ()
    from .stages.initrd import InitrdStage

    return (InitrdStage(spec.initrd),)


def _kernel(spec: Spec) -> tuple[Stage, ...]:
    kernel = spec.kernel
    if isinstance(kernel.source, PackagedKernel | PrebuiltKernel):
        return _prebuilt(spec, kernel.source)
    origin = KernelOrigin(kernel.source, kernel.patches)
    return (
        KernelSourceStage(origin),
        KernelConfigStage(origin, kernel.profile, kernel.options, spec.arch, kernel.toolchain, kernel.features),
        KernelStage(origin, spec.arch, kernel.toolchain),
    )


def _packages(spec: Spec) -> tuple[Stage, ...]:
    if not isinstance(spec.rootfs, DebianRootfs):
        return ()
    from .stages.debian import DebianStage

    return (DebianStage(spec.rootfs, spec.arch),)


def _facts(spec: Spec) -> dict[str, str]:
    """What texts in the root file system may name."""
    return {"name": spec.name, "arch": spec.arch, "kata": spec.kata}


def _fetches_busybox(spec: Spec) -> bool:
    """Whether the guest's busybox is not this machine's."""
    return isinstance(spec.rootfs, MinimalRootfs) and spec.rootfs.busybox and not arch_of(spec.arch).native


def _has_modprobe(spec: Spec) -> bool:
    """Whether the guest can load a module when one is asked for: busybox can, of others we do not know."""
    return isinstance(spec.rootfs, MinimalRootfs) and spec.rootfs.busybox


def _prebuilt(spec: Spec, source: PackagedKernel | PrebuiltKernel) -> tuple[Stage, ...]:
    from .kconfig.guests import guests_of
    from .stages.kernel_fit import KernelFitStage
    from .stages.kernel_modules import KernelModulesStage
    from .stages.kernel_package import PackagedKernelStage
    from .stages.kernel_prebuilt import PrebuiltKernelStage

    packaged = isinstance(source, PackagedKernel)
    fit = KernelFitStage(
        spec.kernel.profile,
        spec.arch,
        guests_of(spec),
        source.where,
        spec.kernel.features,
        spec.kernel.cmdline,
        packaged=packaged,
    )
    if isinstance(source, PackagedKernel):
        modules = KernelModulesStage(source, spec.arch, modprobe=_has_modprobe(spec))
        return (PackagedKernelStage(source, spec.arch), fit, modules)
    return (PrebuiltKernelStage(source, spec.arch), *([fit] if source.config else []))
