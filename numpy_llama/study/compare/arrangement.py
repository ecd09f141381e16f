"""Ways of differing in which the numbers are right and stand in the wrong places: permuted, moved on, transposed."""

from collections.abc import Iterator, Sequence

import numpy as np

from numpy_llama.study.compare.arithmetic import Named
from numpy_llama.study.compare.places import CHANNEL, WORDS
from numpy_llama.study.compare.suspicion import Suspect

WIDEST = 4096  # places of an axis that are matched with one another
MARKS = 8  # numbers that a slice is known by


def arrangement(suspect: Suspect) -> Iterator[Named]:
    """The kinds of difference that fit, the plainest first."""
    yield from _moved_on(suspect)
    for axis in range(suspect.ours.ndim):
        yield from _permuted(suspect, axis)
    yield from _transposed(suspect)


def _moved_on(suspect: Suspect) -> Iterator[Named]:
    """Theirs at position t is ours at t − 1 or t + 1; the first or last has nothing to be compared with."""
    for axis, letter in enumerate(suspect.axes):
        size = suspect.ours.shape[axis]
        if letter not in ("T", "S", "V", "H", "K") or size < 3:
            continue
        word = WORDS[letter]
        for by in (1, -1):
            a = suspect.at((slice(None),) * axis + (slice(1, None) if by > 0 else slice(None, -1),))
            b = suspect.at((slice(None),) * axis + (slice(None, -1) if by > 0 else slice(1, None),))
            if suspect.agrees(a.theirs, b.ours, b.bar, a.counts & b.counts):
                direction = "later" if by > 0 else "early"
                yield "moved", f"one {word[0]} too {'late' if by > 0 else direction}: theirs at 1 is ours at {1 - by}"
                return


def _permuted(suspect: Suspect, axis: int) -> Iterator[Named]:
    order = _order(suspect, axis)
    if order is None or (order == np.arange(len(order))).all():
        return
    if suspect.if_moved(lambda array: np.take(array, order, axis)):
        letter = suspect.axes[axis]
        words = WORDS.get(letter, CHANNEL)[1]
        permutation = len(set(order.tolist())) == len(order)
        yield "permuted" if permutation else "repeated", f"{words} {_order_in_words(order, letter, suspect.head_dim)}"


def _order(suspect: Suspect, axis: int) -> np.ndarray | None:
    """For each slice of theirs, which slice of ours it is most like."""
    n = suspect.ours.shape[axis]
    if not 1 < n <= WIDEST:
        return None
    counts = np.moveaxis(suspect.counts, axis, 0).reshape(n, -1)
    common = counts.all(axis=0) if counts.all(axis=0).any() else np.ones(counts.shape[1], bool)
    theirs = np.moveaxis(suspect.theirs, axis, 0).reshape(n, -1)[:, common]
    ours = np.moveaxis(suspect.ours, axis, 0).reshape(n, -1)[:, common]
    with np.errstate(all="ignore"):  # hidden scores have squares beyond any number
        scale = np.sqrt(np.mean(ours**2, axis=0)) + 1e-300
    marks = np.random.default_rng(0).standard_normal((theirs.shape[1], MARKS)) / scale[:, None]
    a, b = theirs @ marks, ours @ marks  # (n, MARKS)
    if not np.isfinite(a).all():
        return None
    with np.errstate(all="ignore"):
        distance = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)[None]  # (n, n)
    order: np.ndarray = distance.argmin(axis=1)
    return order


def _order_in_words(order: np.ndarray, letter: str, head_dim: int) -> str:
    n = len(order)
    there = np.arange(n)
    half = n // 2
    if (order == order[0]).all():
        return f"are all number {order[0]}"
    if (order == there[::-1]).all():
        return "in the opposite order"
    if letter == "D" and n == head_dim and n % 2 == 0:
        interleaved = np.arange(n).reshape(2, half).T.reshape(-1)
        if (order == interleaved).all():
            return "of each head interleaved: pair i stands at 2i, 2i + 1 and not at i, i + D/2"
        if (order == np.argsort(interleaved)).all():
            return "of each head cut into halves: number 2i stands at i and 2i + 1 at i + D/2"
    for by in range(1, n):
        if (order == np.roll(there, by)).all():
            return f"moved on by {by}, the last ones to the front"
    moved = np.flatnonzero(order != there)
    if len(moved) == 2 and len(set(order.tolist())) == n:
        return f"{moved[0]} and {moved[1]} exchanged"
    period = len(set(order.tolist()))
    if period < n and (order == there % period).all():
        return f"tiled (0 … {period - 1}, again and again) in place of each repeated"
    return "in another order: " + _list(order)


def _list(order: Sequence[int] | np.ndarray) -> str:
    shown = " ".join(str(int(i)) for i in order[:12])
    return shown + (" …" if len(order) > 12 else "")


def _transposed(suspect: Suspect) -> Iterator[Named]:
    """Two axes exchanged: where they are of one size, or the numbers were read row by row in the wrong shape."""
    shape = suspect.ours.shape
    for first in range(len(shape)):
        for second in range(first + 1, len(shape)):
            if 1 in (shape[first], shape[second]):
                continue
            names = " and ".join(WORDS.get(suspect.axes[i], CHANNEL)[1] for i in (first, second))

            def exchanged(array: np.ndarray, first: int = first, second: int = second) -> np.ndarray:
                return array.swapaxes(first, second).reshape(array.shape)

            if suspect.if_moved(exchanged):
                yield "transposed", f"{names} are exchanged"
                return
