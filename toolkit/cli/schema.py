"""``kata-toolkit schema``: the JSON Schemas of what is read and written."""

from __future__ import annotations

import typer


def schema(
    name: str = typer.Argument("spec", metavar="[NAME]", help="Which one: spec, manifest, …"),
) -> None:
    """Print a JSON Schema."""
    from ..errors import InputError
    from ..resources import resource
    from ..spec.suggest import did_you_mean

    suffix = ".schema.json"
    known = sorted(path.name.removesuffix(suffix) for path in resource("schemas").glob(f"*{suffix}"))
    if name not in known:
        hint = did_you_mean(name, known) or f"there are: {', '.join(known)}"
        raise InputError(f'there is no schema called "{name}"', hint=hint)
    typer.echo(resource("schemas", name + suffix).read_text(encoding="utf-8"), nl=False)
