"""Trees as text: TOML, YAML and JSON, always the same bytes for the same tree."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from .. import resources
from ..errors import InternalError
from ..kata.render import toml_value

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(tree: Mapping[str, Any]) -> str:
    """Tables of TOML, each with a header of its own. Raises InternalError unless it reads back as the tree."""
    text = "\n".join(_tables(tree, ()))
    if tomllib.loads(text) != tree:
        raise InternalError("the TOML written does not say what was meant")
    return text


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """One block of lines for each table that has values; one that has only tables needs no header."""
    values = {key: value for key, value in table.items() if not isinstance(value, Mapping) and not _is_listed(value)}
    if values:
        header = f"[{_dotted(path)}]\n" if path else ""
        yield header + _lines(values)
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _tables(value, (*path, key))
        elif _is_listed(value):
            yield from (f"[[{_dotted((*path, key))}]]\n{_lines(item)}" for item in value)


def _is_listed(value: Any) -> bool:
    """Several tables of one name; they have only values here."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{_key(key)} = {toml_value(value)}\n" for key, value in values.items())


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(map(_key, path))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else toml_value(key)


def as_json(tree: Any) -> str:
    """Two spaces deep, in the order given."""
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def as_yaml(tree: Any) -> str:
    """Block style, in the order given; text of several lines as a literal block."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """PyYAML's own, but for long texts."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    written = yaml.dump(tree, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=True)
    if yaml.safe_load(written) != tree:
        raise InternalError("the YAML written does not say what was meant")
    return str(written)


def fill(template: str, **facts: Any) -> str:
    """A template of ``templates/wiring/``, filled in. Raises InternalError when it is wrong."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.resource("templates", "wiring")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 -- TOML and YAML, not HTML; the values go through as_toml and as_yaml
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    try:
        return environment.get_template(template).render(**facts)
    except jinja2.TemplateError as error:
        raise InternalError(f"the template {template} is wrong: {error}") from error
