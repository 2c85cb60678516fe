"""What a host is asked for: one set, one node, or Kata's own defaults. Knows nothing of any host."""

from __future__ import annotations

from dataclasses import dataclass

KATA_MEMORY_MIB, KATA_VCPUS = 2048, 1
"""Kata's own default_memory and default_vcpus."""

TDX, SNP, SEV, SGX, SE = "tdx", "snp", "sev", "sgx", "se"
"""Kinds of confidential guests; SE is IBM Secure Execution."""

VHOST_VSOCK_HYPERVISORS = ("qemu", "stratovirt")
"""Those that reach the agent through /dev/vhost-vsock; the others bring a socket of their own (hybrid vsock)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Each guest's size and what it needs of the host.

    ``arch``: as ``uname -m`` says it; None: whatever the host is. ``hypervisors``: Kata's names (``qemu``, ``clh``…);
    empty: any. ``guests``: how many at once. ``hugepages``: guest memory is made of them. ``vfio``: a device is passed
    through. ``confidential``: one of the kinds above. ``rootless``: without root, so devices and cgroups must be the
    caller's own. ``virtio_fs``: a folder is shared by it. ``sets``: installed sets, by the folders that they lie in, to
    be looked at too. ``builds``: sets are built here. ``purpose``: a named use of the host, see
    ``schemas/host-purposes.json``.
    """

    arch: str | None = None
    memory_mib: int = KATA_MEMORY_MIB
    vcpus: int = KATA_VCPUS
    guests: int = 1
    hypervisors: tuple[str, ...] = ()
    hugepages: bool = False
    vfio: bool = False
    confidential: str | None = None
    rootless: bool = False
    virtio_fs: bool = True
    sets: tuple[str, ...] = ()
    builds: bool = False
    purpose: str | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether every guest runs on another machine (Kata's remote hypervisor): this one needs no KVM then."""
        return bool(self.hypervisors) and set(self.hypervisors) == {"remote"}

    @property
    def needs_vhost_vsock(self) -> bool:
        """Whether a hypervisor reaches the agent through the host's kernel. Kata's default, QEMU, does."""
        return not self.hypervisors or any(
            name.partition("-")[0] in VHOST_VSOCK_HYPERVISORS for name in self.hypervisors
        )
