"""What a verb that works for a while tells on stderr: what is at hand, and choices made for the user."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def telling(*, live: bool) -> Iterator[Callable[[str], None]]:
    """What is at hand: a moving line on a terminal, a line each elsewhere; nothing when not ``live``."""
    from rich.console import Console

    console = Console(stderr=True)
    if not live:
        yield _nothing
    elif console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        yield _line


def note(text: str) -> None:
    """A choice made for the user, or what a person should know."""
    sys.stderr.write(f"note: {text}\n")


def _line(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _nothing(text: str) -> None:
    """Nobody is there to read it."""
