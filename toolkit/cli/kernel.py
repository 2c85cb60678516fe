"""``kata-toolkit kernel``: the table of its verbs; each has a file of its own (``kernel_VERB.py``)."""

from __future__ import annotations

import typer

from . import kernel_cost, kernel_diff, kernel_explain, kernel_hardening

app = typer.Typer(help="Explain, compare and judge the guest kernel's options.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """Explain, compare and judge the guest kernel's options."""


app.command("cost")(kernel_cost.cost)
app.command("explain")(kernel_explain.explain)
app.command("diff")(kernel_diff.diff)
app.command("hardening")(kernel_hardening.hardening)
