"""In which dtype did they compute? A file may say one thing and its numbers another.

Dumps are widened on the way: bfloat16 has no type in NumPy, and printing code asks for floats. But widening adds only
zeros, so numbers that came out of a bfloat16 run are still bfloat16 numbers. The dtype is the narrowest in which most
values are exact; a value rounded in the middle of a wider run is then a difference to be found, not the dtype.
"""

from collections.abc import Iterator

import numpy as np

from numpy_llama.precision import DTYPES
from numpy_llama.study.trace.trace import Trace

NARROW = ("bfloat16", "float16", "float32")
ENOUGH = 8  # numbers, that some must have bits to tell by
FULL_BITS = 2.0**-17  # below it, float16 numbers have fewer bits than bfloat16 ones
SAMPLE = 100_000  # numbers of a value that are looked at
# Weights themselves, or numbers that are exact in every dtype: they say nothing of the computation.
MUTE = ("model.embed_tokens", "model.causal_mask")


def fits_in(value: np.ndarray, dtype: str) -> bool:
    """Whether all finite numbers of an array are exact in a dtype."""
    plain = value[np.isfinite(value)]
    with np.errstate(all="ignore"):
        return bool((plain.astype(DTYPES[dtype]).astype(np.float64) == plain).all())


def computed_in(trace: Trace) -> str | None:
    """The dtype that a trace's numbers were computed in; None where there are too few to tell."""
    votes: dict[str, int] = {}
    for value in _telling(trace):
        dtype = next((dtype for dtype in NARROW if fits_in(value, dtype)), "float64")
        few_bits = np.count_nonzero(np.abs(value) >= FULL_BITS) < ENOUGH
        if dtype == "bfloat16" and few_bits and fits_in(value, "float16"):
            dtype = "float16"  # its smallest numbers have no more bits than bfloat16 has
        votes[dtype] = votes.get(dtype, 0) + 1
    total, so_far = sum(votes.values()), 0
    for dtype in (*NARROW, "float64"):
        so_far += votes.get(dtype, 0)
        if 2 * so_far > total and votes.get(dtype):
            return dtype
    return None


def told_dtype(trace: Trace, given: str | None = None) -> tuple[str, list[str]]:
    """The dtype that a trace is judged in.

    given    what somebody says who knows; it is believed
    returns  the dtype, and a note where the file says another than its numbers do
    """
    if given is not None:
        return given, []
    told = computed_in(trace)
    said = trace.dtype if trace.dtype in DTYPES else None
    if told is None:
        return said or "float32", []
    if said is None or said == told:
        stored = {value.dtype.name for call in trace.calls for value in call.values.values()}
        wider = sorted(name for name in stored & set(DTYPES) if DTYPES[name].itemsize > DTYPES[told].itemsize)
        return told, [f"the numbers are {told} ones, stored as {wider[0]}"] if wider else []
    if DTYPES[said].itemsize < DTYPES[told].itemsize:
        return told, [f"the file says {said}, but its numbers have more bits: judged as {told}"]
    return told, [f"the numbers are {told} ones, stored as {said}"]


def _telling(trace: Trace) -> Iterator[np.ndarray]:
    for call in trace.calls:
        for name, value in call.values.items():
            printed = f"{call.name}/{name}" in getattr(trace, "partial", {})  # decimals say nothing of bits
            if printed or name in MUTE or value.dtype.kind in "biu":
                continue
            sample = np.asarray(value).reshape(-1)[:SAMPLE].astype(np.float64)
            plain = np.unique(sample[np.isfinite(sample) & (sample != 0) & (np.abs(sample) < 1e30)])
            if len(plain) >= ENOUGH:
                yield plain
