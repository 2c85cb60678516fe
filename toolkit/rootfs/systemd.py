"""A root file system that systemd boots: the agent is a service of it, and the target that Kata boots into is there.

What units can say: systemd.unit(5), systemd.service(5), systemd.target(5). The root is read-only, and a guest has one
task, so what would only write to the root, look for hardware or keep a log is masked (systemctl(1), ``mask``).
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Where
from .minimal import AGENT, MOVED_AGENT, place_policy
from .tree import Bytes, Kind, Node, OnDisk, Tree

PROGRAMS = (b"usr/lib/systemd/systemd", b"lib/systemd/systemd")
_UNITS = b"usr/lib/systemd/system"
_ETC = b"etc/systemd/system"
_NOTHING = b"/dev/null"

# By this the built-in agent knows that it is a service, and not started by mistake on somebody's machine.
SERVICE_MARK = "KATA_AGENT_SERVICE=1"

AGENT_SERVICE = f"""[Unit]
Description=Kata Containers agent
After=basic.target
# The guest is there for its agent: when that ends, so does the guest.
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=exec
ExecStart=/{MOVED_AGENT.decode()}
Environment={SERVICE_MARK}
StandardOutput=tty
StandardError=tty
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
OOMScoreAdjust=-997
KillMode=process
TimeoutStopSec=5
"""

TARGET = """[Unit]
Description=Kata Containers guest
Requires=basic.target kata-agent.service
Wants=tmp.mount chrony.service chronyd.service
After=basic.target
Conflicts=rescue.service rescue.target
AllowIsolate=yes
"""

TMP_MOUNT = """[Unit]
Description=Temporary files
DefaultDependencies=no
Conflicts=umount.target
Before=local-fs.target umount.target

[Mount]
What=tmpfs
Where=/tmp
Type=tmpfs
Options=mode=1777,nosuid,nodev
"""

# The host's clock is a PTP device of the guest (Documentation/virt/kvm/ptp_kvm): no network is needed to follow it.
CHRONY_CONF = """# The host's clock, through the hypervisor.
refclock PHC /dev/ptp0 poll 3 dpoll -2 offset 0
# A guest that was paused is far behind: step, however late.
makestep 1 -1
# Nobody is served, and nothing is kept: the root is read-only.
port 0
cmdport 0
bindcmdaddress /
pidfile /run/chrony/chronyd.pid
"""
CHRONY_DROP_IN = """[Unit]
ConditionPathExists=/dev/ptp0

[Service]
ConfigurationDirectory=
StateDirectory=
LogsDirectory=
ExecStart=
ExecStart=!/usr/sbin/chronyd -f /etc/chrony/kata.conf
"""

FILES = {
    _UNITS + b"/kata-agent.service": AGENT_SERVICE,
    _UNITS + b"/kata-containers.target": TARGET,
}
_CHRONY_FILES = {
    b"etc/chrony/kata.conf": CHRONY_CONF,
    _ETC + b"/chrony.service.d/kata.conf": CHRONY_DROP_IN,
    _ETC + b"/chronyd.service.d/kata.conf": CHRONY_DROP_IN,
}

MASKED = (
    # These write to the root or to /var, or set up a system for the first time.
    "ldconfig.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-machine-id-commit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-repart.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup.service",
    "systemd-update-done.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    # These look for devices: the kernel makes their nodes, and the agent waits for those it needs.
    "kmod-static-nodes.service",
    "systemd-modules-load.service",
    "systemd-tmpfiles-setup-dev-early.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    # Logs go to the console.
    "systemd-journal-flush.service",
    "systemd-journald-audit.socket",
    "systemd-journald-dev-log.socket",
    "systemd-journald.service",
    "systemd-journald.socket",
    # Nobody sits at this machine, debugs its kernel, or looks after it at night.
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "logrotate.timer",
    "man-db.timer",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-pcrmachine.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
)

# Programs that systemd runs before anything else, each a process or more, to make units from what a guest does not
# have: encrypted disks, a swap to resume from, terminals, scripts from before systemd. What reads the kernel's command
# line stays: the runtime's systemd.mask= goes through systemd-debug-generator.
MASKED_GENERATORS = (
    "systemd-bless-boot-generator",
    "systemd-cryptsetup-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
    "systemd-veritysetup-generator",
)


def add_units(tree: Tree, where: Where | None = None) -> None:
    """Add the units of a guest, mask what it has no use for, and, where chrony is, let it follow the host's clock.

    ``where``: the wish's place in the spec. Raises InputError when there is no systemd.
    """
    if not any(_file(tree, program) for program in PROGRAMS):
        raise InputError(
            "the root file system has no systemd, so it cannot be its init",
            where=where,
            hint="init: agent, or a root file system with systemd",
        )
    files = dict(FILES)
    if not any(_file(tree, folder + b"/tmp.mount") for folder in (_UNITS, b"lib/systemd/system")):
        files[_UNITS + b"/tmp.mount"] = TMP_MOUNT
    if _file(tree, b"usr/sbin/chronyd"):
        files |= _CHRONY_FILES
    for path, text in files.items():
        tree.add(tree.resolved(path), Node(Kind.FILE, 0o644, content=Bytes(text.encode())))
    links = {name.encode(): _NOTHING for name in MASKED if _unit(tree, name.encode())}
    # For an initrd, with which not every runtime says what to boot into.
    links[b"default.target"] = b"/" + _UNITS + b"/kata-containers.target"
    for name, target in links.items():
        tree.add(tree.resolved(_ETC + b"/" + name), Node(Kind.SYMLINK, 0o777, target=target))
    for generator in MASKED_GENERATORS:
        path = b"etc/systemd/system-generators/" + generator.encode()
        tree.add(tree.resolved(path), Node(Kind.SYMLINK, 0o777, target=_NOTHING))


def place_service(tree: Tree, agent: Path, policy: Path | None) -> bytes:
    """Put the agent where its service starts it, and systemd where the kernel starts it; returns the agent's path.

    Raises InputError when a source cannot be read.
    """
    if tree.resolved(AGENT) not in tree:
        program = next(program for program in PROGRAMS if _file(tree, program))
        tree.add(tree.resolved(AGENT), Node(Kind.SYMLINK, 0o777, target=b"/" + program))
    place = tree.resolved(MOVED_AGENT)
    tree.add(place, Node(Kind.FILE, 0o755, content=OnDisk.of(agent)))
    place_policy(tree, policy)
    return place


def _file(tree: Tree, path: bytes) -> bool:
    node = tree.get(tree.resolved(path))
    return node is not None and node.kind is not Kind.DIRECTORY


def _unit(tree: Tree, name: bytes) -> bool:
    return any(_file(tree, folder + b"/" + name) for folder in (_UNITS, b"lib/systemd/system"))
