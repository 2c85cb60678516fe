"""``kata-toolkit config show``: what is known of Kata's settings."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..kata.keys import Setting
    from ..spec.model import Dialect

_UNLIMITED = (-(1 << 63), (1 << 63) - 1)
_VERDICTS = {
    "error": "refused",
    "override": "silently overruled",
    "hazard": "taken, with an effect that is hardly meant",
    "note": "taken",
}


def show(
    keys: list[str] = typer.Argument(None, metavar="[KEY]…", help="Settings: default_memory, agent.dial_timeout, …"),
    dialect: str = typer.Option(None, "--dialect", metavar="go|rs", help="Only what one runtime has."),
    hypervisor: str = typer.Option(None, "--hypervisor", metavar="NAME", help="Only what does something with it."),
    search: str = typer.Option(None, "--search", metavar="TEXT", help="Only settings that speak of these words."),
    json: bool = typer.Option(False, "--json", help="One JSON document on stdout."),
) -> None:
    """Tell what a setting means: type, unit, values, default, its name in each runtime, and what it must fit to.

    A KEY is a name as specs have it, a key of a file with or without its table, or an annotation of a pod. Without
    one, all settings are listed.
    """
    from ..errors import InputError
    from ..kata.show import document, find, hypervisor_named, listed

    one = _dialect(dialect)
    vmm = hypervisor_named(hypervisor)
    if keys and search:
        raise InputError("--search lists settings; it takes no KEY", hint="leave one of them out")
    if not keys:
        found = listed(one, vmm, search)
        if not found:
            raise InputError("no setting is like that", hint="use fewer words" if search else None)
        if json:
            _print_json([document(setting, one, vmm) for setting in found])
        else:
            _print_list(found)
        return
    settings = list(dict.fromkeys(setting.name for key in keys for setting in find(key)))
    documents = [document(setting, one, vmm) for name in settings for setting in _named(name)]
    if json:
        _print_json(documents)
        return
    for number, entry in enumerate(documents):
        typer.echo(("\n" if number else "") + "\n".join(_lines(entry)))


def _named(name: str) -> Iterator[Setting]:
    from ..kata.keys import tables

    setting = tables().find(name)
    if setting:
        yield setting


def _dialect(word: str | None) -> Dialect | None:
    from ..errors import InputError
    from ..spec.suggest import did_you_mean

    if word is None:
        return None
    if word == "go":
        return "go"
    if word == "rs":
        return "rs"
    raise InputError(f'--dialect: expected go or rs, got "{word}"', hint=did_you_mean(word, ["go", "rs"]))


def _kata() -> str:
    from ..kata.keys import tables

    return str(tables().dialects["kata"]["read_from"])


def _print_json(settings: list[dict[str, Any]]) -> None:
    document = {"version": 1, "kata": _kata(), "settings": settings}
    typer.echo(json_module.dumps(document, indent=2, ensure_ascii=False))


def _print_list(settings: list[Setting]) -> None:
    from ..kata.keys import tables

    width = max(len(setting.name) for setting in settings)
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.group, []).append(setting)
    for number, (group, members) in enumerate(groups.items()):
        typer.echo(("\n" if number else "") + tables().group_title(group))
        for setting in members:
            sides = "".join(f"{d} " if setting.side(d) else "   " for d in ("go", "rs"))
            typer.echo(f"  {setting.name:<{width}}  {sides} {setting.meaning}")


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    from ..kata.keys import tables

    yield f"{entry['name']}  ({entry['group']})"
    yield f"  {entry['meaning']}"
    for dialect in ("go", "rs"):
        if dialect not in entry:
            continue
        title = tables().title(dialect)
        yield ""
        if entry[dialect] is None:
            yield f"  {title}: no such setting"
        else:
            yield f"  {title}: {entry[dialect]['key']} in [{entry[dialect]['table']}]"
            yield from (f"    {line}" for line in _side_lines(entry[dialect]))
    if entry["carried"]:
        yield ""
        yield f"  Go to Rust: {_carried(entry['carried'])}"
    if entry["constraints"]:
        yield ""
        yield "  it must fit to other things:"
        for constraint in entry["constraints"]:
            yield f"    {constraint['text']} {_verdicts(constraint)}"


def _side_lines(side: dict[str, Any]) -> Iterator[str]:
    if side["meaning"]:
        yield side["meaning"]
    yield f"type: {side['type']}" + (f", counted in {side['unit']}" if side["unit"] else "")
    if side["allowed"] is not None:
        told = ", ".join(map(_shown, side["allowed"])) or "nothing but an empty list"
        yield f"values: {told}" + ("" if side["allowed_checked"] != "no" else " (not checked)")
    if side["range"] and side["range"] != list(_UNLIMITED):
        low, high = side["range"]
        yield f"range: {low} to {high}" if high != _UNLIMITED[1] else f"range: {low} and above"
    for limit in side["limits"]:
        most = "less than" if limit["kind"] == "low" else "more than"
        where = f" on {limit['arch']}" if limit["arch"] else ""
        other = "".join(f"; with {name}: {value}" for name, value in limit["by_hypervisor"].items())
        yield f"{most} {limit['value']} {limit['effect']}{where}{other}"
    yield f"default: {_by_hypervisor(side['default'])}"
    if side["zero_means"]:
        yield f"0 means: {_by_hypervisor(side['zero_means'])}"
    yield f"hypervisors: {', '.join(side['hypervisors']) or 'none of them'}"
    yield from _remarks(side)
    yield "example:"
    yield from (f"  {line}" for line in side["example"].splitlines())


def _remarks(side: dict[str, Any]) -> Iterator[str]:
    if side["needs"]:
        yield f"only with {side['needs']['setting']} = {_shown(side['needs']['value'])}"
    if side["must_exist"]:
        yield "the path must exist on the host"
    if side["internal"]:
        yield "the runtime fills it in itself: a file should not have it"
    if side["inert"]:
        yield f"does nothing: {side['inert']}"
    if side["deprecated"]:
        yield f"deprecated: {side['deprecated']}"
    yield (
        f"since Kata {side['since']}"
        if side["since"]
        else f"known to Kata {_kata()}; its first version is not recorded"
    )
    if side["until"]:
        yield f"dropped in Kata {side['until']}"
    if side["note"]:
        yield f"note: {side['note']}"
    if side["aliases"]:
        yield f"also written: {', '.join(side['aliases'])}"
    if side["shadows"]:
        yield f"read, and without effect: {', '.join(side['shadows'])}"


def _by_hypervisor(values: dict[str, Any]) -> str:
    """One value, or which hypervisor has which."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(_shown(value), []).append(name)
    if len(groups) <= 1:
        return next(iter(groups), "none")
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in groups.items())


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str) and value.startswith("the host's"):
        return value
    return json_module.dumps(value, ensure_ascii=False)


def _carried(how: dict[str, Any]) -> str:
    pairs = ", ".join(f"{_shown(go)} → {_shown(rs)}" for go, rs in how["values"])
    factor = f"times {how['multiply']}" if how["multiply"] != 1 else f"divided by {how['divide']}"
    return pairs if how["multiply"] == how["divide"] == 1 else f"{factor}; {pairs}" if pairs else factor


def _verdicts(constraint: dict[str, Any]) -> str:
    from ..kata.keys import tables

    told = [
        f"{tables().title(d)}: {_VERDICTS[verdict[0]]} ({verdict[1]})" for d, verdict in constraint["verdicts"].items()
    ]
    return f"[{'; '.join(told)}]"
