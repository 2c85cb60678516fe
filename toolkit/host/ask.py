"""Several programs asked at once: one after the other would take longer than the whole check may."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence

from .. import run
from ..errors import ToolError

_AT_ONCE = 4
_MOST = 4 << 20  # bytes of one answer
_PIECE = 1 << 16


def ask(calls: Sequence[Sequence[str]], each: float, together: float) -> list[str | None]:
    """What each program prints, stdout and stderr together; None for one that fails, is missing, or is not in time.

    ``each`` and ``together`` are in seconds. The processes are ended when this returns.
    """
    answers: list[str | None] = [None] * len(calls)
    waiting = list(range(len(calls)))
    running: dict[int, tuple[subprocess.Popen[bytes], bytearray, float]] = {}
    end = time.monotonic() + together
    with selectors.DefaultSelector() as selector:
        try:
            while (waiting or running) and time.monotonic() < end:
                while waiting and len(running) < _AT_ONCE:
                    _start(waiting.pop(0), calls, running, selector, each)
                soonest = min([end, *(entry[2] for entry in running.values())])
                for key, _ in selector.select(max(0.0, soonest - time.monotonic())):
                    _read(key.data, running, selector, answers)
                for number in [n for n, entry in running.items() if entry[2] <= time.monotonic()]:
                    _end(number, running, selector)
        finally:
            for number in list(running):
                _end(number, running, selector)
    return answers


_Running = dict[int, tuple[subprocess.Popen[bytes], bytearray, float]]


def _start(
    number: int, calls: Sequence[Sequence[str]], running: _Running, selector: selectors.BaseSelector, each: float
) -> None:
    try:
        process = run.spawn(calls[number])
    except ToolError:
        return  # it has no answer
    assert process.stdout is not None  # noqa: S101 -- PIPE was asked for
    running[number] = (process, bytearray(), time.monotonic() + each)
    selector.register(process.stdout, selectors.EVENT_READ, number)


def _read(number: int, running: _Running, selector: selectors.BaseSelector, answers: list[str | None]) -> None:
    process, said, deadline = running[number]
    assert process.stdout is not None  # noqa: S101 -- as above
    piece = os.read(process.stdout.fileno(), _PIECE)
    said += piece
    if piece and len(said) < _MOST:
        return
    try:
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        status = None  # it closed its output and goes on
    if status == 0:
        answers[number] = said.decode(errors="replace")
    _end(number, running, selector)


def _end(number: int, running: _Running, selector: selectors.BaseSelector) -> None:
    process, _, _ = running.pop(number)
    if process.stdout is not None:
        selector.unregister(process.stdout)
        process.stdout.close()
    run.stop(process)
