"""The runtime handlers of a set: one for each configuration, by the name of the shim that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import set_paths
from ..errors import InputError
from ..spec.model import Dialect
from .overhead import Overhead

_LONGEST = 63  # RFC 1123, which Kubernetes holds handlers to


@dataclass(frozen=True, slots=True)
class Handler:
    """One runtime handler. Paths are those after installation.

    ``name``: of the handler, the RuntimeClass and Docker's runtime; the shim is ``containerd-shim-NAME-v2``.
    ``flavour``: Kata's own name of the configuration (``qemu-runtime-rs``). ``dialect``: go or rs. ``command``: the
    wrapper as a runtime with a command line, for managers that know no shims; empty where there is none.
    ``snapshotter``: the one of containerd that it needs, if any. ``annotations``: those of a VM's description that the
    configuration admits; ``refused``: the others, each with the reason.
    """

    name: str
    flavour: str
    vmm: str
    dialect: Dialect
    shim: str
    command: str
    config: str
    snapshotter: str
    overhead: Overhead
    annotations: Mapping[str, str]
    refused: Mapping[str, str]
    changes: Mapping[str, Any]

    @property
    def runtime_type(self) -> str:
        """What containerd derives the shim's name from."""
        return f"io.containerd.{self.name}.v2"


def handler_names(wrapper: str, files: list[tuple[Dialect, str]], *, several: bool) -> list[tuple[str, Dialect, str]]:
    """(handler, dialect, file) for each configuration, given (dialect, file) in the order of preference.

    The first is the wrapper's own name; the others have Kata's name of the configuration behind it. With ``several``
    hypervisors the first has such a name too, so that each can be asked for. Raises InputError for a name that is too
    long.
    """
    dialect, file = files[0]
    named = files if several else files[1:]
    further = [(f"{wrapper}-{set_paths.flavour_of(file)}", dialect, file) for dialect, file in named]
    names = [(wrapper, dialect, file), *further]
    longest = max((name for name, _, _ in names), key=len)
    if len(longest) > _LONGEST:
        raise InputError(
            f"the runtime handler {longest} would have {len(longest)} characters; Kubernetes takes {_LONGEST}",
            hint="choose a shorter wrapper.name, or set name",
        )
    return names
