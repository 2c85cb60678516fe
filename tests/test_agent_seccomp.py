"""Seccomp profiles as BPF: the agent's programs, interpreted, decide as the profile says."""

from __future__ import annotations

import errno
import operator
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_harness import build_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kata_toolkit.vm import agent_pb2 as pb

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(shutil.which("clang") is None, reason="compiled with clang's sanitizers"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86_64"),
]

ARCH = 0xC000003E  # AUDIT_ARCH_X86_64
ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, LOG = 0x7FFF0000, 0x50000, 0x80000000, 0, 0x7FFC0000
READ, WRITE, CLONE, PERSONALITY = 0, 1, 56, 135
OPERATORS: dict[str, Callable[[int, int], bool]] = {
    "SCMP_CMP_NE": operator.ne, "SCMP_CMP_LT": operator.lt, "SCMP_CMP_LE": operator.le, "SCMP_CMP_EQ": operator.eq,
    "SCMP_CMP_GE": operator.ge, "SCMP_CMP_GT": operator.gt,
}  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_server(tmp_path_factory.mktemp("server"))


def translate(program: Path, profile: Any, folder: Path) -> tuple[int, list[tuple[int, ...]] | str]:
    """The status, and the program or the refusal."""
    (folder / "profile").write_bytes(profile.SerializeToString())
    done = subprocess.run([program, "seccomp", folder / "profile"], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.returncode, done.stdout.strip()
    return 0, [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def interpret(code: list[tuple[int, ...]], number: int, args: tuple[int, ...] = (), arch: int = ARCH) -> int:
    """Classic BPF on struct seccomp_data: only the instructions that filters use."""
    words = [number, arch, 0, 0]
    for value in (*args, *([0] * (6 - len(args)))):
        words += [value & 0xFFFFFFFF, value >> 32]
    at = accumulator = 0
    while True:
        op, jump_true, jump_false, k = code[at]
        at += 1
        if op == 0x20:  # ld word
            accumulator = words[k // 4]
        elif op == 0x54:  # and
            accumulator &= k
        elif op == 0x06:  # ret
            return k
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[op]
            at += jump_true if holds else jump_false


def profile_of(default: str, *rules: tuple[list[str], str, list[tuple[int, str, int, int]]]) -> Any:
    profile = pb.LinuxSeccomp(default_action=default)
    for names, action, conditions in rules:
        rule = profile.syscalls.add(names=names, action=action)
        for index, op, value, value_two in conditions:
            rule.args.add(index=index, op=op, value=value, value_two=value_two)
    return profile


def test_actions_and_defaults(program: Path, tmp_path: Path) -> None:
    profile = profile_of("SCMP_ACT_ERRNO", (["read"], "SCMP_ACT_ALLOW", []), (["write"], "SCMP_ACT_KILL_PROCESS", []),
                         (["no_such_call"], "SCMP_ACT_ALLOW", []), (["clone"], "SCMP_ACT_LOG", []),
                         (["personality"], "SCMP_ACT_KILL", []))  # fmt: skip
    profile.syscalls.add(names=["mkdir"], action="SCMP_ACT_ERRNO", errno_value=38)
    status, code = translate(program, profile, tmp_path)
    assert status == 0
    assert isinstance(code, list)
    expected = {READ: ALLOW, WRITE: KILL_PROCESS, CLONE: LOG, PERSONALITY: KILL_THREAD}
    expected |= {83: ERRNO | errno.ENOSYS, 2: ERRNO | errno.EPERM}
    assert {number: interpret(code, number) for number in expected} == expected


def test_another_architecture_and_x32_end_the_process(program: Path, tmp_path: Path) -> None:
    _, code = translate(program, profile_of("SCMP_ACT_ALLOW"), tmp_path)
    assert isinstance(code, list)
    assert interpret(code, READ) == ALLOW
    assert interpret(code, READ, arch=0x40000003) == KILL_PROCESS  # i386
    assert interpret(code, READ | 0x40000000) == KILL_PROCESS


def test_the_first_rule_that_matches_decides(program: Path, tmp_path: Path) -> None:
    profile = profile_of(
        "SCMP_ACT_ERRNO",
        (["personality"], "SCMP_ACT_ALLOW", [(0, "SCMP_CMP_EQ", 0, 0)]),
        (["personality"], "SCMP_ACT_ALLOW", [(0, "SCMP_CMP_EQ", 0xFFFFFFFF, 0)]),
        (["personality", "read"], "SCMP_ACT_LOG", [(0, "SCMP_CMP_LT", 9, 0), (1, "SCMP_CMP_GT", 5, 0)]),
    )
    _, code = translate(program, profile, tmp_path)
    assert isinstance(code, list)
    refused = ERRNO | errno.EPERM
    for args, result in (((0,), ALLOW), ((0xFFFFFFFF,), ALLOW), ((8, 6), LOG), ((8, 5), refused), ((9, 6), refused)):
        assert interpret(code, PERSONALITY, args) == result, args
    assert interpret(code, READ, (0, 6)) == LOG


interesting = st.one_of(
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    op=st.sampled_from([*OPERATORS, "SCMP_CMP_MASKED_EQ"]), index=st.integers(0, 5), value=interesting, two=interesting,
    seen=st.lists(interesting, min_size=4, max_size=12),
)  # fmt: skip
def test_comparisons_of_64_bits(
    program: Path, tmp_path: Path, op: str, index: int, value: int, two: int, seen: list[int]
) -> None:
    two &= value  # a datum outside the mask could never match
    profile = profile_of("SCMP_ACT_ERRNO", (["clone"], "SCMP_ACT_ALLOW", [(index, op, value, two)]))
    _, code = translate(program, profile, tmp_path)
    assert isinstance(code, list)
    near = [(value + step) % 2**64 for step in (-1, 0, 1, 2**32, -(2**32))]
    for argument in (*seen, *near, two):
        args = tuple(argument if at == index else 7 for at in range(6))
        holds = (argument & value) == two if op == "SCMP_CMP_MASKED_EQ" else OPERATORS[op](argument, value)
        assert interpret(code, CLONE, args) == (ALLOW if holds else ERRNO | 1), (op, hex(argument), hex(value))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda p: setattr(p, "default_action", "SCMP_ACT_SHRUG"), "the default action is not supported"),
        (lambda p: setattr(p, "default_action", ""), "the default action is not supported"),
        (lambda p: setattr(p.syscalls[0], "action", "SCMP_ACT_NOTIFY"), "a rule's action is not supported"),
        (lambda p: p.syscalls[0].args.add(index=6, op="SCMP_CMP_EQ"), "a rule's comparison is not supported"),
        (lambda p: p.syscalls[0].args.add(index=0, op="SCMP_CMP_LIKE"), "a rule's comparison is not supported"),
        (lambda p: p.flags.append("SECCOMP_FILTER_FLAG_NEW_LISTENER"), "a flag is not supported"),
        (lambda p: p.syscalls.add(names=["x" * 300_000], action="SCMP_ACT_ALLOW"), "the profile is too large"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    program: Path, tmp_path: Path, change: Callable[[Any], None], refusal: str
) -> None:
    profile = profile_of("SCMP_ACT_ALLOW", (["read"], "SCMP_ACT_ERRNO", []))
    change(profile)
    status, text = translate(program, profile, tmp_path)
    assert (status, text) in ((1, f"seccomp: {refusal}"), (1, "no profile"))


def test_a_profile_that_does_not_fit_the_kernel_is_refused(program: Path, tmp_path: Path) -> None:
    rules = [(["read", "write"], "SCMP_ACT_ALLOW", [(i % 6, "SCMP_CMP_EQ", i, 0)]) for i in range(400)]
    assert translate(program, profile_of("SCMP_ACT_ERRNO", *rules), tmp_path)[0] == 3


def test_a_profile_like_those_of_engines_fits(program: Path, tmp_path: Path) -> None:
    table = (Path(__file__).parent.parent / "agent" / "syscall_table.h").read_text()
    names = [entry.split(",")[0] for entry in table.split("X(")[1:]]
    assert len(names) > 350
    status, code = translate(program, profile_of("SCMP_ACT_ERRNO", (names, "SCMP_ACT_ALLOW", [])), tmp_path)
    assert status == 0
    assert isinstance(code, list)
    assert len(code) < 1000
    assert [interpret(code, n) for n in (READ, WRITE, CLONE, 435, 460)] == [ALLOW] * 5
    assert interpret(code, 9999) == ERRNO | 1
