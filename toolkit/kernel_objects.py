"""Lists the objects that a compiled kernel consists of, from the archive that its build links vmlinux from.

Since 6.1 that is ``vmlinux.a``, a thin archive: it names its members and holds none of their bytes. Source of the
format: ar(1), "thin archive", and the GNU extension for long names (``//``).
"""

from __future__ import annotations

from pathlib import Path

from .errors import ToolError

_MAGIC = b"!<thin>\n"
_HEADER = 60  # name[16] date[12] owner[6] group[6] mode[8] size[10] end[2]
_TABLES = (b"/", b"//", b"/SYM64/")  # the symbol index and the long names: only these have content in the archive


def linked_objects(build: Path) -> tuple[str, ...]:
    """The objects in ``BUILD/vmlinux.a``, sorted, as paths below the build folder; none for kernels before 6.1.

    Objects of lib.a archives, which the linker picks from as it needs them, are not among them. Raises ToolError
    for an archive that is damaged.
    """
    archive = build / "vmlinux.a"
    if not archive.exists():
        return ()
    try:
        return tuple(sorted(_members(archive.read_bytes())))
    except ValueError as error:
        raise ToolError(f"make left a vmlinux.a that is not a thin archive: {error}") from error


def _members(data: bytes) -> list[str]:
    if not data.startswith(_MAGIC):
        raise ValueError("its first bytes are others")
    position, long_names, found = len(_MAGIC), b"", []
    while position < len(data):
        header = data[position : position + _HEADER]
        if len(header) < _HEADER or not header.endswith(b"`\n"):
            raise ValueError(f"no header at byte {position}")
        name, size = header[:16].rstrip(), int(header[48:58])
        position += _HEADER
        if name in _TABLES:
            if name == b"//":
                long_names = data[position : position + size]
            position += size + size % 2
        else:
            found.append(_name(name, long_names))
    return found


def _name(name: bytes, long_names: bytes) -> str:
    """``NAME/``, or ``/OFFSET`` (GNU's ar pads it, and ends it with ``/``) into the long names, each up to ``/\\n``."""
    if not name.startswith(b"/"):
        return name.removesuffix(b"/").decode()
    start = int(name.strip(b"/ "))
    end = long_names.find(b"/\n", start)
    if end < 0:
        raise ValueError(f"the long name at {start} has no end")
    return long_names[start:end].decode()
