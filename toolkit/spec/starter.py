"""Writes the spec that ``kata-toolkit init`` starts a person off with."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, ToolError, Where
from ..resources import resource
from .schema import load_schema, matches


def write_starter(name: str) -> Path:
    """Write NAME.yaml into the current folder; its path.

    Raises InputError when NAME cannot be a spec's name or the file exists, ToolError when it cannot be written.
    """
    rule = load_schema("spec")["properties"]["name"]
    if not matches(rule["pattern"], name):
        raise InputError(f'"{name}" cannot be a spec\'s name: {rule["title"]}')
    text = resource("templates", "starter.yaml").read_text(encoding="utf-8").replace("@name@", name)
    path = Path(f"{name}.yaml")
    try:
        stream = path.open("x", encoding="utf-8")
    except FileExistsError as error:
        raise InputError("exists already", where=Where(str(path)), hint="give another name, or remove it") from error
    except OSError as error:
        raise ToolError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with stream:
            stream.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ToolError(f"{path} cannot be written: {error.strerror}") from error
    return path
