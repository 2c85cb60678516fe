"""Reading values out of a tree of JSON or YAML: each mistake told at its place, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ..errors import Problem, Where
from ..spec.words import described, shown
from ..spec.yamltree import Node
from .size_quantity import QuantityError, quantity


class Fields:
    """Reads nodes; what is wrong with them is gathered in ``problems``."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, message: str, where: Where, hint: str | None = None) -> None:
        """Tell a mistake."""
        self.problems.append(Problem(message, where, hint))

    def mapping(self, parent: Node, key: str) -> Node | None:
        """A mapping below a key; None when it is not there, or empty."""
        node = parent.children.get(key)
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, dict):
            self.wrong(f"{key} must be a mapping, not {described(node.value, node.raw)}", node.where)
            return None
        return node

    def items(self, parent: Node, key: str) -> Iterator[Node]:
        """The mappings of a list below a key."""
        node = parent.children.get(key)
        if node is None or node.value is None:
            return
        if not isinstance(node.value, list):
            self.wrong(f"{key} must be a list, not {described(node.value, node.raw)}", node.where)
            return
        for item in node.children.values():
            if isinstance(item.value, dict):
                yield item
            else:
                self.wrong(f"an element of {key} must be a mapping", item.where)

    def text(self, parent: Node, key: str) -> str | None:
        """A string below a key."""
        node = parent.children.get(key)
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, str):
            self.wrong(f"{key} must be a string, not {described(node.value, node.raw)}", node.where)
            return None
        return node.value

    def integer(self, parent: Node, key: str, name: str, least: int | None = None) -> int | None:
        """A whole number below a key; at least ``least``, if that is given."""
        node = parent.children.get(key)
        if node is None or node.value is None:
            return None
        if not isinstance(node.value, int) or isinstance(node.value, bool):
            hint = "remove the quotes" if isinstance(node.value, str) and node.value.lstrip("-").isdecimal() else None
            self.wrong(f"{name} must be a whole number, not {described(node.value, node.raw)}", node.where, hint)
            return None
        if not -(1 << 63) <= node.value < (1 << 64) or (least is not None and node.value < least):
            low = -(1 << 63) if least is None else least
            self.wrong(f"{name} must be a number from {low} up, of 64 bits, not {shown(node.value)}", node.where)
            return None
        return node.value

    def quantity(self, parent: Node, key: str, name: str) -> Fraction | None:
        """A quantity below a key."""
        node = parent.children.get(key)
        if node is None or (node.value is None and node.raw in (None, "", "null", "~")):
            return None
        written = node.raw if node.raw is not None else node.value
        if not isinstance(written, str) or isinstance(node.value, bool):
            self.wrong(f"{name} must be a quantity, not {described(node.value, node.raw)}", node.where)
            return None
        try:
            return quantity(written)
        except QuantityError as error:
            self.wrong(f"{name}: {shown(written)} {error}", node.where, error.hint)
            return None
