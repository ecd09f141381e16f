"""Verdicts as text, and the names of the mistakes that give the same numbers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpy_llama.conformance.port import Port
from numpy_llama.precision import DTYPES

SHOWN = 12  # numbers of an array that a report prints


@dataclass(frozen=True)
class Finding:
    """What became of one property, in text.

    example        smallest failing example: each drawn value, printed
    expected, got  printed; empty where there are none
    block          what it is said of: a block, a function, or "the whole model"
    """

    name: str
    sentence: str
    passed: bool
    message: str = ""
    example: dict[str, str] | None = None
    expected: str = ""
    got: str = ""
    block: str = ""


def as_finding(verdict: Any, block: str) -> Finding:
    """A verdict of the runner on a block, in text."""
    example = {name: show(value) for name, value in verdict.example.items()}
    expected = "" if verdict.expected is None else show(verdict.expected)
    got = "" if verdict.got is None else show(verdict.got)
    return Finding(verdict.name, verdict.sentence, verdict.passed, verdict.message, example, expected, got, block)


def show(value: Any) -> str:
    """A value for a report: arrays in full where they are small, else with their shape; never more than a few lines."""
    if isinstance(value, np.dtype):
        return value.name
    if _is_real(value):
        # As float64, since NumPy prints a bfloat16 with digits that it doesn't have.
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "iub":
            numbers = numbers.astype(np.float64)
        text = np.array2string(numbers, precision=6, separator=", ", threshold=SHOWN, edgeitems=3, suppress_small=False)
        shape = f", shape {numbers.shape}" if numbers.size > SHOWN else ""
        return f"{text} ({np.asarray(value).dtype.name}{shape})"
    try:
        text = repr(value)
    except Exception as error:  # an object of somebody's own
        text = f"{type(value).__name__}, whose repr raises {type(error).__name__}"
    return text if len(text) <= 200 else text[:200] + " …"


def mistakes_like(functions: Collection[str], failed: Sequence[tuple[Any, Any]]) -> list[str]:
    """Names of the mistakes that go wrong on every failing example, and with the same numbers where there are numbers.

    functions  names of the functions under judgement; mistakes of others aren't tried
    failed     (property, verdict) of each property that doesn't hold
    """
    from numpy_llama.conformance.runner import replay
    from numpy_llama.mistakes.wrong_blocks.table import WRONG_BLOCKS

    if not failed:
        return []
    return [
        mistake.name
        for mistake in WRONG_BLOCKS.values()
        if mistake.field in functions
        and all(
            _alike(verdict, replay(property_, mistake.planted(Port()), verdict.example))
            for property_, verdict in failed
        )
    ]


def _alike(verdict: Any, other: Any) -> bool:
    if other.passed:
        return False
    if verdict.got is None or other.got is None:
        return bool(verdict.message == other.message)
    got, same = np.asarray(verdict.got), np.asarray(other.got)
    if got.shape != same.shape or not _is_real(got) or not _is_real(same):
        return False
    # The same formula in another order of operations; a hundredth or two are above rounding, bfloat16's included.
    return bool(np.allclose(got.astype(np.float64), same.astype(np.float64), rtol=2e-2, atol=1e-9, equal_nan=True))


def _is_real(value: Any) -> bool:
    """Whether a value is of real numbers, and not of objects, texts or complex ones."""
    return isinstance(value, np.ndarray | np.generic) and (value.dtype.kind in "iubf" or value.dtype in DTYPES.values())
