"""Error bars: how far from the float64 truth an honest run may be, at each value.

Nobody computes a Llama exactly. A float32 run rounds every number to 24 bits, a bfloat16 run to 8, and the errors grow
and shrink on their way through the layers: a tenth of a unit may be nothing in one place and a bug in another. So the
bar isn't guessed, it is measured. The model runs once in float64, and that is the truth. Then it runs eight times more,
still in float64, and every named value is moved by a random part of its last bit in the dtype in question, as rounding
would move it. How far those eight runs are from the truth is how far an honest run may be.

    bars = error_bars(subject.in_dtype("float64"), "bfloat16")
    bars[0]["lm_head"].truth, bars[0]["lm_head"].bar         # of the first call, (B, T, V) both
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from numpy_llama.blocks.rope import rope_tables
from numpy_llama.errors import LlamaWarning
from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call
from numpy_llama.study.compare.sums import SumErrors
from numpy_llama.study.subject import Subject

RUNS = 8
SEED = 20240229
HIDDEN = 1e30  # what is added to a score to hide it is larger than this, and no rounding moves it
# Two names of one array, or several arrays put together: nothing is rounded there.
COPIES = (".self_attn", ".mlp", ".keys", ".values")
FREQUENCY_ERROR = 4.0  # last bits of float32 by which a RoPE frequency may be off: it is a power and a division

Place = tuple[int, str]  # index of the call, name of the value (as in sums.py)
Substitute = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ErrorBar:
    """One value of one call.

    truth  what float64 gives, (…) float64
    bar    how far from it an honest run is, root mean square over the runs; same shape, nowhere 0
    """

    truth: np.ndarray
    bar: np.ndarray


def error_bars(
    subject: Subject,
    dtype: str,
    wanted: Callable[[int, str], bool] = lambda call, name: True,
    given: Mapping[Place, Substitute] | None = None,
    runs: int = RUNS,
) -> list[dict[str, ErrorBar]]:
    """The truth and its error bar, at each value of each call.

    subject  in float64; its weights as the dtype holds them
    dtype    that the honest run would compute in. float64 is taken for float32: Transformers itself computes norms,
             softmax and RoPE in float32 whatever the dtype
    wanted   which values to keep: (index of call, name)
    given    what to put in the place of a value before the run goes on, as a function of ours: with a stranger's values
             there, every value is what *his* values before it should have led to
    runs     how many are disturbed: fewer will do where only the mean of many bars is wanted
    returns  for each call, name → ErrorBar, in order of computation
    raises   LlamaError where the calls can't be made
    """
    dtype = "float32" if dtype == "float64" else dtype
    given = given or {}
    sums = SumErrors(last_bit(dtype) if dtype == "float32" else 0.0)
    with warnings.catch_warnings():
        if given:  # the calls have been made before, and warned of
            warnings.simplefilter("ignore", LlamaWarning)
        truth = _run(subject, dtype, None, wanted, given, sums)
        warnings.simplefilter("ignore", LlamaWarning)
        return _with_bars(subject, dtype, truth, wanted, given, sums, runs)


def _with_bars(
    subject: Subject,
    dtype: str,
    truth: list[dict[str, np.ndarray]],
    wanted: Callable[[int, str], bool],
    given: Mapping[Place, Substitute],
    sums: SumErrors,
    runs: int,
) -> list[dict[str, ErrorBar]]:
    """The truth and how far disturbed runs are from it."""
    squares = [{name: np.zeros(value.shape) for name, value in call.items()} for call in truth]
    for seed in range(runs):
        disturbed = _run(subject, dtype, np.random.default_rng((SEED, seed)), wanted, given, sums)
        with np.errstate(all="ignore"):
            for square, exact, call in zip(squares, truth, disturbed, strict=True):
                for name, value in call.items():
                    difference = value - exact[name]
                    square[name] += np.where(np.isfinite(difference), difference, 0.0) ** 2
    return [
        {name: ErrorBar(exact[name], _bar(exact[name], square.pop(name) / runs, dtype)) for name in exact}
        for exact, square in zip(truth, squares, strict=True)
    ]


def _bar(truth: np.ndarray, bar: np.ndarray, dtype: str) -> np.ndarray:
    """Eight numbers are few to tell a spread from: where they happen to lie close together, a bar of theirs alone would
    be much too short. So the middle one of the row's bars joins them with half their say (not the mean, which one
    outlying channel would carry away), and none is shorter than half a last bit, or a thousandth of the row's.
    """
    if truth.ndim:
        bar = (2 * bar + np.median(bar, axis=-1, keepdims=True)) / 3
    return np.maximum(np.sqrt(bar), np.maximum(half_last_bit(truth, dtype), row_size(truth) * last_bit(dtype) / 1024))


def last_bit(dtype: str) -> float:
    """How far a number just below 1 and its neighbour are apart, relative to it: 2^−24 in float32, 2^−8 in bfloat16."""
    return float(ml_dtypes.finfo(DTYPES[dtype]).eps) / 2


def half_last_bit(value: np.ndarray, dtype: str) -> np.ndarray:
    """What rounding to a dtype changes at most; below its smallest normal number all numbers are equally far apart.

    value    (…) float64
    returns  (…) float64
    """
    info = ml_dtypes.finfo(DTYPES[dtype])
    _, exponent = np.frexp(value)  # |value| lies in [2^(e−1), 2^e), where numbers are 2^(e−1) · eps apart
    return np.maximum(np.ldexp(float(info.eps) / 4, exponent), float(info.smallest_subnormal) / 2)


def row_size(value: np.ndarray) -> np.ndarray:
    """Root mean square over the last axis, of what isn't hidden: (…, 1)."""
    plain = np.where(np.abs(value) < HIDDEN, value, 0.0)
    return np.sqrt(np.mean(plain**2, axis=-1, keepdims=True)) if value.ndim else np.abs(plain)


def _run(
    subject: Subject,
    dtype: str,
    generator: np.random.Generator | None,
    wanted: Callable[[int, str], bool],
    given: Mapping[Place, Substitute],
    sums: SumErrors,
) -> list[dict[str, np.ndarray]]:
    """One float64 run, disturbed where there is a generator; what it had at each wanted value, before `given`.

    sums  fills in the run that isn't disturbed
    """
    found: list[dict[str, np.ndarray]] = [{} for _ in subject.calls]

    def disturb(name: str, value: np.ndarray, call: int) -> np.ndarray:
        if generator is None or name.endswith((*COPIES, "causal_mask")):
            return value
        moved = value + half_last_bit(value, dtype) * generator.uniform(-1.0, 1.0, value.shape)
        if name.endswith(".normed") and dtype == "float32":  # the mean of squares is a sum, too: one error a row
            error = (value.shape[-1] / 12) ** 0.5 * last_bit(dtype)
            moved = moved * (1 + error * generator.uniform(-1.0, 1.0, (*value.shape[:-1], 1)))
        error_of_sum = sums.errors.get((call, name))
        if error_of_sum is not None:
            moved = moved + error_of_sum * generator.uniform(-1.0, 1.0, value.shape)
        plain = np.abs(value) < HIDDEN
        return moved if plain.all() else np.where(plain, moved, value)

    def see(name: str, value: np.ndarray, call: Call) -> np.ndarray | None:
        if generator is None:
            sums.see(name, value, call)
        new = disturb(name, value, call.index)
        if wanted(call.index, name):
            found[call.index][name] = np.array(new, np.float64)
        put = given.get((call.index, name))
        if put is not None:
            new = disturb(name, put(new), call.index)
        return None if new is value else new

    blocks = subject.blocks
    if generator is None:
        blocks = blocks.swap(linear=sums.listening(blocks.linear)) if dtype == "float32" else blocks
    elif blocks.rope_tables is rope_tables:
        blocks = blocks.swap(rope_tables=_with_inexact_frequencies(generator))
    replace(subject, blocks=blocks, observers=(*subject.observers, lambda: see)).run()
    return found


def _with_inexact_frequencies(generator: np.random.Generator) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """RoPE's tables of frequencies that are off by a few last bits of float32, in which every dtype has its angles."""

    def tables(
        position_ids: np.ndarray, frequencies: np.ndarray, dtype: np.dtype, attention_scaling: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        error = FREQUENCY_ERROR * last_bit("float32") * generator.uniform(-1.0, 1.0, frequencies.shape)
        return rope_tables(position_ids, frequencies * (1 + error), dtype, attention_scaling)

    return tables
