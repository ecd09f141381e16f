"""What a value is computed from, and what is computed from it, where only some of them are there to be looked at."""

from collections.abc import Callable, Iterable
from functools import cache

from numpy_llama.model.values import values_read


def reads(name: str, layers: int) -> tuple[str, ...]:
    """The values that one is computed from; the residual stream that the final norm reads is that of the last layer."""
    last = f"model.layers.{layers - 1}" if layers else "model.embed_tokens"
    return tuple(last if read == "{residual}" else read for read in values_read(name))


def sources(name: str, there: Callable[[str], bool], layers: int) -> tuple[list[str], list[str]]:
    """Back from a value to the nearest ones that are there.

    returns  those, and the values in between that aren't there; nearest first
    """
    found: list[str] = []
    between: list[str] = []
    queue, met = list(reads(name, layers)), set()
    while queue:
        one = queue.pop(0)
        if one in met:
            continue
        met.add(one)
        if there(one):
            found.append(one)
        else:
            between.append(one)
            queue += reads(one, layers)
    return found, between


def without_effect(
    names: Iterable[str],
    differs: set[str],
    there: set[str],
    layers: int,
    cached: set[str],
    rearranged: Callable[[str], bool],
) -> set[str]:
    """Values that hold ours in another order or another unit, while all that is computed from them agrees.

    Then the numbers were taken down at another place, or are kept in another order, and it is no mistake: rows of
    q_proj in Meta's order, undone by Meta's rotation, give the same scores.

    What differs because something before it does, and fades on its way, is another matter: that something is the
    mistake.

    names       every value of the call, in order of computation
    differs     those that disagree
    there       those that were compared
    cached      those whose cached part differed in a call before
    rearranged  whether a value that disagrees holds the numbers of ours
    """
    readers: dict[str, list[str]] = {}
    for name in names:
        for read in reads(name, layers):
            readers.setdefault(read, []).append(name)

    @cache
    def harmless(name: str) -> bool:
        """Whether on every way on from here, what is there first agrees."""
        if name in differs and not rearranged(name):
            return False
        after = readers.get(name, [])
        return bool(after) and all((one in there and one not in differs) or harmless(one) for one in after)

    found: set[str] = set()
    for name in names:
        if name in differs and name not in cached and harmless(name):
            near, _ = sources(name, there.__contains__, layers)
            if all(one not in differs or one in found for one in near):
                found.add(name)
    return found
