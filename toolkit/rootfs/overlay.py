"""Changes on top of a root file system: files, folders, links, texts, users, and what is to be left out.

Each applies in order to the tree as the ones before it left it. Paths are the guest's; symbolic links in them are
followed inside its root, so none can lead to another place than the guest itself would go to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..errors import InputError, Problem
from ..spec.model import OverlayEntry
from .folder import folder_tree
from .tree import CHUNK, Bytes, Kind, Node, OnDisk, Tree, normalised, read_padded, shown

_PASSWD, _GROUP = b"etc/passwd", b"etc/group"
_MAX_DATABASE = 1 << 20  # bytes of /etc/passwd or /etc/group


def apply(tree: Tree, entries: tuple[OverlayEntry, ...], facts: Mapping[str, str], modules: Tree | None = None) -> None:
    """Change a tree. ``facts`` are what texts may name, as ``{{ name }}``; ``modules``: the kernel's, if it has any.

    Raises InputError with every entry that cannot be applied, at its place in the spec.
    """
    problems = []
    for entry in entries:
        try:
            if entry.kind == "modules":
                _modules(tree, modules)
            else:
                _KINDS[entry.kind](tree, entry, facts)
        except InputError as error:
            problems += [Problem(p.message, entry.where, p.hint) for p in error.problems]
    if problems:
        raise InputError.many(problems)


def apply_beside(
    ours: Mapping[bytes, str],
    tree: Tree,
    entries: tuple[OverlayEntry, ...],
    facts: Mapping[str, str],
    modules: Tree | None = None,
) -> None:
    """As `apply`, where something of ours comes to ``ours`` (path → what it is) afterwards, and would replace the rest.

    Raises InputError also for an entry that puts something there.
    """
    before = {path: tree.get(tree.resolved(path)) for path in ours}
    apply(tree, entries, facts, modules)
    for path, what in ours.items():
        node = tree.get(tree.resolved(path))
        if node is not None and node is not before[path]:
            above = [e for e in entries if (shown(path) + "/").startswith(e.path.rstrip("/") + "/")]
            raise InputError(
                f"the overlay puts something at {shown(path)}, where {what} goes",
                where=(above or entries)[-1].where,
                hint="another agent is named by `agent`, its policy by agent.policy; leave it out here",
            )


def _place(tree: Tree, entry: OverlayEntry) -> bytes:
    """Where the entry goes in the tree."""
    try:
        path = normalised(entry.path.encode("utf-8", "surrogateescape").lstrip(b"/"))
    except InputError as error:
        raise InputError(f"{entry.path} {error.problems[0].message}") from error
    if not path:
        raise InputError(f"{entry.path} is the root itself")
    return tree.resolved(path)


def _put(tree: Tree, entry: OverlayEntry, node: Node) -> None:
    tree.add(_place(tree, entry), replace(node, uid=entry.uid, gid=entry.gid))


def _file(tree: Tree, entry: OverlayEntry, facts: Mapping[str, str]) -> None:
    assert entry.source is not None  # noqa: S101 -- the schema requires it of this kind
    try:
        mode = 0o755 if entry.source.stat().st_mode & 0o100 else 0o644  # not what the umask made of the rest
    except OSError as error:
        raise InputError(f"cannot read {entry.source}: {error.strerror}") from error
    _put(tree, entry, Node(Kind.FILE, mode if entry.mode is None else entry.mode, content=OnDisk.of(entry.source)))


def _directory(tree: Tree, entry: OverlayEntry, facts: Mapping[str, str]) -> None:
    """A folder of the host with all that is in it, or a new one. What is there already stays beside it."""
    below = folder_tree(entry.source) if entry.source else Tree()
    top = _place(tree, entry)
    moved: dict[int, bytes] = {}
    for path, node in below.walk():
        target = tree.resolved(top + b"/" + path if path else top)
        there = tree.get(target)
        if not path:
            mode = 0o755 if entry.mode is None else entry.mode
            if there is None or there.kind is not Kind.DIRECTORY or entry.mode is not None:
                tree.add(target, Node(Kind.DIRECTORY, mode, entry.uid, entry.gid))
        elif id(node) in moved:
            tree.link(target, moved[id(node)])
        elif not (node.kind is Kind.DIRECTORY and there and there.kind is Kind.DIRECTORY):
            tree.add(target, replace(node, uid=entry.uid, gid=entry.gid))
            moved[id(node)] = target


def _symlink(tree: Tree, entry: OverlayEntry, facts: Mapping[str, str]) -> None:
    target = entry.text.encode("utf-8", "surrogateescape")
    _put(tree, entry, Node(Kind.SYMLINK, 0o777, target=target))


def _text(tree: Tree, entry: OverlayEntry, facts: Mapping[str, str]) -> None:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    try:
        text = environment.from_string(entry.text).render(facts)
    except (
        jinja2.TemplateError,
        ArithmeticError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        known = ", ".join(sorted(facts))
        raise InputError(
            f"the text of {entry.path} cannot be filled in: {error}", hint=f"it may name: {known}"
        ) from error
    mode = 0o644 if entry.mode is None else entry.mode
    _put(tree, entry, Node(Kind.FILE, mode, content=Bytes(text.encode("utf-8", "surrogateescape"))))


def _remove(tree: Tree, entry: OverlayEntry, facts: Mapping[str, str]) -> None:
    path = _place(tree, entry)
    if path not in tree:
        raise InputError(
            f"{shown(path)} is not there, so it cannot be left out", hint="is it a symbolic link's target?"
        )
    tree.remove(path)


def _modules(tree: Tree, modules: Tree | None) -> None:
    """The kernel's modules; folders that are there stay as they are."""
    if modules is None:
        raise InputError(
            "the kernel has no modules",
            hint='add the feature "modules", and give options the value m: kernel: {options: {CONFIG_…: m}}',
        )
    for path, node in modules.walk():
        target = tree.resolved(path)
        if node.kind is not Kind.DIRECTORY or target not in tree:
            tree.add(target, node)


def _user(tree: Tree, entry: OverlayEntry, facts: Mapping[str, str]) -> None:
    """A user with a group of the same name and number, and a home folder if it has one."""
    name, home = entry.name, entry.path or "/nonexistent"
    line = f"{name}:x:{entry.uid}:{entry.gid}:{name}:{home}:{entry.text or '/bin/false'}\n"
    _add_line(tree, _PASSWD, name, str(entry.uid), line)
    _add_line(tree, _GROUP, name, str(entry.gid), f"{name}:x:{entry.gid}:\n")
    if entry.path:
        place = _place(tree, entry)
        if place not in tree:
            tree.add(place, Node(Kind.DIRECTORY, 0o700, entry.uid, entry.gid))


def _add_line(tree: Tree, path: bytes, name: str, number: str, line: str) -> None:
    """Add a line to /etc/passwd or /etc/group. Raises InputError when name or number is taken by another."""
    place = tree.resolved(path)
    node = tree.get(place)
    old = _content(node, place).decode("utf-8", "surrogateescape") if node else ""
    for known in old.splitlines():
        fields = known.split(":")
        if len(fields) > 2 and (fields[0] == name) != (fields[2] == number):
            raise InputError(f"{shown(path)} has {fields[0]} with the number {fields[2]} already")
        if fields[0] == name:
            return
    text = old + ("" if old.endswith("\n") or not old else "\n") + line
    new = node or Node(Kind.FILE, 0o644)
    tree.add(place, replace(new, content=Bytes(text.encode("utf-8", "surrogateescape"))))


def _content(node: Node, path: bytes) -> bytes:
    if node.content is None or node.size > _MAX_DATABASE:
        raise InputError(f"{shown(path)} is no file of users or groups")
    return read_padded(node.content, 0, min(node.size, CHUNK))


_KINDS: Mapping[str, Callable[[Tree, OverlayEntry, Mapping[str, str]], None]] = {
    "file": _file,
    "directory": _directory,
    "symlink": _symlink,
    "text": _text,
    "remove": _remove,
    "user": _user,
}
