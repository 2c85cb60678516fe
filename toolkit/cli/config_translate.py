"""``kata-toolkit config translate``: a file of one runtime as one of the other."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..kata.translate_result import Translation
    from ..spec.model import Dialect


def translate(
    file: Path = typer.Argument(..., metavar="FILE", readable=False, allow_dash=True, help="A Kata TOML; -: a pipe."),
    to: str = typer.Option(None, "--to", metavar="go|rs", help="The runtime it is to be for; else the other one."),
    source: str = typer.Option(None, "--from", metavar="go|rs", help="The runtime it is for; else found out."),
    output: Path = typer.Option(None, "--output", "-o", metavar="OUT", help="Where to write it; else stdout."),
    hypervisor: str = typer.Option(
        None, "--hypervisor", metavar="NAME", help="The table that counts, where there are several or none."
    ),
    with_drop_ins: bool = typer.Option(False, "--with-drop-ins", help="Merge the config.d beside FILE first."),
    lossy_ok: bool = typer.Option(False, "--lossy-ok", help="Exit with 0 also when something could not be carried."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Tell only what could not be carried."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout, with the text unless -o is given."),
) -> None:
    """Translate a configuration between the Go and the Rust runtime, comments kept.

    What could not be carried is told on stderr. Exits with 0 when the new file does all that the old one did, with 1
    when something was lost (the file is written all the same), with 2 when FILE is one that its own runtime would
    refuse.
    """
    from ..kata.translate import translate as translate_file

    pipe = str(file) == "-"
    data = sys.stdin.buffer.read() if pipe else None
    if output and not pipe:
        _refuse_same(file, output)
    done = translate_file(
        None if pipe else file,
        data,
        source=_dialect(source, "--from"),
        target=_dialect(to, "--to"),
        hypervisor=hypervisor,
        drop_ins=with_drop_ins,
    )
    if output:
        _write(output, done.text)
    if json:
        typer.echo(json_module.dumps(done.as_json(str(output) if output else None), indent=2, ensure_ascii=False))
    else:
        if not output:
            sys.stdout.write(done.text)
            sys.stdout.flush()
        _tell(done, quiet=quiet)
    if done.lossy and not lossy_ok:
        raise typer.Exit(1)


def _dialect(word: str | None, option: str) -> Dialect | None:
    from ..errors import InputError
    from ..spec.suggest import did_you_mean

    if word is None or word == "go":
        return "go" if word else None
    if word == "rs":
        return "rs"
    raise InputError(f'{option}: expected go or rs, got "{word}"', hint=did_you_mean(word, ["go", "rs"]))


def _refuse_same(file: Path, output: Path) -> None:
    from ..errors import InputError, Where

    if output.exists() and file.exists() and output.samefile(file):
        raise InputError("is the file to be translated itself", where=Where(str(output)), hint="name another file")


def _write(output: Path, text: str) -> None:
    from ..errors import InputError, ToolError, Where
    from ..pipeline.files import write_atomically

    if output.is_dir():
        raise InputError("is a directory", where=Where(str(output)), hint=f"name a file: {output}/configuration.toml")
    if not output.parent.is_dir():
        raise InputError("there is no such folder", where=Where(str(output.parent)))
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        raise ToolError(f"cannot be written: {error.strerror}", where=Where(str(output))) from error


def _tell(done: Translation, *, quiet: bool) -> None:
    """What happened, on stderr: what is lost first."""
    from ..kata.keys import tables
    from ..kata.translate_result import summary

    title = tables().title(done.target)
    lost = [entry for entry in done.lost if entry.matters]
    inert = [entry for entry in done.inert if entry.matters]
    _list("not carried over", [(e.where, summary(e), e.hint) for e in lost])
    _list(f"without effect in the {title}", [(e.where, summary(e), e.hint) for e in inert])
    _list(f"the {title} will not like", [(None, text, None) for text in done.warnings])
    if quiet:
        return
    _list("changed", [(c.where, _change(c), c.note) for c in done.changed])
    _list("added", [(None, f"{a.key} = {json_module.dumps(a.value)}: {a.why}", None) for a in done.added])
    harmless = [entry for entry in (*done.lost, *done.inert) if not entry.matters]
    _list("left out or without effect, with nothing lost", [(e.where, summary(e), e.hint) for e in harmless])


def _change(change: Any) -> str:
    def shown(value: Any) -> str:
        return json_module.dumps(value, ensure_ascii=False)

    return f"{change.key} = {shown(change.value)} → {change.new_key} = {shown(change.new_value)}"


def _list(title: str, entries: list[tuple[Any, str, str | None]]) -> None:
    if not entries:
        return
    typer.echo(f"{title}:", err=True)
    for where, text, hint in entries:
        place = f"{where}: " if where else ""
        more = f" ({hint})" if hint else ""
        typer.echo(
            "  " + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in f"{place}{text}{more}"),
            err=True,
        )
