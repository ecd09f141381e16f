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

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Call:
    """Which call of the model a value belongs to.

    index       0 for the first call inside `observe`, then 1, 2, …
    past        tokens in the cache before the call: 0 in a prefill
    new         tokens that the call adds: 1 in a decode step
    """

    index: int
    past: int
    new: int

    @property
    def kind(self) -> str:
        """ "prefill" (no past), "decode" (one token after a past) or "chunk" (several tokens after a past)."""
        if self.past == 0:
            return "prefill"
        return "decode" if self.new == 1 else "chunk"


NO_CALL = Call(index=-1, past=0, new=0)  # a block used outside a model

Observer = Callable[[str, np.ndarray, Call], np.ndarray | None]


@dataclass(frozen=True)
class _Watch:
    observer: Observer
    scope: str = ""
    call: Call = NO_CALL
    calls_seen: list[int] = field(default_factory=lambda: [0])  # shared by every copy inside one `observe`


_watch: ContextVar[_Watch | None] = ContextVar("numpy_llama_watch", default=None)
_NOBODY_WATCHES: AbstractContextManager[None] = nullcontext()


def probe(name: str, value: np.ndarray) -> np.ndarray:
    """Name a value; return it, or what the observer puts in its place.

    name     last part of the name, below the scopes around: "scores"
    value    the array, any shape and dtype
    returns  value itself with no observer, or where the observer returns None
    """
    watch = _watch.get()
    if watch is None:
        return value
    replacement = watch.observer(watch.scope + name, value, watch.call)
    return value if replacement is None else replacement


def is_observed() -> bool:
    """Whether somebody observes, so that every value must have its name."""
    return _watch.get() is not None


def observe(observer: Observer) -> AbstractContextManager[None]:
    """While this lasts, `observer(name, value, call)` sees every named value, in order of computation.

    What the observer returns (an array, not None) takes the value's place in the forward pass.
    """
    return _Watching(_Watch(observer))


def collect(name: str, wanted: bool = True) -> AbstractContextManager[list[np.ndarray]]:
    """While this lasts, every value whose last name is `name` is put into a list, in order of computation.

        with collect("weights") as attentions:
            model(input_ids)

    An observer around it goes on observing; what it puts in a value's place is what is collected.

    wanted  whether to collect at all: otherwise the list stays empty and nobody observes
    """
    return _collecting(name) if wanted else nullcontext([])


@contextmanager
def _collecting(name: str) -> Iterator[list[np.ndarray]]:
    collected: list[np.ndarray] = []
    around = _watch.get()

    def observer(full_name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        replacement = None if around is None else around.observer(full_name, value, call)
        if full_name.rpartition(".")[2] == name:
            collected.append(value if replacement is None else replacement)
        return replacement

    with _Watching(_Watch(observer) if around is None else replace(around, observer=observer)):
        yield collected


def scope(name: str) -> AbstractContextManager[None]:
    """While this lasts, names are put below `name`: scope("layers.0") then probe("mlp") is "layers.0.mlp"."""
    watch = _watch.get()
    if watch is None:
        return _NOBODY_WATCHES
    return _Watching(replace(watch, scope=f"{watch.scope}{name}."))


def model_call(past: int, new: int) -> AbstractContextManager[None]:
    """While this lasts, values belong to one call of the model, of `new` tokens after `past` cached ones."""
    watch = _watch.get()
    if watch is None:
        return _NOBODY_WATCHES
    call = Call(watch.calls_seen[0], past, new)
    watch.calls_seen[0] += 1
    return _Watching(replace(watch, call=call))


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
