"""Which programs are in a busybox of another architecture, which cannot be asked here, and where they belong.

The names stand in its bytes one after the other, sorted, as its source lays them out (``applet_names`` in
include/applet_tables.h). Their folders are not to be found there, so they are here; what is not named goes to usr/bin.
"""

from __future__ import annotations

import re

from ..errors import InputError

_FIRST = b"\0[\0[[\0"  # no other program's names sort before these two
_NAME = re.compile(rb"[a-z0-9\[_.-]+")
_BANNER = re.compile(rb"BusyBox v[ -~]+")
_ROOT = "linuxrc"  # an init for old-style initrds, in the root
_FOLDERS = {
    "bin": (
        "arch ash base64 busybox cat chgrp chmod chown cp cpio cttyhack date dd df dmesg dnsdomainname "
        "dumpkmap echo ed egrep false fatattr fgrep getopt grep gunzip gzip hostname ionice ipcalc kill link "
        "linux32 linux64 ln login ls lzop mkdir mknod mktemp more mount mt mv netstat nuke pidof ping ping6 "
        "ps pwd readlink resume rev rm rmdir rpm run-parts sed setpriv sh sleep stat stty su sync tar touch "
        "true umount uname uncompress usleep vi watch zcat "
    ),
    "sbin": (
        "acpid adjtimex arp blockdev depmod devmem fdisk findfs freeramdisk fstrim getty halt hwclock "
        "ifconfig ifdown ifup init insmod ip ipneigh klogd loadkmap logread losetup lsmod mdev mkdosfs mke2fs "
        "mkswap modinfo modprobe nameif pivot_root poweroff reboot rmmod route run-init start-stop-daemon "
        "sulogin swapoff swapon switch_root sysctl syslogd tc tunctl udhcpc uevent vconfig watchdog "
    ),
    "usr/sbin": (
        "arping brctl chroot crond fsfreeze httpd i2cdetect i2cdump i2cget i2cset i2ctransfer loadfont mim "
        "nologin partprobe rdate telnetd ubirename udhcpd "
    ),
}
_PLACES = {name: folder for folder, names in _FOLDERS.items() for name in names.split()}


def applets_of(program: bytes) -> tuple[bytes, ...]:
    """The paths of a busybox's programs, sorted, such as b"bin/sh". Raises InputError when it is none."""
    start = program.find(_FIRST)
    names: list[bytes] = []
    for name in program[start + 1 :].split(b"\0") if start >= 0 else ():
        if not _NAME.fullmatch(name) or (names and name <= names[-1]):
            break
        names.append(name)
    if b"sh" not in names:
        raise InputError("this busybox has no shell", hint="take Debian's busybox-static")
    found = (name.decode() for name in names)
    return tuple(sorted(f"{_PLACES.get(name, 'usr/bin')}/{name}".encode() for name in found if name != _ROOT))


def version_of(program: bytes) -> str:
    """What it says of itself, such as "BusyBox v1.35.0 (Debian 1:1.35.0-4)". Raises InputError when it is none."""
    match = _BANNER.search(program)
    if match is None:
        raise InputError("this is no busybox")
    return match.group().decode().strip()
