"""A check for KATA_CONF_FILE where earlier instructions put it: since Kata 4.0 it no longer chooses a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..checks import PASS, WARN, Verdict
from .entry import HostCheck
from .host import Host

_UNITS = ("containerd", "crio", "docker", "k3s", "rke2-server", "rke2-agent")
_UNIT_FOLDERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
_SHIM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/kata/bin")
_SHIM = re.compile(r"containerd-shim-[\w.-]+-v[0-9]+")
_SET = re.compile(r"^[^#\n]*\bKATA_CONF_FILE=[\"']?([^\s\"']*)", re.MULTILINE)
_MOST_SCRIPT = 1 << 16  # bytes; programs are larger
_DEFAULT = re.compile(r"/(etc|(usr|opt/kata)/share/defaults)/kata-containers/(runtime-rs/)?configuration\.toml")


def conf_file(host: Host) -> Verdict:
    """Neither a manager's service nor a shim of one's own sets it to what runtimes refuse."""
    found = [(file, value) for file in _files(host) for value in _SET.findall(_script(host, file))]
    refused = [f"{file} sets it to {value or 'nothing'}" for file, value in found if not _DEFAULT.fullmatch(value)]
    if refused:
        where = "kata-toolkit wire MANAGER DIR --print shows where"
        remedy = f"ConfigPath in the runtime's options ({where}), and remove KATA_CONF_FILE"
        return Verdict(WARN, f"{'; '.join(refused)}: refused since Kata 4.0", remedy)
    if found:
        return Verdict(PASS, f"{', '.join(file for file, _ in found)}: names a default place")
    return Verdict(PASS, "nothing sets it")


def _files(host: Host) -> Iterator[str]:
    for folder in _UNIT_FOLDERS:
        for unit in _UNITS:
            yield f"{folder}/{unit}.service"
            yield from (f"{folder}/{unit}.service.d/{name}" for name in host.names(f"{folder}/{unit}.service.d"))
    for folder in _SHIM_FOLDERS:
        yield from (f"{folder}/{name}" for name in host.names(folder) if _SHIM.fullmatch(name))


def _script(host: Host, file: str) -> str:
    """The text of a small file; a shim that is a program says nothing."""
    try:
        if host.at(file).stat().st_size > _MOST_SCRIPT:
            return ""
    except OSError:
        return ""
    return host.text(file) or ""


CHECKS = (
    HostCheck(
        "kata-conf-file",
        "KATA_CONF_FILE",
        conf_file,
        "Since Kata 4.0 a runtime that is given another file than its own default this way does not start.",
        "managers",
        (
            "/etc/systemd/system/containerd.service, containerd.service.d (and of others)",
            "/usr/local/bin/containerd-shim-*",
        ),
        "remove KATA_CONF_FILE, and set ConfigPath",
    ),
)
