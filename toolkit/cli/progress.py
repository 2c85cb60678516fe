"""How a build's events look: a live tree on a terminal, plain lines elsewhere, one JSON object a line for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..events import Cached, Emit, Event, Finished, Note, Progress, Started, Waiting

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN_EVERY_SECONDS = 15.0


@contextmanager
def renderer(*, as_json: bool, quiet: bool) -> Iterator[Emit]:
    """The `Emit` for this run: JSON on stdout, or text on stderr (live on a terminal, lines otherwise)."""
    if as_json:
        yield lambda event: print(json.dumps(event.as_json()), flush=True)
        return
    if quiet:
        yield lambda event: None
        return
    if sys.stderr.isatty() and not os.environ.get("CI"):
        with _live() as emit:
            yield emit
        return
    yield Plain()


class Plain:
    """Lines for logs: one when a stage starts, one now and then while it works, one when it is done."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Print what is worth a line."""
        now = time.monotonic()
        match event:
            case Progress() if now - self._last < _PLAIN_EVERY_SECONDS:
                return
            case Progress() | Started():
                self._last = now
        print(describe(event), file=sys.stderr, flush=True)


def describe(event: Event) -> str:
    """One event as a line of text."""
    match event:
        case Started():
            return f"{event.stage:<15} start    {event.reason}"
        case Cached():
            return f"{event.stage:<15} cached   {event.stage_id[:12]}"
        case Waiting():
            return f"{event.stage:<15} waiting  another build is making it"
        case Finished():
            return f"{event.stage:<15} done     {event.seconds:.1f} s"
        case Progress():
            return f"{event.stage:<15} working  {amount(event)}"
        case Note():
            return f"{event.stage:<15} note     {event.text}"
    return f"{event.stage:<15} {type(event).__name__.lower()}"


def amount(event: Progress) -> str:
    """``1234/2890 objects  mm/page_alloc.o``; bytes in MiB."""
    if not event.unit:
        return event.what
    if event.unit == "bytes":
        total = f"/{event.total / 2**20:.1f}" if event.total else ""
        count = f"{event.done / 2**20:.1f}{total} MiB"
    else:
        total = f"/{event.total}" if event.total else ""
        count = f"{event.done}{total} {event.unit}"
    return f"{count}  {event.what}".rstrip()


@contextmanager
def _live() -> Iterator[Emit]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    bars = Bars(
        TextColumn("{task.fields[stage]:<15}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def emit(event: Event) -> None:
        match event:
            case Started():
                tasks[event.stage] = bars.add_task(event.reason, total=None, stage=event.stage)
            case Progress() if event.stage in tasks:
                bars.update(
                    tasks[event.stage],
                    completed=event.done,
                    total=event.total or None,
                    description=amount(event)[: max(20, console.width - 60)],
                )
            case _:
                if isinstance(event, Finished) and event.stage in tasks:
                    bars.remove_task(tasks.pop(event.stage))
                _line(console, event)

    with bars:
        yield emit


def _line(console: Console, event: Event) -> None:
    style = {Cached: "dim", Finished: "green", Note: "yellow"}.get(type(event), "")
    console.print(describe(event), style=style, markup=False, highlight=False)
