"""``kata-toolkit config``: the table of its verbs; each has a file of its own (``config_VERB.py``)."""

from __future__ import annotations

import typer

from . import config_lint, config_show, config_translate

app = typer.Typer(help="Lint, translate and explain Kata configuration files.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """Lint, translate and explain Kata configuration files."""


app.command("lint")(config_lint.lint)
app.command("translate")(config_translate.translate)
app.command("show")(config_show.show)
