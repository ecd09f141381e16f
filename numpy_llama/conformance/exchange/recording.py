"""The calls that properties make of a block, kept with what was drawn, so that they can be asked of any program.

    for example in record("rms_norm", examples=3, dtypes=["float32"]):
        example.property_, example.drawn, example.calls

A program in another language answers in one go, so a call may not depend on the answer to another one. A property that
calls several functions is therefore asked of one at a time, the others being ours; and an example that needs an answer
to go on (R_a R_b x: a rotation of what was rotated) is left out.
"""

import hashlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from hypothesis.errors import Unsatisfiable

from numpy_llama.conformance.asked_dtypes import check_asked, in_dtypes
from numpy_llama.conformance.draws import Draw
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import Property, block_of
from numpy_llama.conformance.published import ALL_PROPERTIES
from numpy_llama.conformance.rounding import Broken
from numpy_llama.conformance.runner import try_property

FUNCTIONS = tuple(f.name for f in fields(Port) if f.name != "kv_cache")  # a cache isn't asked and forgotten
BLOCKS = tuple(block for block in ALL_PROPERTIES if block != "kv_cache")


@dataclass(frozen=True)
class AskedCall:
    """One call of a function.

    function   its name: "rms_norm"
    arguments  by the names of ours, without those that are None
    outputs    what ours returned, by name: "output", or "cos" and "sin"
    """

    function: str
    arguments: Mapping[str, Any]
    outputs: Mapping[str, np.ndarray] = field(compare=False)

    @property
    def key(self) -> str:
        """The same for the same function and arguments, bit by bit."""
        return key_of(self.function, self.arguments)


@dataclass(frozen=True)
class Recorded:
    """One example of one property: what was drawn, and which calls of one function it made."""

    block: str
    function: str
    property_: Property
    drawn: Mapping[str, Any]
    calls: tuple[AskedCall, ...]


def record(block: str, examples: int, dtypes: Collection[str]) -> Iterator[Recorded]:
    """Examples of every property of a block, the same in every run.

    examples  how many to draw for each property
    dtypes    names of those in which a program is asked
    """
    for property_ in ALL_PROPERTIES[block]:
        for function in (name for name in FUNCTIONS if block_of(name) == block):
            seen: list[tuple[dict[str, Any], tuple[AskedCall, ...]]] = []
            try:
                try_property(_kept(property_, function, seen, dtypes), Port(), examples=examples, shrink=False)
            except Unsatisfiable:  # it needs a dtype that isn't asked for
                continue
            for drawn, calls in seen:
                if calls and _stand_alone(property_, function, drawn, calls):
                    yield Recorded(block, function, property_, drawn, calls)


def listening(function: str, listen: Callable[[dict[str, Any], Callable[[], Any]], Any]) -> Port:
    """Our port with one function that hands `listen` its arguments by name, and how to go on."""
    ours = getattr(Port(), function)

    def heard(*given: Any, **named: Any) -> Any:
        arguments = dict(_SIGNATURES[function].bind(*given, **named).arguments)
        arguments = {key: value for key, value in arguments.items() if value is not None}
        return listen(arguments, lambda: ours(*given, **named))

    return Port().swap(**{function: heard})


_SIGNATURES = {name: inspect.signature(getattr(Port(), name)) for name in FUNCTIONS}


def key_of(function: str, arguments: Mapping[str, Any]) -> str:
    """A hash of a call: the same for the same function and arguments, bit by bit."""
    digest = hashlib.sha256(function.encode())
    for name in sorted(arguments):
        value = arguments[name]
        if isinstance(value, np.dtype):
            digest.update(f"|{name}:dtype {value.name}".encode())
            continue
        array = np.asarray(value)
        digest.update(f"|{name}:{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def outputs_of_names(function: str) -> tuple[str, ...]:
    """Names of a function's outputs: one, but for RoPE's tables."""
    return ("cos", "sin") if function == "rope_tables" else ("output",)


def outputs_of(function: str, result: Any) -> dict[str, np.ndarray]:
    """A function's result by the names of its outputs."""
    parts = result if isinstance(result, tuple) else (result,)
    return {name: np.asarray(part) for name, part in zip(outputs_of_names(function), parts, strict=True)}


def _kept(
    property_: Property,
    function: str,
    seen: list[tuple[dict[str, Any], tuple[AskedCall, ...]]],
    dtypes: Collection[str],
) -> Property:
    """The property, which puts every example that it is tried on, and the calls of a function there, into a list."""
    restricted = in_dtypes(property_, dtypes)

    def keep(_: Port, draw: Draw) -> None:
        drawn: dict[str, Any] = {}
        calls: list[AskedCall] = []

        def draw_and_keep(name: str, strategy: Any) -> Any:
            drawn[name] = draw(name, strategy)
            return drawn[name]

        def listen(arguments: dict[str, Any], go_on: Callable[[], Any]) -> Any:
            check_asked(arguments.values(), dtypes)
            result = go_on()
            copies = {key: np.array(v) if isinstance(v, np.ndarray) else v for key, v in arguments.items()}
            calls.append(AskedCall(function, copies, outputs_of(function, result)))
            return result

        restricted(listening(function, listen), draw_and_keep)
        seen.append((drawn, tuple(calls)))

    keep.__name__, keep.__doc__ = property_.__name__, property_.__doc__
    return keep


def _stand_alone(property_: Property, function: str, drawn: Mapping[str, Any], calls: tuple[AskedCall, ...]) -> bool:
    """Whether the calls stay the same where every answer is a little different."""
    again: list[str] = []

    def listen(arguments: dict[str, Any], go_on: Callable[[], Any]) -> Any:
        again.append(key_of(function, arguments))
        return _nudged(go_on())

    with suppress(Broken):
        property_(listening(function, listen), lambda name, strategy: drawn[name])
    return again == [call.key for call in calls[: len(again)]]


def _nudged(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_nudged(part) for part in result)
    if result.dtype.kind in "iub":
        return result
    return np.nextafter(result, np.ones_like(result) * result.dtype.type(3))
