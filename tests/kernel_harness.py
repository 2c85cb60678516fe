"""A small kernel source tree with a make and a conf of its own, archives of it, and a bench to run stages on.

Its kernel is one C file, but what the stages see is the real thing: Kconfig files, ``allnoconfig`` with
KCONFIG_ALLCONFIG, out-of-tree objects, an ELF vmlinux, a bzImage header, and make's way of failing.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kata_toolkit.events import Cached, Event, Started
from kata_toolkit.kconfig.config import read_config
from kata_toolkit.kconfig.fragments import load_library
from kata_toolkit.kconfig.requests import collect
from kata_toolkit.kernel_tree import version_of
from kata_toolkit.pipeline.engine import Engine
from kata_toolkit.pipeline.inputs import BuildInputs
from kata_toolkit.pipeline.stage import Stage
from kata_toolkit.pipeline.store import Entry, Store
from kata_toolkit.spec.model import KernelOption, KernelSource, Patch
from kata_toolkit.stages.kernel import KernelStage
from kata_toolkit.stages.kernel_config import KernelConfigStage
from kata_toolkit.stages.kernel_source import KernelOrigin, KernelSourceStage
from kata_toolkit.stages.sources import SourcesStage

VERSION = "6.12.9"

MAKEFILE = r"""
VERSION = 6
PATCHLEVEL = 12
SUBLEVEL = 9
EXTRAVERSION =
ifneq ($(shell test -e .config && echo dirty),)
$(error The source tree is not clean)
endif
RELEASE = $(VERSION).$(PATCHLEVEL).$(SUBLEVEL)$(LOCALVERSION)
FLAGS = -nostdlib -static -ffreestanding -fno-pie -no-pie -Wl,--build-id=none -fmacro-prefix-map=$(CURDIR)/=
.PHONY: allnoconfig vmlinux bzImage kernelrelease modules modules_install
allnoconfig:
	@mkdir -p $(O)
	@python3 scripts/conf.py Kconfig $(O)/.config
kernelrelease:
	@echo $(RELEASE)
$(O)/main.o: init/main.c $(O)/.config
	@echo '  CC      init/main.o'
	@$(CC) -ffreestanding -c -o $@ -DCONFIG="\"$$(cksum < $(O)/.config)\"" \
		-DBANNER='"Linux version $(RELEASE) ($(KBUILD_BUILD_USER)@$(KBUILD_BUILD_HOST)) $(KBUILD_BUILD_TIMESTAMP)"' \
		-fmacro-prefix-map=$(CURDIR)/= $(CURDIR)/init/main.c
$(O)/vmlinux: $(O)/main.o
	@echo '  LD      vmlinux'
	@$(CC) $(FLAGS) -o $@ $<
	@nm $@ > $(O)/System.map
	@mkdir -p $(O)/init && cp $< $(O)/init/main.o && cd $(O) && rm -f vmlinux.a && ar cDPrT vmlinux.a init/main.o
vmlinux: $(O)/vmlinux
bzImage: $(O)/vmlinux
	@mkdir -p $(O)/arch/x86/boot
	@{ head -c 514 /dev/zero; printf HdrS; cat $<; } > $(O)/arch/x86/boot/bzImage
modules: $(O)/.config
	@mkdir -p $(O)/lib
	@$(CC) -c -o $(O)/lib/extra.ko -fmacro-prefix-map=$(CURDIR)/= $(CURDIR)/lib/extra.c
modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/kernel/lib
	@cp $(O)/lib/extra.ko $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/kernel/lib
"""

MAIN = """\
const char banner[] = BANNER, where[] = __FILE__, config[] = CONFIG;
void _start(void) { __asm__ volatile("hlt" :: "r"(banner), "r"(where), "r"(config)); }
"""

EXTRA = """\
#define INFO(name, text) const char name[] __attribute__((section(".modinfo"), used)) = text
INFO(module_name, "name=extra");
INFO(licence, "license=GPL");
INFO(depends, "depends=");
INFO(vermagic, "vermagic=6.12.9 SMP");
"""

KCONFIG = """\
mainmenu "A small kernel"

config EXPERT
	bool "Expert"

config NET
	bool "Networking"

source "net/Kconfig"

config NR_CPUS
	int "CPUs"
	default 1

config KERNEL_ZSTD
	bool "zstd"

config MODULES
	bool "Modules"

config EXTRA
	tristate "Something extra"
"""

NET_KCONFIG = """\
config VSOCKETS
	bool "vsock"
	depends on NET
"""

# The kernel's conf, as far as these Kconfig files need it: a symbol is on when it is asked for and its
# dependency is on.
CONF = r"""
import os, re, sys
text = open("Kconfig").read()
text = re.sub(r'source "(.*)"', lambda m: open(m.group(1)).read(), text)
asked = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", open(os.environ["KCONFIG_ALLCONFIG"]).read(), re.M))
known = {}
for block in re.split(r"^config ", text, flags=re.M)[1:]:
    name = block.split()[0]
    need = re.search(r"depends on (\w+)", block)
    value = asked.get(name) or (re.search(r"default (\w+)", block) or [None, "n"])[1]
    known[name] = value if not need or known.get(need.group(1)) == "y" else "n"
for name in asked.keys() - known.keys():
    print(f"warning: unknown symbol: {name}")
with open(sys.argv[2], "w") as out:
    out.write("#\n# Automatically generated file; DO NOT EDIT.\n#\n")
    for name, value in known.items():
        out.write(f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n")
"""

FILES = {
    "Makefile": MAKEFILE,
    "Kconfig": KCONFIG,
    "net/Kconfig": NET_KCONFIG,
    "init/main.c": MAIN,
    "lib/extra.c": EXTRA,
    "scripts/conf.py": CONF,
}

FEATURE = """\
feature: net
title: Networking
symbols:
  CONFIG_NET: {value: y, why: "networking at all"}
  CONFIG_VSOCKETS: {value: y, why: "the agent listens there"}
"""
PROFILE = "profile: default\ntitle: A small one\nfeatures: [net]\n"


def fake_tree(folder: Path) -> Path:
    """Write the tree."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def fake_library(folder: Path) -> Path:
    """Write a kernel-configs/ for it."""
    for kind, name, text in (("features", "net", FEATURE), ("profiles", "default", PROFILE)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{name}.yaml").write_text(text)
    return folder


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member for `tarball`."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 1_000_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tree_members(top: str = "linux-6.12.9") -> list[tuple[tarfile.TarInfo, bytes]]:
    """The fake tree as members of a tar."""
    return [member(f"{top}/{name}", text.encode()) for name, text in FILES.items()]


def tarball(path: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]], mode: str = "w:xz") -> Path:
    """Write a tar of these members."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload] # the mode is a parameter
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def deb(path: Path, inner: Path, place: str = "usr/src/linux-source-6.12.tar.xz") -> Path:
    """Write a Debian package that holds one file."""
    control = path.with_suffix(".control.tar.gz")
    text = b"Package: linux-source-6.12\nVersion: 6.12.9-1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n"
    tarball(control, [member("./control", text)], "w:gz")
    data = tarball(path.with_suffix(".data.tar.xz"), [member(f"./{place}", inner.read_bytes())])
    return packed(path, control, data)


def packed(path: Path, control: Path, data: Path) -> Path:
    """A Debian package of its two tars: deb(5)."""
    parts = (("debian-binary", b"2.0\n"), ("control.tar.gz", control.read_bytes()), ("data.tar.xz", data.read_bytes()))
    with path.open("wb") as out:
        out.write(b"!<arch>\n")
        for name, content in parts:
            out.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            out.write(content + b"\n" * (len(content) % 2))
    return path


@dataclass
class Bench:
    """Runs stages on a store of its own, and keeps what they told."""

    cache: Path
    offline: bool = False
    jobs: int = 2
    events: list[Event] = field(default_factory=list)

    def build(self, stages: Sequence[Stage], *wanted: str) -> dict[str, Entry]:
        """Bring the wanted stages (all, if none is named) into the store; the log is CACHE/log."""
        self.events.clear()
        store = Store(self.cache)
        with (self.cache / "log").open("w") as log:
            inputs = BuildInputs(store, offline=self.offline)
            engine = Engine("test", stages, store, inputs, self.events.append, log, self.jobs)
            return engine.build(wanted or [s.name for s in stages])

    @property
    def ran(self) -> list[str]:
        """The stages of the last build that were not cached."""
        return [e.stage for e in self.events if isinstance(e, Started)]

    @property
    def cached(self) -> list[str]:
        """The stages of the last build that were."""
        return [e.stage for e in self.events if isinstance(e, Cached)]


def kernel_stages(
    source: KernelSource,
    *,
    options: tuple[KernelOption, ...] = (),
    patches: tuple[Path, ...] = (),
    profile: str = "default",
) -> list[Stage]:
    """The stages that make a kernel, as the recipe has them."""
    origin = KernelOrigin(source, tuple(map(Patch, patches)))
    sources = SourcesStage(source)
    return [
        *([sources] if sources.needed else []),
        KernelSourceStage(origin),
        KernelConfigStage(origin, profile, options, "x86_64"),
        KernelStage(origin, "x86_64"),
    ]


def later_make(folder: Path) -> Path:
    """A folder for PATH whose ``make``, and all that it starts, live years ahead."""
    folder.mkdir()
    script = folder / "make"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("faketime")} -f +3000d {shutil.which("make")} "$@"\n')
    script.chmod(0o755)
    return folder


def resolve(tree: Path, folder: Path, profile: str) -> dict[str, str]:
    """Resolve a profile with the tree's conf; the values of the .config."""
    wishes = collect(load_library(), profile, (), arch="x86_64", kernel=version_of(tree))
    return conf(tree, folder, wishes.allconfig())


def conf(tree: Path, folder: Path, requests: str) -> dict[str, str]:
    """Run the tree's conf, compiled in ``folder``, on a text of requests; the values of the .config."""
    (folder / "requests").write_text(requests)
    (folder / ".config").unlink(missing_ok=True)
    subprocess.run(
        ["make", "-C", tree, f"O={folder}", "ARCH=x86_64", "allnoconfig"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "KCONFIG_ALLCONFIG": str(folder / "requests")},
        check=True,
        capture_output=True,
    )
    return read_config((folder / ".config").read_text())
