"""Where one can stand in a forward pass: the values of a call as a tree, in order of computation.

A value stands inside the nearest value whose name its own begins with: `model.layers.0.self_attn.scores` inside
`model.layers.0.self_attn`, that inside `model.layers.0`, and that inside nothing, since no value is called
`model.layers`. So the tree is that of the modules, as far as a trace goes: one with holes has a tree, too.

What stands inside a value is what it was computed through, and so comes before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from numpy_llama.model.values import computation_order


@dataclass(frozen=True)
class Place:
    """A value to stand at.

    call   index of the call
    level  the value that one has gone into, or None at the top: what `next` walks through
    name   of the value: one inside the level or, at the end of it, the level itself
    """

    call: int
    level: str | None
    name: str


def layer_number(name: str) -> int | None:
    """3 for "model.layers.3" or "layers.3", the residual stream after a layer; None for any other name."""
    number = name.removeprefix("model.").removeprefix("layers.")
    return int(number) if number.isascii() and number.isdigit() and number != name else None


class CallTree:
    """The values of one call, by name.

    names  in order of computation
    """

    def __init__(self, names: Iterable[str]):
        self.names = sorted(names, key=computation_order)
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._inside: dict[str | None, list[str]] = {}
        for name in self.names:
            self._inside.setdefault(self.parent(name), []).append(name)

    def parent(self, name: str) -> str | None:
        """The value that this one stands inside; None at the top."""
        while "." in name:
            name = name.rpartition(".")[0]
            if name in self._numbers:
                return name
        return None

    def inside(self, level: str | None) -> list[str]:
        """The values directly inside one, or at the top, in order of computation."""
        return self._inside.get(level, [])

    def along(self, level: str | None) -> list[str]:
        """What `next` walks through at a level: the values inside, and at the end what they make up."""
        return [*self.inside(level), *([] if level is None else [level])]

    def number(self, name: str) -> int:
        """0 for the value computed first, and so on."""
        return self._numbers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __len__(self) -> int:
        return len(self.names)
