"""Telling a container manager of a set's handlers: merged into the configuration that it has, and taken out again."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, ToolError, Where
from . import daemon_json, marked, trees
from .handlers import Handler
from .index import Wiring
from .marked import Edited, Entry


@dataclass(frozen=True, slots=True)
class Manager:
    """A container manager: its file below /, which may hold the wrapper's name, and what makes it read that."""

    file: str
    then: str


MANAGERS: Mapping[str, Manager] = {
    "containerd": Manager("etc/containerd/config.toml", "systemctl restart containerd"),
    "crio": Manager("etc/crio/crio.conf.d/50-{}.conf", "systemctl restart crio"),
    "docker": Manager("etc/docker/daemon.json", "systemctl reload docker"),
    "podman": Manager("etc/containers/containers.conf.d/50-{}.conf", ""),
    "nerdctl": Manager("usr/local/bin", ""),
}
DEFAULT_VERSION = 2  # which every containerd reads; later ones turn it into their own
_MOST_BYTES = 4 << 20
_VERSION = "version = {}"
# A file that says so may as well not be there.
_NOTHING = frozenset(("", "{}", *map(_VERSION.format, trees.CONTAINERD_PLUGINS)))


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done. ``into`` None: the manager's own file below ``root``.

    ``config_version``: of a configuration of containerd that is not there yet. ``commands``: for a Docker that knows
    no shims. ``write`` False: only say what would be.
    """

    manager: str
    root: Path = Path("/")
    into: Path | None = None
    config_version: int = DEFAULT_VERSION
    commands: bool = False
    remove: bool = False
    force: bool = False
    write: bool = True


@dataclass(frozen=True, slots=True)
class Wired:
    """What was done: to which file, for each handler (or link), and the file's text (None: links were made).

    ``missing``: files that the handlers name and that are not installed.
    """

    manager: str
    file: Path
    changed: bool
    done: Mapping[str, str]
    text: str | None
    missing: tuple[str, ...] = ()

    @property
    def then(self) -> str:
        """The command that makes the manager read it; empty where none is needed."""
        return MANAGERS[self.manager].then if self.changed else ""


def wire(wiring: Wiring, wish: Wish) -> Wired:
    """Do it. Raises InputError when the file cannot be parsed or says otherwise, OSError when it cannot be written."""
    file = wish.into if wish.into is not None else wish.root / MANAGERS[wish.manager].file.format(wiring.wrapper)
    handlers = _handlers(wiring, wish)
    if wish.manager == "nerdctl":
        return _link(file, handlers, wish)
    text = _read(file)
    edited = _edit(text or "", file, wiring, handlers, wish)
    changed = edited.text != (text or "")
    if changed and wish.write:
        if _read(file) != text:
            raise ToolError(f"{file} changed while it was read", hint="do it again")
        _replace(file, edited.text, keep=not wish.remove or edited.text.strip() not in _NOTHING)
    return Wired(wish.manager, file, changed, edited.done, edited.text, _missing(handlers, wish))


def _missing(handlers: Sequence[Handler], wish: Wish) -> tuple[str, ...]:
    """What the handlers name and is not there: wiring and installing may be done in either order."""
    if wish.remove:
        return ()
    named = dict.fromkeys(path for handler in handlers for path in (handler.shim, handler.config))
    return tuple(path for path in named if not (wish.root / path.lstrip("/")).exists())


def _handlers(wiring: Wiring, wish: Wish) -> tuple[Handler, ...]:
    """Managers that run command lines have only the handlers with one."""
    by_command = wish.manager == "podman" or (wish.manager == "docker" and wish.commands)
    found = tuple(handler for handler in wiring.handlers if handler.command or not by_command)
    if not found:
        raise InputError(f"the set has no runtime with a command line, which {wish.manager} needs")
    return found


def _edit(text: str, file: Path, wiring: Wiring, handlers: Sequence[Handler], wish: Wish) -> Edited:
    if wish.manager == "docker":
        runtimes = trees.docker(handlers, commands=wish.commands)["runtimes"]
        if wish.remove:
            return daemon_json.drop(text, file, runtimes, force=wish.force)
        return daemon_json.put(text, file, runtimes, force=wish.force)
    marked.require_whole_blocks(text, file)
    tree, path, first = _toml(text, file, wiring.wrapper, handlers, wish)
    table: Any = tree
    for key in path:
        table = table[key]
    entries = [Entry(name, (*path, name), value) for name, value in table.items()]
    default = Entry("runc", (*path, "runc"), trees.RUNC)
    if wish.remove:
        edited = marked.drop(text, file, wiring.wrapper, entries, force=wish.force)
        if marked.owners(edited.text) == {default.name}:  # nobody needs it any more
            return Edited(marked.outside(edited.text, default.name), {**edited.done, default.name: "removed"})
        return edited
    edited = marked.put(text, file, wiring.wrapper, entries, force=wish.force, first=first)
    if not _forgets_runc(marked.parse(edited.text, file), wish.manager):
        return edited
    completed = marked.put(text, file, default.name, [default], first=first)  # before ours, for it goes after ours
    edited = marked.put(completed.text, file, wiring.wrapper, entries, force=wish.force)
    return Edited(edited.text, {**edited.done, **completed.done})


def _forgets_runc(document: Mapping[str, Any], manager: str) -> bool:
    """Whether a containerd that reads this would have lost its default runtime because of us."""
    if manager != "containerd" or document.get("version") != trees.FORGETS_RUNC:
        return False
    containerd = document["plugins"][trees.CONTAINERD_PLUGINS[trees.FORGETS_RUNC]]["containerd"]
    return containerd.get("default_runtime_name", "runc") == "runc" and "runc" not in containerd["runtimes"]


def _toml(
    text: str, file: Path, owner: str, handlers: Sequence[Handler], wish: Wish
) -> tuple[dict[str, Any], tuple[str, ...], str]:
    """The tree, the path to its runtimes, and what a document that is empty must begin with."""
    if wish.manager == "crio":
        return trees.crio(handlers), ("crio", "runtime", "runtimes"), ""
    if wish.manager == "podman":
        return trees.podman(handlers), ("engine", "runtimes"), ""
    others = marked.parse(marked.outside(text, owner), file)
    version, first = _containerd_version(others, file, wish.config_version)
    return (
        trees.containerd(handlers, version),
        ("plugins", trees.CONTAINERD_PLUGINS[version], "containerd", "runtimes"),
        first,
    )


def _containerd_version(document: Mapping[str, Any], file: Path, default: int) -> tuple[int, str]:
    known = ", ".join(map(str, trees.CONTAINERD_PLUGINS))
    version = document.get("version", 1) if document else default
    if type(version) is not int or version not in trees.CONTAINERD_PLUGINS:
        hint = "containerd config migrate writes it anew" if version == 1 else None
        told = "has no version, so it is version 1" if "version" not in document else f"is version {version!r}"
        raise InputError(f"this configuration {told}; known are {known}", where=Where(str(file)), hint=hint)
    return version, "" if document else f"{_VERSION.format(version)}\n\n"


def _read(file: Path) -> str | None:
    """The file's text, None when it is not there. Raises InputError."""
    where = Where(str(file))
    try:
        if file.exists() and not file.is_file():  # a pipe would be waited for, a device replaced
            raise InputError("is no file", where=where)
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise InputError(f"is larger than {_MOST_BYTES >> 20} MiB: no configuration", where=where)
        return data.decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise InputError("is not UTF-8", where=Where(str(file), line, column)) from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise InputError(f"is no file: {error.strerror}", where=where) from None
    except OSError as error:
        raise ToolError(f"{file} cannot be read: {error.strerror}") from error


def _replace(file: Path, text: str, *, keep: bool) -> None:
    """Write a file as a whole, with the mode and the owner that it has; through a link to where that leads.

    Without ``keep`` it is removed: all that was in it was ours.
    """
    target = Path(os.path.realpath(file))
    try:
        if not keep:
            target.unlink()
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        before = target.stat() if target.exists() else None
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("x", encoding="utf-8", newline="") as stream:
                os.fchmod(stream.fileno(), before.st_mode & 0o7777 if before else 0o644)
                if before:
                    with contextlib.suppress(PermissionError):
                        os.fchown(stream.fileno(), before.st_uid, before.st_gid)
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ToolError(f"{target} cannot be written: {error.strerror}", hint="as root, or with --root") from error


def _link(folder: Path, handlers: Sequence[Handler], wish: Wish) -> Wired:
    """containerd finds a shim by its name on its PATH, and the shim its configuration at the default place."""
    links: dict[Path, str] = {}
    for place, handler in trees.by_default(handlers).items():
        links[folder / Path(handler.shim).name] = handler.shim
        links[wish.root / place] = handler.config
    found = {link: _target(link) for link in links}
    problems = []
    for link, target in links.items():
        if found[link] in (None, target) or (wish.force and link.is_symlink()):
            continue
        hint = "--force puts a link in a link's place" if link.is_symlink() else "move it away"
        problems.append(Problem(f"{link} is there already, and is no link to {target}", None, hint))
    if problems:
        raise InputError.many(problems)
    done = {str(link): _linked(link, target, found[link], wish) for link, target in links.items()}
    changed = any(what not in ("unchanged", "absent") for what in done.values())
    return Wired(wish.manager, folder, changed, done, None, _missing(handlers, wish))


def _target(link: Path) -> str | None:
    """Where a link leads; an empty text for what is no link, None for nothing."""
    if link.is_symlink():
        return str(link.readlink())
    return "" if link.exists() else None


def _linked(link: Path, shim: str, found: str | None, wish: Wish) -> str:
    if wish.remove:
        done = "absent" if found is None else "removed"
    else:
        done = "added" if found is None else "unchanged" if found == shim else "replaced"
    if not wish.write or done in ("absent", "unchanged"):
        return done
    try:
        if wish.remove:
            link.unlink()
        else:
            link.parent.mkdir(parents=True, exist_ok=True)
            temporary = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
            temporary.symlink_to(shim)
            temporary.replace(link)
    except OSError as error:
        raise ToolError(f"{link} cannot be written: {error.strerror}", hint="as root, or with --root") from error
    return done
