"""Runs a command as in a container without any privilege: `python confined.py COMMAND…`.

A seccomp filter that every child inherits refuses what rootless building must not need: mounts, namespaces, device
nodes, giving files to others, loop devices. Numbers of system calls: x86_64's.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

EPERM, ENOSYS = 1, 38
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_ARCH_X86_64 = 0xC000003E
_NUMBER_AT, _ARCH_AT, _ARGUMENT_AT = 0, 4, 16  # struct seccomp_data
REFUSED = {
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "mknod": 133, "mknodat": 259, "mount": 165,
    "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "mount_setattr": 442, "ptrace": 101, "bpf": 321,
}  # fmt: skip
_CLONE, _CLONE3, _IOCTL = 56, 435, 16
_NAMESPACES = 0x7E020000  # every CLONE_NEW* of linux/sched.h but that of time, which clone() cannot ask for
_LOOP_FIRST, _LOOP_LAST = 0x4C00, 0x4C82  # linux/loop.h


def program() -> bytes:
    """The filter. Jumps count the instructions that are skipped when the test holds, and when not."""
    words = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, _ARCH_X86_64),
        (_RETURN, 0, 0, _ERRNO | ENOSYS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for number in REFUSED.values():
        words += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | EPERM)]
    words += [
        (_EQUAL, 0, 1, _CLONE3),  # its flags lie in memory, where no filter can look: libc then takes clone
        (_RETURN, 0, 0, _ERRNO | ENOSYS),
        (_EQUAL, 0, 3, _CLONE),
        (_LOAD, 0, 0, _ARGUMENT_AT),
        (_ANY_BIT, 0, 6, _NAMESPACES),
        (_RETURN, 0, 0, _ERRNO | EPERM),
        (_EQUAL, 0, 4, _IOCTL),
        (_LOAD, 0, 0, _ARGUMENT_AT + 8),
        (_ABOVE, 0, 2, _LOOP_FIRST),
        (_ABOVE, 1, 0, _LOOP_LAST + 1),
        (_RETURN, 0, 0, _ERRNO | EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("<HBBI", *word) for word in words)


def confine() -> None:
    """Put this process, and all it will start, behind the filter. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = program()
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = ctypes.create_string_buffer(struct.pack("<H6xQ", len(code) // 8, ctypes.addressof(buffer)), 16)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _FILTER, ctypes.addressof(filter_))):
        words = [ctypes.c_ulong(argument) for argument in arguments]
        if libc.prctl(words[0], words[1], words[2], ctypes.c_ulong(0), ctypes.c_ulong(0)):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    confine()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 -- that is what this program is for
