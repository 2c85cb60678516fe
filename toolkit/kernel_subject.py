"""What an argument of ``kernel diff`` or ``kernel hardening`` means, and the configuration that it stands for.

``guest.yaml`` a spec · ``profile:NAME`` or ``profile:NAME@SOURCE`` · the folder of a built set · any other file: a
``.config``, also gzipped as in /proc/config.gz.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .arch import arches
from .errors import InputError, Where, relative
from .kconfig.config import read_config
from .kernel_session import KernelSession, Resolved, default_spec, named_source
from .pipeline.files import read_json
from .spec.load import load_spec
from .spec.model import PackagedKernel, PrebuiltKernel, Spec
from .spec.source import read_source

PROFILE = "profile:"
_MAX_BYTES = 4 << 20  # a distribution's .config has 300 KB
_GZIP = b"\x1f\x8b"
_REPORT = "kernel-config.json"  # of a built set
_SPECS = (".yaml", ".yml")
# The comment that conf writes on top: Linux/x86 6.12.9 Kernel Configuration
_BANNER = re.compile(r"^# Linux/(\w+) (\d+\.\d+\S*) Kernel Configuration$", re.MULTILINE)


@dataclass(frozen=True)
class Subject:
    """A kernel's configuration. ``label`` is as the person wrote it; ``values`` as `read_config` gives them.

    ``kernel`` (version) and ``arch`` are None where nothing tells them, ``features`` is empty. ``resolved``: what it
    was resolved from, for a spec or a profile.
    """

    label: str
    values: Mapping[str, str]
    kernel: str | None = None
    arch: str | None = None
    profile: str | None = None
    features: tuple[str, ...] = ()
    resolved: Resolved | None = None


def find_subject(text: str, session: KernelSession, *, arch: str | None = None) -> Subject:
    """The configuration that ``text`` stands for; ``arch``: for profiles that are resolved.

    Raises InputError for what is none, ToolError when it cannot be resolved.
    """
    if text.startswith(PROFILE):
        return _resolved(text, _profile(text.removeprefix(PROFILE), session, arch), session)
    path = Path(text)
    if text and path.is_dir():
        return _set(text, path)
    if path.suffix in _SPECS:
        spec = load_spec(path)
        if isinstance(spec.kernel.source, PrebuiltKernel):
            return _prebuilt(text, spec, spec.kernel.source)
        if isinstance(spec.kernel.source, PackagedKernel):
            return replace(_file(text, session.packaged_config(spec)), arch=spec.arch)
        return _resolved(text, replace(spec, arch=arch) if arch else spec, session)
    if not text or not path.exists():
        raise InputError(f'there is no file or folder "{text}"', hint=_nearest(text, session))
    return _file(text, path)


def _nearest(text: str, session: KernelSession) -> str:
    if text in session.library.profiles:
        return f"a profile is written {PROFILE}{text}"
    return f"a spec, a built set, a .config, or {PROFILE}NAME"


def _profile(text: str, session: KernelSession, arch: str | None) -> Spec:
    name, at, source = text.partition("@")
    session.library.profile(name)
    return default_spec(profile=name, source=named_source(source) if at else None, arch=arch)


def _resolved(label: str, spec: Spec, session: KernelSession) -> Subject:
    found = session.resolve(spec)
    return Subject(
        label, found.values, found.kernel, found.arch.name, spec.kernel.profile, found.wishes.features, found
    )


def _set(label: str, folder: Path) -> Subject:
    from .vm.built_set import MANIFEST, BuiltSet

    if not (folder / MANIFEST).exists() and (folder / "Kconfig").exists():
        raise InputError(
            f"{label} is a kernel's source tree, not a configuration",
            hint=f"a profile on that tree is written {PROFILE}default@{label if '/' in label else f'./{label}'}",
        )
    built = BuiltSet.load(folder)
    configs = [folder / f.path for f in built.files if Path(f.path).name.startswith("config-") and f.stage == "kernel"]
    if not configs:
        raise InputError(f"the set {label} holds no kernel configuration", hint="build it whole, without --only")
    said = read_json(folder / _REPORT, {})  # none of a kernel without a known configuration
    features = [str(name) for name in said.get("features", ())]
    profile = said.get("profile") if isinstance(said.get("profile"), str) else None
    return replace(_file(label, configs[0]), arch=built.arch, profile=profile, features=tuple(features))


def _prebuilt(label: str, spec: Spec, source: PrebuiltKernel) -> Subject:
    if source.config is None or source.config.path is None:
        raise InputError(
            "its kernel is prebuilt, and no configuration of it lies on this machine",
            where=Where(relative(spec.file)),
            hint="give kernel.source.config a path",
        )
    return replace(_file(label, source.config.path), arch=spec.arch)


def _file(label: str, path: Path) -> Subject:
    text = _text(path)
    values = read_config(text)
    if not values and " is not set" not in text:
        raise InputError(
            "this is no kernel configuration: it has no line CONFIG_NAME=VALUE",
            where=Where(relative(path)),
            hint=f"a .config, or /proc/config.gz; a spec ends in {_SPECS[0]}",
        )
    banner = _BANNER.search(text)
    folder, version = banner.groups() if banner else (None, None)
    return Subject(label, values, kernel=version, arch=_arch(folder, values))


def _text(path: Path) -> str:
    if not _is_gzip(path):
        return read_source(path, max_bytes=_MAX_BYTES).text
    try:
        with gzip.open(path) as stream:
            data = stream.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"it cannot be unpacked: {error}", where=Where(relative(path))) from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"it is bigger than {_MAX_BYTES >> 20} MiB, unpacked", where=Where(relative(path)))
    return data.decode(errors="replace")


def _is_gzip(path: Path) -> bool:
    if not path.is_file():  # a pipe or a device is not opened; `read_source` says what it is
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(len(_GZIP)) == _GZIP
    except OSError:
        return False


def _arch(written: str | None, values: Mapping[str, str]) -> str | None:
    """Our name of the architecture of a ``.config``; the kernel calls those of 32 and 64 bits alike."""
    if values.get("CONFIG_64BIT") != "y":
        return None
    return next((arch.name for arch in arches().values() if written in (arch.make, arch.folder)), None)
