"""Somebody's functions under our names, taken across the border: found in a module, called as ours are."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis.errors import Unsatisfiable

from numpy_llama.conformance.apart import Unusable
from numpy_llama.conformance.asked_dtypes import check_asked
from numpy_llama.conformance.foreign.arrays import Border, back
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import Broken
from numpy_llama.conformance.student import known_functions, load_file

WHOLE = ("make", "logits")
MOST_REFUSED = 60  # examples of a property, twice as many as are tried


def load(target: str) -> ModuleType:
    """A module by its dotted name, found from the current folder as `python -m` would, or a .py file by its path.

    raises  Unusable with the last line of the traceback where it can't be imported
    """
    if target.endswith(".py"):
        path = Path(target)
        if not path.is_file():
            raise Unusable(f"no such file: {target}")
        return load_file(path.resolve())
    if not all(part.isidentifier() for part in target.split(".")):
        raise Unusable(f"{target!r} is no name of a module (my_package.my_llama), and no .py file")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(target)
    except (Exception, SystemExit) as error:
        raise Unusable(f"can't be imported: {type(error).__name__}{_place(error)}: {error}") from None


def functions_of(modules: Collection[ModuleType]) -> dict[str, Callable[..., Any]]:
    """What stands under one of our names, the name of a block or `make` or `logits`, in the last module that has it.

    Our own functions, imported there, don't count.

    raises  Unusable where there is nothing
    """
    ours = Port()
    found = {}
    for module in modules:
        for name in sorted({*known_functions(), *WHOLE}):
            function = getattr(module, name, None)
            if callable(function) and function is not getattr(ours, name, None):
                found[name] = function
    if not found:
        raise Unusable(
            "no function of a known name; expected one of "
            + ", ".join([*sorted(known_functions()), *WHOLE])
            + ", or an --adapter with functions of these names that call yours"
        )
    return found


@dataclass
class Calls:
    """How many calls somebody's functions were given, and how many they said they don't implement."""

    made: int = 0
    refused: int = 0


def cannot_be_called(name: str, function: Callable[..., Any]) -> str:
    """Why a function can't be called as ours of that name is; empty where it can, as far as it says."""
    if name in WHOLE:
        wanted = 2 if name == "make" else 1
        called = f"{name}({'config, weights' if name == 'make' else 'input_ids'})"
    else:
        ours = [p for p in inspect.signature(getattr(Port(), name)).parameters.values() if p.kind is not p.KEYWORD_ONLY]
        wanted = 1 if name == "kv_cache" else len(ours)
        called = f"{name}({', '.join(p.name for p in ours[:wanted])})"
    try:
        inspect.signature(function).bind(*range(wanted))
    except TypeError:
        return f"it is called as {called}; an --adapter can pass on what yours takes"
    except ValueError:  # some builtins don't say what they take
        pass
    return ""


def port_of(functions: Mapping[str, Callable[..., Any]], border: Border, dtypes: Collection[str]) -> tuple[Port, Calls]:
    """Our port with somebody's functions in their places, each behind the border; and what became of the calls.

    dtypes  names of those that the functions know; an example of another dtype isn't tried on them
    """
    wrapped: dict[str, Callable[..., Any]] = {}
    calls = Calls()
    for name, function in functions.items():
        if name == "kv_cache":
            wrapped[name] = lambda layers, make=function: _Cache(make(layers), border, dtypes, calls)
        else:
            wrapped[name] = across(function, border, dtypes, calls)
    return Port().swap(**wrapped), calls


def across(function: Callable[..., Any], border: Border, dtypes: Collection[str], calls: Calls) -> Callable[..., Any]:
    """Somebody's function as one of ours: arrays in, arrays out.

    An example for which it raises NotImplementedError is given up, and hypothesis draws another.

    raises  Unsatisfiable for an example of a dtype that isn't among `dtypes`
    """

    def call(*arguments: Any, **named: Any) -> Any:
        ours = [*arguments, *named.values()]
        check_asked(ours, dtypes)
        calls.made += 1
        theirs = [border.out(value) for value in ours]
        try:
            positional, by_name = theirs[: len(arguments)], dict(zip(named, theirs[len(arguments) :], strict=True))
            result = back(function(*positional, **by_name))
        except NotImplementedError:
            calls.refused += 1
            if calls.refused > MOST_REFUSED:
                raise Unsatisfiable("it isn't implemented there") from None
            reject()
        if any(not _unchanged(value, given) for value, given in zip(ours, theirs, strict=True)):
            raise Broken("writes into an array it was given; a block leaves its inputs as they are")
        return result

    return call


def _unchanged(ours: Any, theirs: Any) -> bool:
    if not isinstance(ours, np.ndarray):
        return True
    after = back(theirs)
    # As bytes of equal numbers, since NumPy can't compare every dtype's NaN.
    return after.shape == ours.shape and bool(np.array_equal(after.astype(ours.dtype), ours))


class _Cache:
    """Somebody's cache behind the border."""

    def __init__(self, cache: Any, border: Border, dtypes: Collection[str], calls: Calls):
        self._cache = cache
        self.update = across(cache.update, border, dtypes, calls)

    def __len__(self) -> int:
        return len(self._cache)

    def crop(self, length: int) -> None:
        """Forget all after the first `length` tokens."""
        self._cache.crop(length)


def _place(error: BaseException) -> str:
    """Where an error was raised: the last line of a traceback that isn't of the importing itself."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (
            not frame.filename.startswith("<")
            and Path(frame.filename) != Path(__file__)
            and "importlib" not in frame.filename
        ):
            return f" in line {frame.lineno} of {Path(frame.filename).name}"
    if isinstance(error, SyntaxError) and error.lineno:
        return f" in line {error.lineno} of {Path(error.filename or '').name}"
    return ""
