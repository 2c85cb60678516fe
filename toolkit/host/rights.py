"""Who may use a device, and how one comes to be let in."""

from __future__ import annotations

import grp
import pwd
import stat

from .host import Host


def refusal(host: Host, device: str) -> tuple[str, str]:
    """That this user may not use a device, in words, and the command that changes it."""
    user, group, mode = user_name(host), "root", 0
    try:
        info = host.at(device).stat()
        mode, group = info.st_mode, _group_name(info.st_gid)
    except OSError:
        pass  # gone meanwhile: nobody may use it
    detail = f"{device} may not be used by {user} ({stat.filemode(mode)}, group {group}); root may"
    if mode & 0o060 == 0o060 and group != "root":
        return detail, f"sudo usermod -aG {group} {user}, then log in again"
    rule = f'KERNEL=="{device.rpartition("/")[2]}", GROUP="kvm", MODE="0660"'
    name = device.removeprefix("/dev/").replace("/", "-")
    return detail, (
        f"echo '{rule}' | sudo tee /etc/udev/rules.d/60-{name}.rules && sudo udevadm control --reload && "
        f"sudo chgrp kvm {device} && sudo chmod 660 {device} && sudo usermod -aG kvm {user}, then log in again"
    )


def user_name(host: Host) -> str:
    """The caller's name; the number where it has none."""
    try:
        return pwd.getpwuid(host.uid).pw_name
    except KeyError:
        return str(host.uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
