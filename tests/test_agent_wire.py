"""The agent's reading and writing of messages, against Google's implementation, under AddressSanitizer."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import AGENT, FUZZ, SANITIZED, compile_agent, generate
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kata_toolkit.vm import agent_pb2 as pb

pytestmark = pytest.mark.tool

# In the order of the driver's table.
TYPES: list[Any] = [pb.CreateContainerRequest, pb.StatsContainerResponse, pb.Response, pb.UpdateContainerRequest]
NUMBERS = {"int32": (32, True), "int64": (64, True), "uint32": (32, False), "uint64": (64, False)}
SUPPORTED = {"INT32", "INT64", "UINT32", "UINT64", "BOOL", "ENUM", "STRING", "BYTES", "MESSAGE"}


class Driver:
    """The C program; one message at a time."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def again(self, kind: int, data: bytes) -> bytes | None:
        """The message as C writes it after reading it; None if it refused it."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(struct.pack("=II", kind, len(data)) + data)
        stdin.flush()
        if struct.unpack("=I", self._read(4))[0] == 0:
            return None
        return self._read(struct.unpack("=I", self._read(4))[0])

    def _read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        data = self.process.stdout.read(size)
        assert len(data) == size, "the program died: see the sanitizer's report"
        return data


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    sources = [FUZZ / "wire_driver.c", AGENT / "wire.c", AGENT / "arena.c"]
    command = (*SANITIZED, "-fsanitize=address,undefined")
    found = Driver(compile_agent(tmp_path_factory.mktemp("wire") / "driver", command, sources))
    yield found
    found.process.communicate()
    assert found.process.returncode == 0


def messages(kind: Any, depth: int = 4) -> st.SearchStrategy[Any]:
    """Messages of a type, with any of its fields."""
    fields = {field.name: values(field, depth) for field in kind.DESCRIPTOR.fields if depth or not field.message_type}
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: kind(**one_of_each(kind, chosen)))


def one_of_each(kind: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    """Of each oneof at most one field."""
    for group in kind.DESCRIPTOR.oneofs:
        for field in [f.name for f in group.fields if f.name in chosen][1:]:
            del chosen[field]
    return chosen


def values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        single = messages(field.message_type._concrete_class, depth - 1)
    elif field.enum_type is not None:
        single = st.sampled_from([value.number for value in field.enum_type.values])
    elif field.type == field.TYPE_BOOL:
        single = st.booleans()
    elif field.type == field.TYPE_STRING:
        single = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
    elif field.type == field.TYPE_BYTES:
        single = st.binary(max_size=300)
    else:
        bits, signed = next(v for k, v in NUMBERS.items() if field.type == getattr(field, f"TYPE_{k.upper()}"))
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        single = st.sampled_from([low, high]) | st.integers(low, high)
    # Newer versions of protobuf have no label any more.
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    return st.lists(single, max_size=5) if repeated else single


QUICK = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
KINDS = st.sampled_from(range(len(TYPES)))


@QUICK
@given(data=st.data(), kind=KINDS)
def test_what_is_read_and_written_again_is_the_same(driver: Driver, data: st.DataObject, kind: int) -> None:
    message: Message = data.draw(messages(TYPES[kind]))
    wire = message.SerializeToString(deterministic=True)
    assert driver.again(kind, wire) == wire


@QUICK
@given(data=st.data(), kind=KINDS)
def test_two_halves_of_a_message_are_merged(driver: Driver, data: st.DataObject, kind: int) -> None:
    one, two = (data.draw(messages(TYPES[kind])).SerializeToString() for _ in range(2))
    assert driver.again(kind, one + two) == TYPES[kind].FromString(one + two).SerializeToString(deterministic=True)


@QUICK
@given(data=st.data(), kind=KINDS)
def test_damaged_messages_are_refused_or_read_alike(driver: Driver, data: st.DataObject, kind: int) -> None:
    wire = bytearray(data.draw(messages(TYPES[kind])).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire)))
        wire[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    mine = driver.again(kind, bytes(wire))
    try:
        theirs = TYPES[kind].FromString(bytes(wire))
    except DecodeError:
        return  # text that is not UTF-8 is none of the agent's business
    theirs.DiscardUnknownFields()
    if mine is not None and b"\0" not in bytes(str(theirs), "utf-8") and "\\000" not in str(theirs):
        assert mine == theirs.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "wire",
    [
        b"\x0a",  # a string without its length
        b"\x0a\x05abcd",  # shorter than it says
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # as long as can be said
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a number of eleven bytes
        b"\x00\x00",  # field 0
        b"\x08\x01",  # a number where a string belongs
        b"\x0b\x0c",  # a group
        b"\xfa\xff\xff\xff\xff\xff\x7f\x00",  # a field beyond the last possible
    ],
)
def test_what_is_no_message_is_refused(driver: Driver, wire: bytes) -> None:
    assert driver.again(0, wire) is None


def test_unpacked_numbers_are_read_as_well_as_packed_ones(driver: Driver) -> None:
    field = pb.CpuUsage.DESCRIPTOR.fields_by_name["percpu_usage"]
    usage = b"".join(bytes((field.number << 3, value)) for value in (1, 2, 3))
    inner = bytes((1 << 3 | 2, len(usage))) + usage  # CpuStats.cpu_usage
    inner = bytes((1 << 3 | 2, len(inner))) + inner  # CgroupStats.cpu_stats
    again = driver.again(1, bytes((1 << 3 | 2, len(inner))) + inner)
    assert again is not None
    assert list(pb.StatsContainerResponse.FromString(again).cgroup_stats.cpu_stats.cpu_usage.percpu_usage) == [1, 2, 3]


def test_many_elements_are_bounded_by_the_arena(driver: Driver) -> None:
    """A request of 4 MiB may not make the agent take gigabytes."""
    field = pb.CreateContainerRequest.DESCRIPTOR.fields_by_name["storages"]
    assert driver.again(0, bytes((field.number << 3 | 2, 0)) * (2 << 20)) is None
    few = bytes((field.number << 3 | 2, 0)) * 1000
    assert driver.again(0, few) == few


def test_the_protocol_uses_only_what_the_agent_can_read(tmp_path: Path) -> None:
    code = generate(tmp_path / "pb").read_text()
    assert set(re.findall(r"PROTOBUF_C_TYPE_(\w+)", code)) <= SUPPORTED
    assert set(re.findall(r"PROTOBUF_C_LABEL_(\w+)", code)) <= {"NONE", "REPEATED"}


def test_no_message_of_the_protocol_contains_itself() -> None:
    """Else the sender would decide how deep the agent's stack goes."""

    def visit(message: Any, above: tuple[str, ...]) -> None:
        assert message.name not in above
        for field in message.fields:
            if field.message_type is not None:
                visit(field.message_type, (*above, message.name))

    for message in pb.DESCRIPTOR.message_types_by_name.values():
        visit(message, ())
