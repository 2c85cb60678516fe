"""What a system says of itself: os-release(5)."""

from __future__ import annotations


def os_release(text: str) -> dict[str, str]:
    """The values, by name, without their quotes. What is no assignment is passed over."""
    pairs = (line.strip().partition("=") for line in text.splitlines())
    return {name: value.strip("\"'") for name, equals, value in pairs if equals and not name.startswith("#")}
