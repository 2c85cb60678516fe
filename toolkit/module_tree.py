"""Which of a kernel's modules a guest needs, in which order they load, and /lib/modules with just these.

The index files are text as modprobe reads it: modules.dep(5), modprobe.d(5). They are written here, not by depmod,
so that their bytes depend on nothing but the modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from .errors import InputError
from .modinfo import SUFFIXES, ModuleInfo, module_name, read_module, unpacked, without_signature
from .rootfs.tree import Bytes, Kind, Node, Tree

LOAD_LIST = "modules.load"  # what loader/load.c reads
_COPIED = ("modules.builtin", "modules.builtin.modinfo")


@dataclass(frozen=True)
class ModuleFolder:
    """A package's lib/modules/RELEASE on disk. ``machine``: what its modules must be for (ELF's e_machine).

    ``signed``: their signatures are kept.
    """

    path: Path
    release: str
    machine: int
    signed: bool = True

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Paths below the folder, by module name."""
        found = sorted(str(p.relative_to(self.path)) for p in self.path.rglob("*.ko*") if p.name.endswith(SUFFIXES))
        return {module_name(path): path for path in found}

    @cached_property
    def builtin(self) -> frozenset[str]:
        """Names of what is not a module in this kernel, but could have been."""
        listing = self.path / "modules.builtin"
        text = listing.read_text() if listing.is_file() else ""
        return frozenset(module_name(line) for line in text.splitlines())

    @cached_property
    def _read(self) -> dict[str, tuple[ModuleInfo, bytes]]:
        return {}

    def info(self, name: str) -> ModuleInfo:
        """What a module says of itself. Raises InputError for a damaged one, or one for another machine."""
        return self._load(name)[0]

    def data(self, name: str) -> bytes:
        """A module, unpacked."""
        return self._load(name)[1]

    def _load(self, name: str) -> tuple[ModuleInfo, bytes]:
        if name not in self._read:
            path = self.files[name]
            data = unpacked(self.path / path, path)
            info = read_module(data, path)
            if info.machine != self.machine:
                raise InputError(f"the module {path} is for another architecture (ELF machine {info.machine})")
            self._read[name] = info, data if self.signed else without_signature(data, path)
        return self._read[name]

    def named(self, word: str) -> list[str]:
        """The modules that a soft dependency means: by name, else by alias; none when it is built in."""
        name = word.replace("-", "_")
        if name in self.files:
            return [name]
        if name in self.builtin:
            return []
        return [other for other in self.files if any(fnmatchcase(word, a) for a in self.info(other).aliases)]


def in_order(folder: ModuleFolder, wanted: Iterable[str]) -> list[str]:
    """The modules and all that they need, each after what it needs.

    Raises InputError when one depends on a module that the package lacks, or on itself.
    """
    ordered: dict[str, None] = {}
    entered: set[str] = set()

    def visit(name: str, asker: str) -> None:
        if name in ordered or name in folder.builtin:
            return
        if name not in folder.files:
            raise InputError(f"the module {asker} needs the module {name}, which the package has not")
        if name in entered:
            raise InputError(f"the module {name} depends on itself, by way of {asker}")
        entered.add(name)
        info = folder.info(name)
        for needed in info.depends:
            visit(needed, name)
        for word in info.before:
            for soft in folder.named(word):
                if soft not in entered:  # soft ones may go in circles
                    visit(soft, name)
        ordered[name] = None
        for word in info.after:
            for soft in folder.named(word):
                if soft not in entered:
                    visit(soft, name)

    for name in sorted(wanted):
        visit(name, "list")
    return list(ordered)


def modules_tree(folder: ModuleFolder, boot: Iterable[str], others: Iterable[str]) -> tuple[Tree, list[str], list[str]]:
    """/lib/modules for a guest: the modules in ``boot`` and ``others`` with all that they need.

    Returns the tree, the modules that are loaded at boot in their order, and all modules, sorted.
    """
    first = in_order(folder, boot)
    everything = sorted({*first, *in_order(folder, others)})
    top = f"lib/modules/{folder.release}"
    tree = Tree()
    for name in everything:
        content = Bytes(folder.data(name))
        tree.add(f"{top}/{_plain(folder, name)}".encode(), Node(Kind.FILE, 0o644, content=content))
    texts = {
        LOAD_LIST: "".join(f"{_plain(folder, name)}\n" for name in first),
        "modules.dep": "".join(_dependencies(folder, name) for name in everything),
        "modules.alias": "".join(
            f"alias {alias} {name}\n" for name in everything for alias in sorted(set(folder.info(name).aliases))
        ),
        "modules.softdep": "".join(_soft_line(folder.info(name)) for name in everything),
        "modules.order": "".join(f"{_plain(folder, name)}\n" for name in everything),
    }
    for file, text in texts.items():
        tree.add(f"{top}/{file}".encode(), Node(Kind.FILE, 0o644, content=Bytes(text.encode())))
    for file in _COPIED:
        if (folder.path / file).is_file():
            copied = Bytes((folder.path / file).read_bytes())
            tree.add(f"{top}/{file}".encode(), Node(Kind.FILE, 0o644, content=copied))
    return tree, first, everything


def _plain(folder: ModuleFolder, name: str) -> str:
    """A module's path without its compression: modules lie unpacked in a guest, which a DAX image costs nothing."""
    path = folder.files[name]
    return path[: path.rindex(".ko") + len(".ko")]


def _dependencies(folder: ModuleFolder, name: str) -> str:
    """A line of modules.dep: all that a module needs, what is to be loaded first at the end."""
    needed: dict[str, None] = {}

    def visit(of: str) -> None:
        for other in folder.info(of).depends:
            if other in folder.files and other not in needed:
                visit(other)
                needed[other] = None

    visit(name)
    words = [f"{_plain(folder, name)}:", *(_plain(folder, other) for other in reversed(needed))]
    return " ".join(words) + "\n"


def _soft_line(info: ModuleInfo) -> str:
    words = [f"softdep {info.name}"]
    words += [f"pre: {' '.join(info.before)}"] if info.before else []
    words += [f"post: {' '.join(info.after)}"] if info.after else []
    return " ".join(words) + "\n" if len(words) > 1 else ""
