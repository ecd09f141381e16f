"""A value of theirs in the place of ours, on its way through our model."""

from collections.abc import Mapping

import numpy as np

from numpy_llama.model.values import value_named
from numpy_llama.precision import lowest
from numpy_llama.study.compare.error_bars import HIDDEN, Place, Substitute
from numpy_llama.study.compare.judging import MASK, shown
from numpy_llama.study.compare.layouts import SHOWN, Reading

Given = Mapping[Place, Substitute]


def put_in(reading: Reading, name: str) -> Substitute:
    """A function of our value that returns theirs; ours stays where theirs has no number (positions left out, NaN), and
    hides what theirs had not hidden yet. Padding is theirs, too: whose mask is wrong reads it.
    """
    if name == MASK:
        return lambda ours: np.where(shown(reading.theirs), 0.0, float(lowest(ours.dtype))).astype(ours.dtype)
    value = value_named(name)
    letters = value.shape if value is not None else ()

    def put(ours: np.ndarray) -> np.ndarray:
        theirs, counts = reading.theirs, np.broadcast_to(reading.counts, reading.theirs.shape)
        if SHOWN not in reading.note and not name.endswith(".scores"):
            counts = counts | (np.abs(theirs) < HIDDEN)
        if reading.mask_added:  # whatever theirs has at hidden keys goes on, too
            counts = counts.any(axis=-1, keepdims=True) & ~np.isnan(theirs)
        if theirs.shape == ours.shape:
            return np.where(counts, theirs, ours)
        for axis, letter in enumerate(letters):
            size = ours.shape[axis]
            if theirs.shape[axis] > size:  # key/value heads, each repeated
                every = (slice(None),) * axis + (slice(None, None, theirs.shape[axis] // size),)
                theirs, counts = theirs[every], counts[every]
            elif theirs.shape[axis] < size and letter == "T":  # the last position alone
                new = ours.copy()
                last = (slice(None),) * axis + (slice(-1, None),)
                new[last] = np.where(counts, theirs, ours[last])
                return new
        return np.where(counts, theirs, ours)

    return put
