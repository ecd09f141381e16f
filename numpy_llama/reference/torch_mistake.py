"""How a mistake is put into the torch port: a function of that name, which replaces one of the port's steps."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from numpy_llama.reference.torch_port import TorchPort

Plant = Callable[[TorchPort, np.random.Generator], str]
PLANTS: dict[str, Plant] = {}
T = TypeVar("T")


class NotHere(Exception):
    """A mistake can't be made in this model: there is no bias to drop, no layer to skip."""


def planted(key: str) -> Callable[[Plant], Plant]:
    """Decorates what plants the mistake `key` of the catalogue into a port.

    The function is given the port and a generator, by which it chooses among the ways to make the mistake; it returns
    the way it chose, "" where there is one. It raises NotHere where the mistake can't be made.
    """

    def keep(plant: Plant) -> Plant:
        assert key not in PLANTS, key
        PLANTS[key] = plant
        return plant

    return keep


def put(port: TorchPort, **steps: Callable[..., Any]) -> str:
    """Put other functions in the place of steps of the port: put(port, norm=…). Returns ""."""
    for name, step in steps.items():
        assert callable(getattr(port, name)), name
        setattr(port, name, step)
    return ""


def one_of(draw: np.random.Generator, ways: Sequence[T]) -> T:
    """One of several ways, drawn evenly."""
    return ways[int(draw.integers(len(ways)))]
