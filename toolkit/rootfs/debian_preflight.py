"""Whether this machine and user can make a Debian root file system, said in words before anything is fetched.

Maintainer scripts expect to be root of a system with all its users. An ordinary user gets that in a user namespace
with a range of further users: user_namespaces(7), subuid(5), newuidmap(1).
"""

from __future__ import annotations

import os
import platform
import pwd
from collections.abc import Iterator
from pathlib import Path

from .. import run
from ..arch import Arch
from ..errors import Problem, ToolError
from ..pipeline.packages import install_hint

USERS = 65536  # Debian's packages use numbers up to 65535
_SUB = {"/etc/subuid": "newuidmap", "/etc/subgid": "newgidmap"}
# Settings that switch user namespaces off → the value that does.
_SWITCHES = {
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
    "user.max_user_namespaces": "0",
}
_WHY = "a root file system of kind debian is made by mmdebstrap in a user namespace"
_OTHERWISE = "or make it elsewhere and take it as kind: tarball or oci"


def require_able(arch: Arch) -> None:
    """Raises ToolError with all that is lacking."""
    problems = [*_tools(), *_emulation(arch)]
    problems += _root_problems() if os.geteuid() == 0 else _user_problems()
    if not problems and os.geteuid() != 0:
        problems += _trial()
    if problems:
        raise ToolError.many(problems)


def _tools() -> Iterator[Problem]:
    for tool in ("mmdebstrap", "apt-get", "dpkg-deb"):
        if run.which(tool) is None:
            yield Problem(
                f"{tool}, which makes root file systems of kind debian, is not installed", None, install_hint(tool)
            )


def _emulation(arch: Arch) -> Iterator[Problem]:
    if arch.native or (arch.uname == "i686" and platform.machine() == "x86_64"):
        return
    file = Path(f"/proc/sys/fs/binfmt_misc/qemu-{arch.uname}")
    try:
        enabled = file.read_text().startswith("enabled")
    except OSError:
        enabled = False
    if not enabled:
        yield Problem(
            f"programs of {arch.name}, which packages run while they are installed, do not run on this machine",
            None,
            "apt-get install qemu-user-static binfmt-support (it needs root once)",
        )


def _root_problems() -> Iterator[Problem]:
    """Root of a container may have no other users to give files to, or be unable to mount /proc for packages' scripts:
    some would then do less, and say nothing."""
    if _mapped("/proc/self/uid_map") < USERS or _mapped("/proc/self/gid_map") < USERS:
        yield Problem(
            f"root is alone in this user namespace: packages need {USERS:,} users, and it has fewer",
            None,
            f"start the container with a range of users, {_OTHERWISE}",
        )
    elif run.run(["unshare", "--mount", "--propagation", "unchanged", "true"], check=False).status:
        yield Problem(
            "root can mount nothing in this container, and the scripts of Debian's packages need /proc and /dev",
            None,
            f"start the container with CAP_SYS_ADMIN (--cap-add SYS_ADMIN), or be an ordinary user, {_OTHERWISE}",
        )


def _mapped(file: str) -> int:
    try:
        return sum(int(line.split()[2]) for line in Path(file).read_text().splitlines())
    except (OSError, ValueError, IndexError):
        return USERS  # no user namespaces in this kernel: all users are there


def _user_problems() -> Iterator[Problem]:
    name = _user_name()
    missing = [tool for tool in _SUB.values() if run.which(tool) is None]
    if missing:
        yield Problem(f"{_WHY}, and {' and '.join(missing)} are not installed", None, "apt-get install uidmap")
    for file in _SUB:
        if not any(count >= USERS for count in _ranges(file, name)):
            yield Problem(
                f"{_WHY}, and {file} gives the user {name} no range of {USERS:,}",
                None,
                f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}, {_OTHERWISE}",
            )
    for setting, off in _SWITCHES.items():
        try:
            value = (Path("/proc/sys") / setting.replace(".", "/")).read_text().strip()
        except OSError:
            continue
        if value == off:
            yield Problem(
                f"{_WHY}, and this machine lets no ordinary user have one: {setting} is {value}",
                None,
                f"as root: sysctl -w {setting}={'28633' if off == '0' and 'max' in setting else 1 - int(off)}, "
                f"{_OTHERWISE}",
            )
    if _no_new_privileges():
        yield Problem(
            f"{_WHY}, and newuidmap may not do its work here: this process can gain no privileges (no_new_privs)",
            None,
            f"start the container without no-new-privileges, {_OTHERWISE}",
        )


def _trial() -> Iterator[Problem]:
    """What mmdebstrap will do first, tried: a container's seccomp profile shows nowhere else."""
    done = run.run(["mmdebstrap", "--unshare-helper", "true"], check=False, timeout=60)
    if done.status:
        said = next((line for line in reversed(done.output.splitlines()) if line.strip()), "no reason given")
        yield Problem(f"{_WHY}, which fails here: {said}", None, f"allow user namespaces to this user, {_OTHERWISE}")


def _ranges(file: str, name: str) -> Iterator[int]:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        user, _, numbers = line.partition(":")
        count = numbers.partition(":")[2]
        if user in (name, str(os.geteuid())) and count.isascii() and count.isdigit():
            yield int(count)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _no_new_privileges() -> bool:
    try:
        return "\nNoNewPrivs:\t1" in Path("/proc/self/status").read_text()
    except OSError:
        return False
