"""Where the files of a set lie below its folder, and later below its install prefix: as Kata installs its own."""

from __future__ import annotations

SHARE = "share/kata-containers"
DEFAULTS = "share/defaults/kata-containers"
SPDX = "sbom.spdx.json"
CYCLONEDX = "sbom.cdx.json"


def kernel(release: str) -> str:
    """The kernel that QEMU boots; ``release`` is what ``uname -r`` says in the guest."""
    return f"{SHARE}/vmlinux-{release}"


def bzimage(release: str) -> str:
    """The compressed kernel, for VMMs that want one."""
    return f"{SHARE}/vmlinuz-{release}"


def kernel_config(release: str) -> str:
    """The kernel's .config."""
    return f"{SHARE}/config-{release}"


def system_map(release: str) -> str:
    """The kernel's symbols."""
    return f"{SHARE}/System.map-{release}"


def image(name: str) -> str:
    """The root-file-system image of the set ``name``."""
    return f"{SHARE}/{name}.img"


def root_hash(name: str) -> str:
    """What dm-verity must know of the image of the set ``name``, under the name that Kata gives it."""
    return f"{SHARE}/root_hash_{name}.txt"


def extension(name: str, extension_name: str) -> str:
    """An extension image of the set ``name``, called as Kata calls its own."""
    return f"{SHARE}/{name}-{extension_name}-extension.img"


def extension_root_hash(name: str, extension_name: str) -> str:
    """What dm-verity must know of it."""
    return f"{SHARE}/root_hash_{name}-{extension_name}-extension.txt"


def initrd(name: str) -> str:
    """The initrd of the set ``name``."""
    return f"{SHARE}/{name}.initrd"


def sealed(name: str) -> str:
    """Kernel, initrd and command line of the set ``name`` in one encrypted file, which the owner of a key makes."""
    return f"{SHARE}/{name}-se.img"


def licences(name: str) -> str:
    """The folder of the set ``name`` with licences, copyright files and what there is to say of sources."""
    return f"share/{name}/licences"


def runtime_config(file: str) -> str:
    """A runtime configuration; ``file`` is its name as `kata.tree.file_name` gives it."""
    return f"{DEFAULTS}/{file}"


def flavour_of(config: str) -> str:
    """Kata's own name of a runtime configuration, as its file says it: ``qemu``, ``qemu-runtime-rs``."""
    folder, _, file = config.rpartition("/")
    name = file.removesuffix(".toml").removeprefix("configuration-")
    # Kata has two files of this name, one in each runtime's folder.
    return f"{name}-runtime-rs" if name == "remote" and folder.endswith("runtime-rs") else name


def wiring(name: str, file: str) -> str:
    """A file of the set ``name`` that tells a container manager of its runtime handlers; see `wiring.files`."""
    return f"share/{name}/{file}"


def vmm(binary: str) -> str:
    """The VMM that a set brings; ``binary``: its usual name."""
    return f"bin/{binary}"


def wrapper(name: str) -> str:
    """The runtime wrapper; ``NAME-FLAVOUR`` is the one for one of several configurations."""
    return f"bin/{name}"


def shim(name: str) -> str:
    """The wrapper by the name that containerd derives from a runtime type (io.containerd.NAME.v2)."""
    return f"bin/containerd-shim-{name}-v2"
