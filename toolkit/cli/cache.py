"""``kata-toolkit cache``: what the store holds."""

from __future__ import annotations

import json as json_module

import typer

app = typer.Typer(help="Look at the store, check it, make room in it.", no_args_is_help=True)


@app.command("ls")
def ls(json: bool = typer.Option(False, "--json", help="One JSON document on stdout.")) -> None:
    """List what the store holds, and how much lies beside it."""
    from ..pipeline.leftovers import FOLDERS, sizes
    from ..pipeline.store import Store, cache_folder

    store = Store(cache_folder())
    entries = list(store.entries())
    beside = sizes(store.cache)
    if json:
        rows = [{"stage": e.stage, "id": e.id, "files": len(e.files), "bytes": e.size} for e in entries]
        typer.echo(json_module.dumps({"cache": str(store.cache), "entries": rows, "beside": beside}, indent=2))
        return
    typer.echo(f"{store.cache}")
    for entry in entries:
        typer.echo(f"{entry.stage:<15} {entry.id}  {len(entry.files):>4} files  {entry.size / 2**20:9.1f} MiB")
    for name, size in beside.items():
        typer.echo(f"{name:<15} {FOLDERS[name]:<43} {size / 2**20:9.1f} MiB")


@app.command("verify")
def verify() -> None:
    """Digest every byte in the store; damaged entries are removed (and are made again when needed)."""
    from ..errors import CheckError, Problem
    from ..pipeline.store import Store, cache_folder

    store = Store(cache_folder())
    problems = []
    count = 0
    for entry in store.entries():
        count += 1
        bad = store.check(entry)
        if bad:
            problems.append(Problem(f"{entry.stage} {entry.id}: damaged: {', '.join(bad)}", hint="it was removed"))
            store.drop(entry)
    typer.echo(f"{count} entries checked, {len(problems)} damaged")
    if problems:
        raise CheckError.many(problems)


@app.command("gc")
def gc(
    scratch: bool = typer.Option(True, help="Also remove unpacked kernel trees (they are unpacked again when needed)."),
    downloads: int = typer.Option(
        None, metavar="DAYS", min=0, help="Also remove downloads that nothing has used for DAYS days, nor is made from."
    ),
) -> None:
    """Remove all that the last build of each spec did not use."""
    from ..pipeline.leftovers import drop_downloads
    from ..pipeline.store import Store, cache_folder

    store = Store(cache_folder())
    freed = store.collect(scratch=scratch)
    if downloads is not None:
        with store.alone():
            freed += drop_downloads(store, downloads)
    typer.echo(f"{freed / 2**20:.1f} MiB freed in {store.cache}")
