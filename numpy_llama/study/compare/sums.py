"""What float32 loses in its sums.

A two-byte dtype is added up in a wider one and rounded once. Float32 has no wider one to go to: a plain loop over n
products rounds n sums on its way. Where products have random signs, the sums grow up to the size √(Σ (x w)²), and in
the mean of squares each is half of that: together they err like n / 2 roundings of a number of that size. Its size is
not that of the result: one large activation, as every trained Llama has in a few channels, makes large products that
cancel, and leaves its rounding behind.

Processors add up in blocks and err less than a plain loop; a port in C may well have one.
"""

from collections.abc import Callable

import numpy as np

from numpy_llama.probe import Call

SUMS = ("_proj", "lm_head")  # endings of the values that a linear layer gives


class SumErrors:
    """How far each number that is a sum may be off by its additions: filled while the undisturbed run goes on.

    last_bit  of the dtype, relative; 0 where sums lose nothing
    errors    (index of the call, name) → (…) of the value's shape, or one that broadcasts to it
    """

    def __init__(self, last_bit: float):
        self.last_bit = last_bit
        self.errors: dict[tuple[int, str], np.ndarray] = {}
        self._of_linear: np.ndarray | None = None
        self._parts: dict[str, np.ndarray] = {}

    def listening(self, linear: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        """The linear layer, and the size of its products noted."""

        def listened(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
            self._of_linear = self._error(np.square(x) @ np.square(weight).T, x.shape[-1])
            return linear(x, weight, bias)

        return listened

    def see(self, name: str, value: np.ndarray, call: Call) -> None:
        """A value of the undisturbed run."""
        if not self.last_bit:
            return
        leaf = name.rpartition(".")[2]
        place = (call.index, name)
        if name.endswith(SUMS) and self._of_linear is not None and self._of_linear.shape == value.shape:
            self.errors[place], self._of_linear = self._of_linear, None
        elif leaf in ("query_rotated", "keys", "values", "weights"):
            self._parts[leaf] = value
        if leaf == "scores" and {"query_rotated", "keys"} <= set(self._parts):
            query = self._parts["query_rotated"]
            D = query.shape[-1]
            keys = self._for_every_head(self._parts["keys"], query.shape[1])
            self.errors[place] = self._error(np.square(query) @ np.square(keys).swapaxes(-1, -2) / D, D)
        elif leaf == "context" and {"weights", "values"} <= set(self._parts):
            weights = self._parts["weights"]
            values = self._for_every_head(self._parts["values"], weights.shape[1])
            self.errors[place] = self._error(np.square(weights) @ np.square(values), weights.shape[-1])

    def _error(self, squares: np.ndarray, n: int) -> np.ndarray:
        """squares  Σ (x w)² of each number; n products each"""
        return np.sqrt(squares * (n / 2)) * self.last_bit

    @staticmethod
    def _for_every_head(x: np.ndarray, heads: int) -> np.ndarray:
        """(B, K, S, D) → (B, H, S, D)"""
        return np.repeat(x, heads // x.shape[1], axis=1)
