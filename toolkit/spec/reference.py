"""Renders the reference page of the spec, docs/spec.md, from the schema: ``python -m kata_toolkit.spec.reference``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..resources import resource
from .scalars import resolve
from .schema import Schema, branches, load_schema, resolve_ref
from .words import either, type_name

_HEAD = """# The spec

<!-- Made from schemas/spec.schema.json by `make docs`; edit that file, not this one. -->

{description}

```yaml
{example}
```

A spec is read as YAML 1.2: `no` and `on` are text, `true` and `false` are not. What YAML readers disagree on is
refused with a hint (`0755`, `1_000`, `1:30`), and so are duplicate and unknown keys, tags, merge keys (`<<`), several
documents in one file, and files over 1 MiB. Anchors and aliases may be used. `kata-toolkit validate` reports every
mistake at once; `kata-toolkit schema spec` prints the schema, which editors understand as well.
"""


def render() -> str:
    """The page, as Markdown."""
    root = load_schema("spec")
    example = resource("templates", "starter.yaml").read_text(encoding="utf-8").replace("@name@", "guest")
    parts = [_HEAD.format(description=root["description"], example=example.rstrip())]
    parts += _section(root, root, "")
    return "\n".join(parts)


def _section(root: Schema, schema: Schema, path: str) -> Iterator[str]:
    """A heading, a description and a table for a mapping, then the same for each mapping in it."""
    properties = {key: resolve_ref(root, sub) for key, sub in schema.get("properties", {}).items()}
    if path:
        yield f"## {path}\n"
        yield f"{schema['description']} {_default(schema)}".rstrip() + "\n"
    else:
        yield "## Top level\n"
    yield _table(properties, schema.get("required", []), path)
    kinds = branches(root, schema)
    for kind, branch in kinds.items():
        own = {key: resolve_ref(root, sub) for key, sub in branch["properties"].items() if key != "kind"}
        yield f"### {path} of kind {kind}\n"
        if own:
            yield _table(own, branch.get("required", []), path)
            yield from _exclusive(branch)
            for key, sub in own.items():
                if "properties" in sub and sub.get("default") is not None:
                    yield from _section(root, sub, f"{path}.{key}")
        else:
            yield "It has no other keys.\n"
    for keys, sub in _alike(properties):
        if "properties" in sub:
            key = keys[0] if len(keys) == 1 else "NAME"
            yield from _section(root, sub, f"{path}.{key}" if path else key)


def _alike(properties: dict[str, Schema]) -> Iterator[tuple[list[str], Schema]]:
    """The keys of a mapping, those of one and the same description together."""
    seen: dict[str, list[str]] = {}
    for key, sub in properties.items():
        seen.setdefault(json.dumps(sub) if "properties" in sub else key, []).append(key)
    for keys in seen.values():
        yield keys, properties[keys[0]]


def _table(properties: dict[str, Schema], required: list[str], path: str) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for keys, sub in _alike(properties):
        key, meaning = keys[0], sub["description"]
        if len(keys) > 1 or ("properties" in sub and sub.get("default") is not None):
            last = key if len(keys) == 1 else "NAME"
            inner = f"{path}.{last}" if path else last
            meaning += f" See [{inner}](#{inner.replace('.', '').lower()})."
        elif "examples" in sub:
            meaning += f" Example: {', '.join(_code(example) for example in sub['examples'])}."
        default = "**required**" if key in required else _code(sub["default"]) if "default" in sub else ""
        names = ", ".join(f"`{name}`" for name in keys)
        rows.append(f"| {names} | {_value(sub)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _exclusive(branch: Schema) -> Iterator[str]:
    if "oneOf" in branch:
        keys = " and ".join(f"`{part['required'][0]}`" for part in branch["oneOf"])
        yield f"Exactly one of {keys} is given.\n"


def _value(schema: Schema) -> str:
    """What may stand there, in words."""
    if "enum" in schema:
        return either([_code(value) for value in schema["enum"]])
    if "pattern" in schema and "title" in schema:
        return str(schema["title"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = either([type_name(kind) for kind in kinds])
    if "minimum" in schema:
        words += f", {schema['minimum']} to {schema['maximum']}"
    if "multipleOf" in schema:
        words += f", a multiple of {schema['multipleOf']}"
    return words


def _default(schema: Schema) -> str:
    return f"Default: {_code(schema['default'])}." if schema.get("default") else ""


def _code(value: Any) -> str:
    plain = isinstance(value, str) and isinstance(resolve(value), str)
    return f"`{value if plain else json.dumps(value)}`"


def main() -> None:
    """Write docs/spec.md of the checkout, or the file named as the only argument."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else resource("docs") / "spec.md"
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
