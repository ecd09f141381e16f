"""How a value gets a name.

A block hands each intermediate value through `probe(name, value)`. Where nobody observes, it comes straight back. Where
somebody does, the observer sees it under its full name (`model.layers.0.self_attn.scores`), and may record it, stop
there, or return another array in its place:

    def print_shapes(name, value, call):
        print(call.index, name, value.shape)

    with observe(print_shapes):
        model(input_ids)

A block doesn't know in which layer it stands, so the name is put together from the scopes around it. The observer, the
scope and the model call are kept in one context variable, the only ambient state of the package.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Call:
    """Which call of the model a value belongs to.

    index      0 for the first call inside `observe`, then 1, 2, …
    past       tokens in the cache before the call: 0 in a prefill
    new        tokens that the call adds: 1 in a decode step
    arguments  what the model was given, checked and completed: input_ids, position_ids, attention_mask, …
    config     of the model
    """

    index: int
    past: int
    new: int
    arguments: Any = None
    config: Any = None

    @property
    def kind(self) -> str:
        """ "prefill" (no past), "decode" (one token after a past) or "chunk" (several tokens after a past)."""
        if self.past == 0:
            return "prefill"
        return "decode" if self.new == 1 else "chunk"


NO_CALL = Call(index=-1, past=0, new=0)  # a block used before any model was called

Observer = Callable[[str, np.ndarray, Call], np.ndarray | None]


@dataclass
class _Calls:
    """The calls of the model so far, counted; shared by every scope inside one `observe`."""

    count: int = 0
    latest: Call = NO_CALL


@dataclass(frozen=True)
class _Eye:
    """One observer, and how many calls there had been when it opened."""

    observer: Observer
    before: int

    def __call__(self, name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        if self.before:
            call = replace(call, index=max(call.index - self.before, -1))
        return self.observer(name, value, call)


@dataclass(frozen=True)
class _Watch:
    observers: tuple[_Eye, ...] = ()
    recorders: tuple[_Eye, ...] = ()
    scope: str = ""
    calls: _Calls = field(default_factory=_Calls)


_watch: ContextVar[_Watch | None] = ContextVar("numpy_llama_watch", default=None)
_NOBODY_WATCHES: AbstractContextManager[None] = nullcontext()


def probe(name: str, value: np.ndarray) -> np.ndarray:
    """Name a value; return it, or what an observer puts in its place.

    name     last part of the name, below the scopes around: "scores"
    value    the array, any shape and dtype
    returns  value itself with no observer, or where every observer returns None
    """
    watch = _watch.get()
    if watch is None:
        return value
    name, call = watch.scope + name, watch.calls.latest
    for observer in watch.observers:
        replacement = observer(name, value, call)
        if replacement is not None:
            value = replacement
    for recorder in watch.recorders:
        recorder(name, value, call)
    return value


def is_observed() -> bool:
    """Whether somebody observes, so that every value must have its name."""
    return _watch.get() is not None


def observe(observer: Observer) -> AbstractContextManager[None]:
    """While this lasts, `observer(name, value, call)` sees every named value, in order of computation.

    What the observer returns (an array, not None) takes the value's place in the forward pass. Observers may stand
    inside one another: each sees what those around it have put in the value's place.
    """
    watch = _watch.get() or _Watch()
    eye = _Eye(observer, watch.calls.count)
    return _Watching(replace(watch, observers=(*watch.observers, eye)))


def record(recorder: Callable[[str, np.ndarray, Call], object]) -> AbstractContextManager[None]:
    """Like observe, for somebody who only looks: he sees what the forward pass goes on with, whoever changed it."""
    watch = _watch.get() or _Watch()
    eye = _Eye(recorder, watch.calls.count)  # type: ignore[arg-type]  # what a recorder returns is not used
    return _Watching(replace(watch, recorders=(*watch.recorders, eye)))


def collect(name: str, into: list[np.ndarray], wanted: bool = True) -> AbstractContextManager[None]:
    """While this lasts, every value whose last name is `name` is put into a list, in order of computation.

        with collect("weights", attentions):
            model(input_ids)

    wanted  whether to collect at all: otherwise the list stays empty and nobody observes
    """

    if not wanted:
        return _NOBODY_WATCHES

    def keep(full_name: str, value: np.ndarray, call: Call) -> None:
        if full_name.rpartition(".")[2] == name:
            into.append(value)

    return record(keep)


def scope(name: str) -> AbstractContextManager[None]:
    """While this lasts, names are put below `name`: scope("layers.0") then probe("mlp") is "layers.0.mlp"."""
    watch = _watch.get()
    if watch is None:
        return _NOBODY_WATCHES
    return _Watching(replace(watch, scope=f"{watch.scope}{name}."))


def model_call(arguments: Any, config: Any) -> None:
    """From here on, values belong to a new call of the model; the logits that a head makes of it afterwards do, too.

    arguments  model.arguments.Call: `new` tokens after `past` cached ones, ids, positions, masks
    config     the model's
    """
    watch = _watch.get()
    if watch is not None:
        calls = watch.calls
        calls.latest = Call(calls.count, arguments.past, arguments.new, arguments, config)
        calls.count += 1


class _Watching:
    """Sets the context variable for the length of a `with` block."""

    def __init__(self, watch: _Watch):
        self._new = watch
        self._token: Token[_Watch | None] | None = None

    def __enter__(self) -> None:
        self._token = _watch.set(self._new)

    def __exit__(self, *exception: object) -> None:
        assert self._token is not None
        _watch.reset(self._token)
