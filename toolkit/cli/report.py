"""``kata-toolkit report``: what is known of a set, as a page, in the terminal, as Markdown, JUnit XML or JSON."""

from __future__ import annotations

import enum
import json as json_module
from pathlib import Path

import typer


class Form(enum.StrEnum):
    """How the report is written."""

    TEXT = "text"
    HTML = "html"
    MARKDOWN = "md"
    JUNIT = "junit"
    JSON = "json"


def report(
    folder: Path = typer.Argument(..., metavar="DIR", help="A built set."),
    form: Form = typer.Option(Form.TEXT, "--format", "-f", help="What to write."),
    output: Path = typer.Option(None, "--output", "-o", metavar="FILE", help="Where to write it (default: stdout)."),
    beside: Path = typer.Option(None, "--from", metavar="DIR", help="Where the proof lies (default: DIR.report)."),
    json: bool = typer.Option(False, "--json", help="The same as --format json."),
) -> None:
    """Show what is known of a set: its boot by phase, memory, sizes, the proof, and where it comes from.

    `verify` and `build --verify` write the page report.html and the other forms beside the set by themselves.
    """
    from ..report.document import collect
    from ..report.junit import junit
    from ..report.markdown import markdown
    from ..report.page import page
    from ..report.save import write

    document = collect(folder, beside)
    form = Form.JSON if json else form
    if form is Form.TEXT and output is None:
        from rich.console import Console

        from ..report.terminal import print_document

        print_document(document, Console())
        return
    text = {
        Form.TEXT: lambda: _plain(document),
        Form.HTML: lambda: page(document),
        Form.MARKDOWN: lambda: markdown(document),
        Form.JUNIT: lambda: junit(document),
        Form.JSON: lambda: json_module.dumps(document, indent=1, ensure_ascii=False) + "\n",
    }[form]()
    if output is None:
        typer.echo(text, nl=False)
    else:
        write(output, text.encode())


def _plain(document: dict[str, object]) -> str:
    import io

    from rich.console import Console

    from ..report.terminal import print_document

    stream = io.StringIO()
    print_document(document, Console(file=stream, width=110))
    return stream.getvalue()
