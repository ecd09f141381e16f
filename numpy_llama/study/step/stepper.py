"""Walk through a trace, forward and back: where one stands, and how one moves. Nothing is printed here.

    stepper = Stepper(trace)
    stepper.next()              # over a whole module
    stepper.into()              # to the first value inside it
    stepper.jump("*.scores")
    stepper.value               # the array

`next` then `back` is where one was, and so is `into` then `out`. Each move says whether it moved.
"""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.study.step.places import CallTree, Place
from numpy_llama.study.trace.patterns import nearest
from numpy_llama.study.trace.trace import Trace, TracedCall


class Stepper:
    """A place in a trace.

    trace  may be put in the place of another with the same names: one stays where one is
    place  where one stands

    raises  LlamaError where the trace holds no value
    """

    def __init__(self, trace: Trace):
        self.trace = trace
        self.trees = [CallTree(call.values) for call in trace.calls]
        begin = next((index for index, tree in enumerate(self.trees) if len(tree)), None)
        if begin is None:
            raise LlamaError("no values to step through", where=trace.source)
        self.place = self._at(begin, self.trees[begin].inside(None)[0])

    @property
    def call(self) -> TracedCall:
        """The call that one stands in."""
        return self.trace.calls[self.place.call]

    @property
    def tree(self) -> CallTree:
        """Its values."""
        return self.trees[self.place.call]

    @property
    def name(self) -> str:
        """Of the value that one stands at: "model.layers.0.mlp"."""
        return self.place.name

    @property
    def full_name(self) -> str:
        """With its call: "call.0000/model.layers.0.mlp"."""
        return f"{self.call.name}/{self.name}"

    @property
    def value(self) -> np.ndarray:
        """The array that one stands at."""
        return self.call.values[self.name]

    def next(self) -> bool:
        """To the next value of the level; after the last, to what the level makes up, and on from there."""
        call, level = self.place.call, self.place.level
        name: str = self.place.name
        while True:
            along = self.trees[call].along(level)
            index = along.index(name) + 1
            if index < len(along):
                return self._move(Place(call, level, along[index]))
            if level is None:
                return self._to_call(range(call + 1, len(self.trees)), first=True)
            name, level = level, self.trees[call].parent(level)

    def back(self) -> bool:
        """To the value before, of the level; before the first, to what was computed before the level began."""
        call, level = self.place.call, self.place.level
        name: str = self.place.name
        while True:
            along = self.trees[call].along(level)
            index = along.index(name) - 1
            if index >= 0:
                return self._move(Place(call, level, along[index]))
            if level is None:
                return self._to_call(range(call - 1, -1, -1), first=False)
            name, level = level, self.trees[call].parent(level)

    def into(self) -> bool:
        """To the first value inside this one."""
        inside = self.tree.inside(self.name)
        return bool(inside) and self._move(Place(self.place.call, self.name, inside[0]))

    def out(self) -> bool:
        """To the value that one has gone into."""
        level = self.place.level
        return level is not None and self._move(self._at(self.place.call, level))

    def go(self, call: int, name: str) -> bool:
        """To a value by its call and name.

        raises  LlamaError where there is none
        """
        if not 0 <= call < len(self.trees):
            raise LlamaError("no such call", expected=f"0 to {len(self.trees) - 1}", found=call)
        if name not in self.trees[call]:
            raise LlamaError("no such value", where=f"call {call}", found=name)
        return self._move(self._at(call, name))

    def jump(self, pattern: str) -> tuple[int, int]:
        """To the next value, from here on and round again, that a name or a glob fits.

        pattern  a whole name, its end ("scores", "layers.1.mlp"), or with * and ?; "call.0001/…" for one call. Without,
                 a value of this call goes before one of another
        returns  which it is among those that fit, from 1, and how many do
        raises   LlamaError where none fits
        """
        fitting = [(call, name) for call, name in self._everything() if _fits(pattern, call, name)]
        here = [place for place in fitting if place[0] == self.place.call]
        fitting = here or fitting
        if not fitting:
            names = [f"{call.name}/{name}" for call, tree in zip(self.trace.calls, self.trees, strict=True)
                     for name in tree.names]  # fmt: skip
            like = nearest(pattern, names)
            expected = f"a name of `tree`, or the end of one, as {like}" if like else "a name of `tree`"
            raise LlamaError("no value fits", where=f"jump {pattern}", expected=expected)
        now = (self.place.call, self.tree.number(self.name))
        ahead = [place for place in fitting if (place[0], self.trees[place[0]].number(place[1])) > now]
        found = (ahead or fitting)[0]
        self.go(*found)
        return fitting.index(found) + 1, len(fitting)

    def run_to(self, holds: Callable[[int, str], bool]) -> bool:
        """To the first value of all, in order of computation, for which `holds(call, name)`; from one, to the next.

        returns  False where there is none, or none after the one that one stands at
        """
        stands_at_one = holds(self.place.call, self.name)
        now = (self.place.call, self.tree.number(self.name))
        for call, name in self._everything():
            ahead = (call, self.trees[call].number(name)) > now
            if (ahead or not stands_at_one) and holds(call, name):
                return self.go(call, name)
        return False

    def _everything(self) -> Iterator[tuple[int, str]]:
        for call, tree in enumerate(self.trees):
            for name in tree.names:
                yield call, name

    def _to_call(self, calls: range, first: bool) -> bool:
        for call in calls:
            top = self.trees[call].inside(None)
            if top:
                return self._move(Place(call, None, top[0 if first else -1]))
        return False

    def _at(self, call: int, name: str) -> Place:
        return Place(call, self.trees[call].parent(name), name)

    def _move(self, place: Place) -> bool:
        self.place = place
        return True


def _fits(pattern: str, call: int, name: str) -> bool:
    before, slash, rest = pattern.rpartition("/")
    if slash and not fnmatchcase(f"call.{call:04d}", before):
        return False
    return name == rest or name.endswith(f".{rest}") or fnmatchcase(name, rest)
