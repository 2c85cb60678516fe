"""Each kind of check fails when what it looks at is broken: by a guest, an agent or a host not doing their part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kata_toolkit.checks import Verdict
from kata_toolkit.vm import other_roots, sharing
from kata_toolkit.vm.agent_client import AgentClient, AgentSilent
from kata_toolkit.vm.built_set import BuiltSet
from kata_toolkit.vm.checks import agent, containers, features, hotplug, power, shares
from kata_toolkit.vm.checks.container_table import CASES, Case
from kata_toolkit.vm.evidence import Evidence
from kata_toolkit.vm.inside import Inside
from kata_toolkit.vm.oci import Process
from kata_toolkit.vm.options import Options
from kata_toolkit.vm.proof import CHECKS, chosen
from kata_toolkit.vm.qmp import Qmp
from kata_toolkit.vm.running import Container, Running

pytestmark = pytest.mark.vm

# What an agent that does nothing at all about a container gets right too.
_NEEDS_NOTHING = {
    "output", "arguments", "stdin-end", "no-terminal", "devices", "device-links", "loopback", "ipv6-loopback",
    "many-processes", "no-groups", "environment", "no-other-devices",
}  # fmt: skip


@pytest.fixture(scope="module")
def evidence(built_set: Path) -> Iterator[Evidence]:
    """One guest for all of this file; others come and go."""
    with Evidence(BuiltSet.load(built_set), Options(accel="tcg"), note=lambda text: None) as found:
        yield found


def fresh(built_set: Path, **options: Any) -> Evidence:
    return Evidence(BuiltSet.load(built_set), Options(accel="tcg", **options), note=lambda text: None)


def verdict(name: str, evidence: Evidence) -> Verdict:
    return next(check for check in CHECKS if check.id == name).verdict(evidence)


def careless(spec: Any) -> None:
    """An agent that makes no difference between a container and the guest, as far as that can be asked of one."""
    del spec.linux.masked_paths[:], spec.linux.readonly_paths[:], spec.linux.namespaces[:]
    spec.linux.namespaces.add(type="mount")
    spec.process.ClearField("capabilities")
    for mount in spec.mounts:
        options = [option for option in mount.options if option not in ("ro", "nosuid", "nodev", "noexec")]
        del mount.options[:]
        mount.options.extend(options)


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in _NEEDS_NOTHING], ids=lambda case: case.name)
def test_a_container_that_gets_nothing_of_what_was_asked_for_fails(
    case: Case, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Inside.finished

    def finished(self: Inside, process: Process, **given: Any) -> Any:
        # The opposite of what no request at all means.
        opposite = {"no_new_privileges": "new-privileges" in case.name and "no-new" not in case.name}
        # The mount points must be there for the rest to mean something.
        mounts = [replace(mount, options=()) for mount in given.get("mounts", ())]
        plain = Process(process.args, **opposite)  # type: ignore[arg-type] -- a table of fields
        return whole(self, plain, adjust=careless, stdin=given["stdin"], mounts=mounts)

    monkeypatch.setattr(Inside, "finished", finished)
    found = verdict(f"container-{case.name}", evidence)
    assert found.status == "fail", (case.name, found)


def test_every_case_of_the_table_is_tried_or_excused() -> None:
    assert {case.name for case in CASES} >= _NEEDS_NOTHING


@pytest.mark.parametrize(
    ("name", "owner", "method", "instead"),
    [
        ("container-exit-codes", Running, "wait", lambda self, seconds=None: 0),
        ("container-stdin", Running, "write_stdin", lambda self, data: None),
        ("container-terminal-resize", Running, "resize", lambda self, rows, columns: None),
        ("container-end-of-all", Container, "execute", lambda self, process, name: self.start()),
        ("container-bind-mount", Inside, "mounts", lambda self, more=(): ()),
        ("container-update", AgentClient, "call", None),
        ("container-pause", containers, "_falls_silent", lambda running: False),
        ("clock", AgentClient, "set_time", lambda self, seconds, microseconds=0: None),
        ("random-reseed", AgentClient, "reseed", lambda self, data: None),
        ("agent-health", AgentClient, "check", None),
    ],
)
def test_an_agent_that_does_not_do_its_part_fails(
    name: str, owner: Any, method: str, instead: Callable[..., Any] | None, evidence: Evidence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    evidence.inside()  # up, and well
    whole = getattr(owner, method)

    def refuses(self: Any, *words: Any, **more: Any) -> Any:
        from kata_toolkit.vm.ttrpc import AgentError

        if words and words[0] in ("CreateContainer", "StartContainer", "RemoveContainer", "ReadStdout", "ReadStderr"):
            return whole(self, *words, **more)
        raise AgentError(f"{name}", 12, "is not implemented")

    monkeypatch.setattr(owner, method, instead or refuses)
    assert verdict(name, evidence).status == "fail"


@pytest.mark.parametrize("always", [True, False])
def test_a_root_that_is_always_the_same_fails(
    always: bool, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Inside.sh
    monkeypatch.setattr(
        Inside, "sh", lambda self, script, **given: whole(self, script, **{**given, "read_only": always})
    )
    assert verdict("container-read-only-root", evidence).status == "fail"


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("cgroups", "CONFIG_CGROUP_RDMA"),
        ("seccomp", None),
        ("overlay", None),
        ("nftables", None),
        ("namespaces", "CONFIG_NEVER_NS"),
    ],
)
def test_a_promise_of_the_configuration_that_is_not_kept_fails(
    name: str, promise: str | None, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    if promise:
        config = {**evidence.config, promise: "y"}
        monkeypatch.setattr(Evidence, "config", property(lambda self: config))
        monkeypatch.setattr(features, "_NAMESPACES", {**features._NAMESPACES, "never": "CONFIG_NEVER_NS"})
    else:
        # Who may do nothing gets nothing done.
        monkeypatch.setattr(features, "_ADMIN", {"capabilities": ()})
        monkeypatch.setattr(features, "_CHANGE", features._CHANGE.replace("/run/all", "/run/low"))
        details = evidence.guest().agent.guest_details()
        monkeypatch.setattr(AgentClient, "guest_details", lambda self: replace(details, supports_seccomp=False))
    assert verdict(name, evidence).status == "fail"


@pytest.mark.parametrize("name", ["hotplug-dimm", "hotplug-disk", "hotplug-network", "hotplug-cpu"])
def test_a_device_that_does_not_come_is_missed(name: str, evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence.inside("hot-plug")
    monkeypatch.setattr(hotplug, "_APPEAR_SECONDS", 0.5)
    monkeypatch.setattr(AgentClient, "online", lambda self, cpus=0, cpus_only=False: None)
    whole = Qmp.execute

    def execute(self: Qmp, command: str, *words: Any, **more: Any) -> Any:
        return {} if command == "device_add" else whole(self, command, *words, **more)

    monkeypatch.setattr(Qmp, "execute", execute)
    assert verdict(name, evidence).status == "fail"


def test_memory_that_does_not_shrink_is_a_failure(built_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "_APPEAR_SECONDS", 1.0)
    whole = hotplug._request
    monkeypatch.setattr(hotplug, "_request", lambda inside, mib: whole(inside, mib) if mib else None)
    with fresh(built_set) as evidence:
        found = verdict("hotplug-virtio-mem", evidence)
    assert (found.status, "did not give the memory back" in found.detail) == ("fail", True)


@pytest.mark.parametrize("way", [sharing.VIRTIO_FS, sharing.NINE_P])
def test_a_share_that_does_not_reach_the_host_is_a_failure(
    way: str, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence.inside("sharing")
    if way in evidence.plan("sharing").shares.missing:
        pytest.skip(str(evidence.plan("sharing").shares.missing[way]))
    # The container writes to its own memory instead, and reads that back.
    before = (
        f"mkdir -p {shares._AT}; echo '{sharing.FROM_HOST_TEXT.decode().strip()}' >{shares._AT}/{sharing.FROM_HOST}"
    )
    monkeypatch.setattr(shares, "_in_container", lambda inside, way, script: inside.lines(f"{before}; {script}"))
    found = verdict(f"share-{way}", evidence)
    assert (found.status, "the host does not find" in found.detail) == ("fail", True), found


def test_a_byte_that_was_not_changed_is_not_refused(built_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_roots, "_FLIPPED", 0)
    with fresh(built_set) as evidence:
        found = verdict("root-verity-tampered", evidence)
    assert (found.status, "came up with a changed byte" in found.detail) == ("fail", True)


def test_another_failure_to_come_up_is_no_refusal(built_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = other_roots.tampered

    def elsewhere(guest: Any, folder: Path) -> Any:
        return replace(sound(guest, folder), rootfs_type="erofs")

    monkeypatch.setattr(other_roots, "tampered", elsewhere)
    with fresh(built_set) as evidence:
        found = verdict("root-verity-tampered", evidence)
    assert (found.status, "not because dm-verity refused" in found.detail) == ("fail", True)


def test_an_initrd_with_nothing_to_start_fails_its_check_alone(
    built_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty.initrd"
    empty.write_bytes(bytes(512))
    from kata_toolkit.vm import guests

    def plan(basis: guests.Basis) -> guests.Plan:
        from contextlib import ExitStack

        guest = replace(basis.guest, boot="initrd", image=None, initrd=empty, rootfs_driver="initrd", verity="")
        return guests.Plan(guest, basis.options, ExitStack())

    monkeypatch.setattr(
        "kata_toolkit.vm.evidence.GUESTS", {**guests.GUESTS, "initrd": guests.Purpose("with an empty initrd", plan)}
    )
    with fresh(built_set) as evidence:
        found = {check.id: check.verdict(evidence) for check in chosen(("root-initrd", "container-output"))}
    assert found["root-initrd"].status == "fail"
    assert "panicked" in found["root-initrd"].detail
    assert found["container-output"].status == "pass"


def test_a_guest_that_stays_after_a_panic_fails(built_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "_END_SECONDS", 4.0)
    with fresh(built_set, kernel_params=("panic=0",)) as evidence:
        found = verdict("panic", evidence)
    assert (found.status, "does not restart" in found.detail) == ("fail", True), found


def test_a_shell_that_is_not_the_guests_own_is_no_debug_console(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_shell", lambda session, command: "uid:0:\npid:[1]\npid:[2]\n")
    assert verdict("debug-console", evidence).status == "fail"


def test_a_guest_that_died_is_booted_again_for_the_next_check(evidence: Evidence) -> None:
    first = evidence.guest()
    first.vmm.kill()
    first.vmm.process.wait(10)
    time.sleep(0.1)
    assert verdict("container-output", evidence).status == "pass"
    assert evidence.guest() is not first


def test_a_program_that_hangs_costs_its_check_and_not_the_next(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kata_toolkit.vm.inside.RUN_SECONDS", 0.5)
    inside = evidence.inside()
    with pytest.raises(AgentSilent):
        inside.sh("sleep 1000")
    monkeypatch.undo()
    begin = time.monotonic()
    assert verdict("container-user", evidence).status == "pass"
    assert time.monotonic() - begin < 30
