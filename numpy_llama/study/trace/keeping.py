"""Where recorded values go: memory, or disk.

Every value is copied, since the model may go on working in the same array. One kind would cost too much: `keys` and
`values` are views of the KV cache, of the whole text so far, in each call; copied each time, a text of N tokens takes
N² / 2 of them. So in memory, where a call's keys begin with those of the call before, both are views of one array that
grows, as the cache itself does. Whether they do is looked at, not believed: a mistake in a cache is to be seen. A file
has no such sharing: there `only` leaves them out where they are too much.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from numpy_llama.study.trace.lazy_values import LazyValues
from numpy_llama.study.trace.spool import Spool
from numpy_llama.study.trace.trace import TracedCall

OF_THE_CACHE = ("self_attn.keys", "self_attn.values")


class KeptInMemory:
    """Copies in memory."""

    def __init__(self) -> None:
        self._texts: dict[str, _Growing] = {}

    def put(
        self, values: Mapping[str, np.ndarray], call: TracedCall, name: str, value: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Keep a value of a call; returns the values of the call with it."""
        assert isinstance(values, dict)
        values[name] = self._grown(name, value) if name.endswith(OF_THE_CACHE) and value.ndim == 4 else value.copy()
        values[name].flags.writeable = False
        return values

    def _grown(self, name: str, value: np.ndarray) -> np.ndarray:
        text = self._texts.get(name)
        if text is None or not text.goes_on_as(value):
            text = self._texts[name] = _Growing()
        return text.append(value)


class _Growing:
    """The keys (or values) of one layer and one text, in an array that doubles when it is full: (B, K, S, D)."""

    def __init__(self) -> None:
        self._buffer = np.empty((0, 0, 0, 0))
        self._length = 0

    def goes_on_as(self, value: np.ndarray) -> bool:
        """Whether what is held is the beginning of a value, to the last bit."""
        held = self._buffer[:, :, : self._length]
        begins = value[:, :, : self._length]
        same_kind = held.dtype == value.dtype and held.shape == begins.shape and value.shape[2] > self._length
        return same_kind and held.tobytes() == begins.tobytes()

    def append(self, value: np.ndarray) -> np.ndarray:
        B, K, S, D = value.shape
        if self._buffer.shape[2] < S:
            grown = np.empty((B, K, 2 * S if self._length else S, D), value.dtype)
            grown[:, :, : self._length] = self._buffer[:, :, : self._length] if self._length else 0
            self._buffer = grown
        self._buffer[:, :, self._length : S] = value[:, :, self._length :]
        self._length = S
        return self._buffer[:, :, :S]


class KeptOnDisk:
    """In a temporary file, from which they can be read at once."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def put(
        self, values: Mapping[str, np.ndarray], call: TracedCall, name: str, value: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Keep a value of a call; returns the values of the call with it."""
        full = f"{call.name}/{name}"
        self._spool.put(full, value)
        if not isinstance(values, LazyValues):
            values = LazyValues({})
        values.add(name, partial(self._spool.read, full))
        return values
