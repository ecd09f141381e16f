"""What a wrong block is: one function of a port, with a mistake in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy_llama.blocks.record import Blocks

Record = TypeVar("Record", bound=Blocks)  # Blocks itself, or a record with more fields beside them

Wrong = dict[str, tuple[Callable[..., Any], ...]]  # field of the record → functions that do it wrong


@dataclass(frozen=True)
class WrongBlock:
    """One function done wrong.

    name   a few words: "eps outside the root"
    field  where in the record it stands: "rms_norm"
    wrong  the function that makes the mistake
    """

    name: str
    field: str
    wrong: Callable[..., Any]

    def planted(self, port: Record) -> Record:
        """The record with this mistake in it."""
        return port.swap(**{self.field: self.wrong})
