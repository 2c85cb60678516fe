"""The agent's server on the host, with sanitizers: hostile frames, many connections, ports that reconnect, settings."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_harness import build_server
from kata_toolkit.vm import agent_pb2 as pb
from kata_toolkit.vm.agent_client import AgentClient, AgentError, AgentGone
from kata_toolkit.vm.ttrpc import HEADER, MAX_DATA, REQUEST

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(shutil.which("clang") is None, reason="compiled with clang's sanitizers"),
]

Connect = Callable[[], socket.socket]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_server(tmp_path_factory.mktemp("server"))


@contextlib.contextmanager
def running(program: Path, kind: str, folder: Path) -> Iterator[Connect]:
    """A server; it must still run at the end, and a sanitizer's report would have ended it."""
    path = folder / f"s{next(_numbers)}"
    process = subprocess.Popen([program, kind, path], stderr=subprocess.PIPE)
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        opened.append(end)
        for attempt in range(100):  # between bind and listen the path is there and refuses
            try:
                end.connect(str(path))
                break
            except ConnectionRefusedError:
                assert attempt < 99
                assert process.poll() is None
                time.sleep(0.02)
        end.settimeout(10)
        return end

    try:
        for _ in range(500):
            if path.exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        yield connect
        assert process.poll() is None, process.communicate()[1].decode()
        _still_answers(connect)
    finally:
        for end in opened:
            end.close()
        process.kill()
        process.communicate()


def _still_answers(connect: Connect) -> None:
    """It may have to notice first that all its connections are gone."""
    for attempt in range(50):
        with contextlib.closing(AgentClient(connect())) as client:
            try:
                client.check(10)
            except AgentGone:
                assert attempt < 49
                time.sleep(0.02)
            else:
                return


@pytest.fixture
def server(program: Path, tmp_path: Path) -> Iterator[Connect]:
    with running(program, "unix", tmp_path) as connect:
        yield connect


@pytest.fixture
def port(program: Path, tmp_path: Path) -> Iterator[Connect]:
    with running(program, "serial", tmp_path) as connect:
        yield connect


def frame(body: bytes, stream: int = 1, kind: int = REQUEST, flags: int = 0, length: int | None = None) -> bytes:
    return HEADER.pack(len(body) if length is None else length, stream, kind, flags) + body


def request(method: str = "Check", service: str = "grpc.Health", payload: bytes = b"") -> bytes:
    body: bytes = pb.Request(service=service, method=method, payload=payload).SerializeToString()
    return body


def answer(end: socket.socket) -> tuple[int, pb.Response]:
    """The next frame's stream id and message."""
    head = receive(end, HEADER.size)
    length, stream, kind, flags = HEADER.unpack(head)
    assert (kind, flags) == (2, 0)
    return stream, pb.Response.FromString(receive(end, length))


def receive(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = end.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def is_closed(end: socket.socket) -> bool:
    """Whether the server ends the connection."""
    try:
        return end.recv(1) == b""
    except ConnectionResetError:
        return True


def _closed_now(end: socket.socket) -> bool:
    """Whether it has ended it already."""
    end.setblocking(False)
    try:
        return end.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---- frames ----


def test_a_frame_in_single_bytes(server: Connect) -> None:
    end = server()
    for byte in frame(request()):
        end.send(bytes([byte]))
    assert answer(end)[1].status.code == 0


def test_many_calls_at_once_are_all_answered(server: Connect) -> None:
    end = server()
    end.sendall(b"".join(frame(request(), stream) for stream in range(1, 801, 2)))
    assert sorted(answer(end)[0] for _ in range(400)) == list(range(1, 801, 2))


@pytest.mark.parametrize(
    ("sent", "code", "text"),
    [
        (frame(request("Nothing")), 12, "grpc.Health/Nothing is not implemented"),
        (frame(request(service="grpc.Nobody")), 12, "service grpc.Nobody is not served here"),
        (frame(b"\xff\xff\xff"), 3, "the frame holds no ttrpc request"),
        (frame(b""), 12, "service  is not served here"),
        (frame(request("CreateContainer", "grpc.AgentService", b"\x0a\xff")), 3, "cannot be decoded"),
        (frame(request(), stream=2), 3, "a client's stream id is odd"),
        (frame(request(), flags=2), 12, "streaming is not supported"),
        (frame(bytes(MAX_DATA + 1)), 8, "larger than 4194304 bytes"),
    ],
    ids=["method", "service", "no protobuf", "empty", "payload", "even stream", "streaming", "oversize"],
)
def test_refusals_leave_the_connection_usable(server: Connect, sent: bytes, code: int, text: str) -> None:
    end = server()
    end.sendall(sent)
    stream, refused = answer(end)
    assert (refused.status.code, stream) == (code, HEADER.unpack_from(sent)[1])
    assert text in refused.status.message
    end.sendall(frame(request(), 99))
    assert answer(end) == (99, pb.Response(payload=b"\x08\x01"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\xff\xfe", "??"),
        ("\u00e9\u20ac\U0001f600".encode(), "\u00e9\u20ac\U0001f600"),
        (b"\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82", "?? ??? ???? ??"),
        (("x" * 99 + "\u20ac").encode(), "x" * 99 + "?"),  # cut off in the middle of a character
    ],
)
def test_messages_are_utf_8_whatever_they_quote(server: Connect, name: bytes, shown: str) -> None:
    end = server()
    end.sendall(frame(b"\x0a" + _varint(len(name)) + name))
    assert answer(end)[1].status.message == f"service {shown} is not served here"


def test_the_largest_body_is_taken(server: Connect) -> None:
    end = server()
    body = request(payload=bytes(MAX_DATA - 40))
    end.sendall(frame(body + b"\x22\x00" * ((MAX_DATA - len(body)) // 2)))
    assert answer(end)[0] == 1


def test_responses_and_data_of_nobody_are_ignored(server: Connect) -> None:
    end = server()
    end.sendall(frame(b"x", 5, 2) + frame(b"y", 7, 3) + frame(b"", 9, 3, 5) + frame(request(), 11))
    assert answer(end)[0] == 11


@pytest.mark.parametrize("kind", [0, 4, 255])
def test_what_is_no_ttrpc_ends_the_connection(server: Connect, kind: int) -> None:
    end = server()
    end.sendall(frame(b"abc", 1, kind))
    assert is_closed(end)


def test_a_stream_used_twice_at_once_ends_the_connection(server: Connect) -> None:
    end = server()
    end.sendall(frame(request("GetOOMEvent", "grpc.AgentService")) * 2)
    assert is_closed(end)


def test_a_message_that_would_need_too_much_memory_is_refused(server: Connect) -> None:
    """Two million empty mounts take four megabytes on the wire and hundreds in memory."""
    mounts = b"\x2a\x00" * 1_900_000
    spec = b"\x32" + _varint(len(mounts)) + mounts
    end = server()
    end.sendall(frame(request("CreateContainer", "grpc.AgentService", spec)))
    assert answer(end)[1].status.code == 3


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def test_random_garbage_never_ends_the_server(server: Connect) -> None:
    chance = random.Random(7)
    for _ in range(200):
        end = server()
        data = bytearray(frame(request()) + chance.randbytes(chance.randrange(200)))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(OSError):
            end.sendall(data)
        end.close()


# ---- connections ----


def test_a_thousand_connections(server: Connect) -> None:
    """Idle ones are dropped for new ones; one with a call that waits is kept."""
    waiting = server()
    waiting.sendall(frame(request("GetOOMEvent", "grpc.AgentService")))
    ends = [server() for _ in range(1000)]
    last = ends[-1]
    last.sendall(frame(request()))
    assert answer(last)[0] == 1
    assert is_closed(ends[0])
    waiting.sendall(frame(request(), 3))
    assert answer(waiting)[0] == 3


def test_connections_full_of_waiting_calls_leave_room_for_others(server: Connect) -> None:
    body = request("GetOOMEvent", "grpc.AgentService")
    full = [server() for _ in range(70)]
    for end in full:
        with contextlib.suppress(OSError):
            end.sendall(frame(body))
    time.sleep(0.3)
    assert sum(_closed_now(end) for end in full) >= 6
    for end in full:
        end.close()


def test_too_many_waiting_calls_on_one_connection(server: Connect) -> None:
    end = server()
    body = request("GetOOMEvent", "grpc.AgentService")
    end.sendall(b"".join(frame(body, stream) for stream in range(1, 2 * 513, 2)))
    stream, refused = answer(end)
    assert (stream, refused.status.code) == (1025, 8)


def test_half_closed_connections_get_their_answers_and_their_end(server: Connect) -> None:
    end = server()
    end.sendall(b"".join(frame(request(), stream) for stream in (1, 3, 5)))
    end.shutdown(socket.SHUT_WR)
    assert [answer(end)[0] for _ in range(3)] == [1, 3, 5]
    assert is_closed(end)


def test_a_host_that_takes_no_answers_is_dropped_and_costs_bounded_memory(server: Connect) -> None:
    end = server()
    end.settimeout(1)
    body = request("GetMetrics", "grpc.AgentService")
    with contextlib.suppress(OSError):
        for stream in range(1, 200_000, 2):
            end.sendall(frame(body, stream))
    end.close()


def test_half_bodies_on_many_connections_cost_bounded_memory(server: Connect) -> None:
    ends = []
    for _ in range(60):
        end = server()
        with contextlib.suppress(OSError):
            end.sendall(frame(bytes(1_000_000), length=MAX_DATA))
        ends.append(end)
    time.sleep(0.3)
    closed = sum(_closed_now(end) for end in ends)
    assert closed > 30  # 16 MiB are taken in all
    for end in ends:
        end.close()


def test_deadlines_are_kept_and_abandoned_calls_forgotten(server: Connect) -> None:
    end = server()
    body = pb.Request(service="grpc.AgentService", method="WaitProcess", timeout_nano=1).SerializeToString()
    end.sendall(frame(body))
    assert answer(end)[1].status.code == 3  # there is no such container; a deadline changes nothing
    for _ in range(50):
        other = server()
        other.sendall(frame(request("GetOOMEvent", "grpc.AgentService")))
        other.close()


# ---- a port without connections of its own ----


def test_garbage_before_a_frame_is_skipped(port: Connect) -> None:
    end = port()
    end.sendall(os.urandom(50000) + frame(request(), 77))
    assert (77, pb.Response(payload=b"\x08\x01")) in _answers_until(end, 77)


def _answers_until(end: socket.socket, stream: int) -> list[tuple[int, pb.Response]]:
    found = [answer(end)]
    while found[-1][0] != stream:
        found.append(answer(end))
    return found


def test_an_oversize_frame_does_not_swallow_what_follows(port: Connect) -> None:
    end = port()
    end.sendall(HEADER.pack(0xFFFFFFFF, 1, REQUEST, 0) + b"some bytes" + frame(request(), 3))
    assert answer(end)[1].status.code == 8
    assert answer(end)[0] == 3


def test_a_half_frame_of_a_former_host_is_given_up(port: Connect) -> None:
    end = port()
    end.sendall(frame(bytes(1000))[:300])
    time.sleep(2.2)
    end.sendall(frame(request(), 5))
    assert answer(end)[0] == 5


def test_a_new_conversation_ends_the_calls_of_the_former(port: Connect) -> None:
    """On a port that reconnected unnoticed, an old answer must not reach the new host."""
    end = port()
    old = pb.Request(service="grpc.AgentService", method="GetOOMEvent")
    old.metadata.add(key="connection", value="old")
    new = pb.Request(service="grpc.AgentService", method="GetOOMEvent")
    new.metadata.add(key="connection", value="new")
    end.sendall(frame(old.SerializeToString(), 1))
    # The same stream again: refused if the old call were still known.
    end.sendall(frame(new.SerializeToString(), 1) + frame(request(), 3))
    assert answer(end)[0] == 3


def test_the_client_finds_its_answer_among_old_bytes() -> None:
    ours, theirs = socket.socketpair()
    client = AgentClient(ours)
    tail = os.urandom(5000)
    theirs.sendall(tail)

    def serve() -> None:
        length, stream, _, _ = HEADER.unpack(receive(theirs, HEADER.size))
        receive(theirs, length)
        theirs.sendall(frame(pb.Response(payload=b"\x08\x01").SerializeToString(), stream, 2))

    import threading

    thread = threading.Thread(target=serve)
    thread.start()
    client.check(10)
    thread.join()
    theirs.close()
    with pytest.raises(AgentGone):
        client.check(10)
    client.close()


def test_the_client_refuses_what_is_no_ttrpc() -> None:
    ours, theirs = socket.socketpair()
    client = AgentClient(ours, serial=False)
    theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(AgentGone, match="the other end does not speak ttrpc"):
        client.check(10)
    client.close()
    theirs.close()


def test_refusals_arrive_as_errors_with_code_and_text(server: Connect) -> None:
    with contextlib.closing(AgentClient(server())) as client:
        assert client.version().grpc_version == "0.0.1"
        with pytest.raises(AgentError) as caught:
            client.call("StartContainer", pb.StartContainerRequest(container_id="none"))
        assert (caught.value.code, caught.value.status) == (3, "INVALID_ARGUMENT")
        assert str(caught.value) == (
            "the agent refused grpc.AgentService/StartContainer: there is no container 'none' (INVALID_ARGUMENT)"
        )
        client.close()
        with pytest.raises(AgentGone, match="closed"):
            client.check(1)


# ---- settings ----

DEFAULTS = "cid=4294967295 port=1024 console=0 console_port=0 log_port=0 log=2 pipe=0 hotplug=3"


def settings(program: Path, cmdline: str, **environment: str) -> tuple[int, str]:
    argv = [program, "settings", cmdline]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("cmdline", "changed"),
    [
        ("", {}),
        ("quiet root=/dev/pmem0p1 init=/sbin/init systemd.unit=kata-containers.target", {}),
        ("agent.debug_console agent.debug_console_vport=1026", {"console": "1", "console_port": "1026"}),
        ("agent.debug_console=1", {}),  # a flag is the whole word
        ("xagent.log=debug agent.logs=debug agent.unknown=1 agent.", {}),
        ("agent.log=debug", {"log": "1"}),
        ("agent.log=panic\tagent.log_vport=1025\n", {"log": "5", "log_port": "1025"}),
        ("agent.server_addr=vsock://-1:2000", {"port": "2000"}),
        ("agent.server_addr=vsock://3:2000", {"port": "2000", "cid": "3"}),
        ("agent.log_vport=0 agent.debug_console_vport=-5", {}),  # skipped silently
        ("agent.container_pipe_size=4096", {"pipe": "4096"}),
        ("agent.hotplug_timeout=0 agent.hotplug_timeout=9", {"hotplug": "9"}),
        ("agent.log=debug agent.log=warn", {"log": "3"}),
        ("agent.x=" + "y" * 3000 + " agent.log=error", {"log": "4"}),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_settings_from_the_command_line(program: Path, cmdline: str, changed: dict[str, str]) -> None:
    expected = dict(pair.split("=") for pair in DEFAULTS.split()) | changed
    status, text = settings(program, cmdline)
    assert (status, dict(pair.split("=") for pair in text.split())) == (0, expected)


@pytest.mark.parametrize(
    "word",
    [
        "agent.log=loud", "agent.log=", "agent.log_vport=1O25", "agent.log_vport=", "agent.log_vport=99999999999",
        "agent.container_pipe_size=-1", "agent.container_pipe_size=4k", "agent.hotplug_timeout=-1",
        "agent.hotplug_timeout=99999999999999999999", "agent.server_addr=tcp://1:2", "agent.server_addr=vsock://1",
        "agent.server_addr=vsock://-2:1024", "agent.server_addr=vsock://:1024", "agent.server_addr=vsock://3:",
        "agent.server_addr=vsock://3:0",
    ],
)  # fmt: skip
def test_malformed_settings_fail_and_are_named(program: Path, word: str) -> None:
    name, _, value = word.partition("=")
    assert settings(program, f"quiet {word} agent.log=info") == (1, f"{name}: '{value}' is malformed")


def test_the_environment_wins(program: Path) -> None:
    status, text = settings(
        program, "agent.log=error", KATA_AGENT_LOG_LEVEL="trace", KATA_AGENT_SERVER_ADDR="vsock://-1:7"
    )
    assert status == 0
    assert "log=0" in text
    assert "port=7 " in text


def test_struct_sizes_are_the_protocols() -> None:
    assert struct.calcsize(HEADER.format) == 10
