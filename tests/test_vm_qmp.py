"""The monitor's client against a made-up monitor on a socket pair; `test_vm_verify.py` has QEMU's own."""

from __future__ import annotations

import array
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from kata_toolkit.vm.qmp import Qmp, QmpError, QmpGone, QmpSilent

Answer = Callable[[dict[str, object]], dict[str, object] | None]


class Monitor:
    """Answers commands from a table, in a thread; the client's reading thread as `vmm.py` has it."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.seen: list[dict[str, object]] = []
        self.fds: list[int] = []
        self.told: list[str] = []
        self.qmp = Qmp(self.ours, lambda event: self.told.append(event.name))
        self._answers = answers
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve, self._read)]
        for thread in self._threads:
            thread.start()

    def say(self, message: object) -> None:
        self.theirs.sendall(json.dumps(message).encode() + b"\r\n")

    def _serve(self) -> None:
        while True:
            data, ancillary, _, _ = self.theirs.recvmsg(1 << 16, 64)
            for _level, _kind, packed in ancillary:
                self.fds += array.array("i", packed)
            if not data:
                return
            for line in data.splitlines():
                message = json.loads(line)
                self.seen.append(message)
                answer = self._answers.get(message["execute"], lambda m: {"return": {}})(message)
                if answer is not None:
                    self.say({**answer, **({"id": message["id"]} if "id" in message else {})})

    def _read(self) -> None:
        while data := self.ours.recv(7):  # in small pieces: messages end anywhere
            self.qmp.feed(data)
        self.qmp.ended()

    def close(self) -> None:
        self.theirs.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor({
        "refused": lambda m: {"error": {"class": "DeviceNotFound", "desc": "no such thing"}},
        "silent": lambda m: None,
        "echo": lambda m: {"return": m["arguments"]},
    })  # fmt: skip
    yield made
    made.close()


def test_a_command_returns_its_own_answer_from_several_threads_at_once(monitor: Monitor) -> None:
    found: dict[int, object] = {}

    def ask(number: int) -> None:
        found[number] = monitor.qmp.execute("echo", **{"a-number": number})

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: {"a-number": n} for n in range(20)}


def test_a_refusal_names_command_and_reason(monitor: Monitor) -> None:
    with pytest.raises(QmpError, match="QEMU refused refused: no such thing") as caught:
        monitor.qmp.execute("refused")
    assert caught.value.kind == "DeviceNotFound"
    assert caught.value.exit_code == 3


def test_silence_is_told_and_a_late_answer_disturbs_nobody(monitor: Monitor) -> None:
    with pytest.raises(QmpSilent, match=r"did not answer silent within 0\.05 s"):
        monitor.qmp.execute("silent", timeout_seconds=0.05)
    monitor.say({"return": {}, "id": monitor.seen[-1]["id"]})
    assert monitor.qmp.execute("echo", x=1) == {"x": 1}


def test_file_descriptors_travel_with_their_command(monitor: Monitor) -> None:
    reading, writing = os.pipe()
    monitor.qmp.execute("getfd", fds=(writing,), fdname="f")
    os.close(writing)
    os.write(monitor.fds[0], b"through")
    os.close(monitor.fds[0])
    assert os.read(reading, 99) == b"through"
    os.close(reading)


def test_an_event_is_found_by_its_data_and_only_from_the_mark_on(monitor: Monitor) -> None:
    monitor.say({"event": "DEVICE_DELETED", "data": {"device": "a", "path": "/a"}})
    monitor.qmp.wait_event("DEVICE_DELETED", device="a")
    since = monitor.qmp.mark()
    with pytest.raises(QmpSilent, match=r'DEVICE_DELETED \{"device": "a"\} did not come'):
        monitor.qmp.wait_event("DEVICE_DELETED", since=since, timeout_seconds=0.05, device="a")
    threading.Timer(0.02, monitor.say, [{"event": "DEVICE_DELETED", "data": {"device": "a"}}]).start()
    assert monitor.qmp.wait_event("DEVICE_DELETED", since=since, device="a").number == since
    assert monitor.told == ["DEVICE_DELETED"] * 2


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"[]\n", b"{\n", b'{"return": 1}\n', b'{"event": 3}\n', b"[" * 99999 + b"\n"]
)
def test_what_is_no_message_is_passed_over(monitor: Monitor, junk: bytes) -> None:
    monitor.theirs.sendall(junk)
    assert monitor.qmp.execute("echo", x=1) == {"x": 1}


def test_whoever_waits_learns_that_the_monitor_is_gone(monitor: Monitor) -> None:
    threading.Timer(0.05, monitor.theirs.shutdown, [socket.SHUT_RDWR]).start()
    with pytest.raises(QmpGone, match="ended before its event NEVER came"):
        monitor.qmp.wait_event("NEVER")
    with pytest.raises(QmpGone, match="echo was not given"):
        monitor.qmp.execute("echo")
