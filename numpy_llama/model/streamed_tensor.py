"""A matrix that stays on disk until it is used, and stands where an array would; see streamed_weights.py."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from numpy_llama.errors import LlamaError

Room = TypeVar("Room")
PIECE = 1 << 17  # numbers checked at a time, few enough to be in the processor's cache still
PAGE = 4096  # bytes that the system reads at least


class Reused(Generic[Room]):
    """Memory that is used again and again: to ask the system for it afresh takes longer than to fill it.

    Two users at once (two threads, or a call of the model inside another's observer) never have the same room.

    make  a new room
    """

    def __init__(self, make: Callable[[], Room]):
        self._make = make
        self._free: list[Room] = []

    @contextmanager
    def room(self) -> Iterator[Room]:
        """A room, with whatever was left in it, for as long as the context lasts."""
        try:
            room = self._free.pop()
        except IndexError:
            room = self._make()
        try:
            yield room
        finally:
            if not self._free:  # one is kept; a second one was for two users at once
                self._free.append(room)


@dataclass
class StoredMatrix:
    """A matrix of a checkpoint, still on disk; or a vector.

    read        gives it, in whatever dtype the file has: a view of mapped memory, best
    shape       (R, C), or (C,)
    where       file and name, for error messages
    is_checked  whether its numbers have been found finite; a loaded model's are checked as it is loaded
    """

    read: Callable[[], np.ndarray]
    shape: tuple[int, ...]
    where: str
    is_checked: bool = False

    def fetch(self) -> np.ndarray:
        """The stored matrix, read from the disk by now: one number of every page is looked at.

        raises  LlamaError where the file doesn't hold what its header says
        """
        stored = self.read()
        if stored.flags.c_contiguous and stored.size:
            stored.reshape(-1).view(np.uint8)[::PAGE].max()
        return stored

    def widen_into(self, out: np.ndarray, fetched: np.ndarray | None = None) -> None:
        """Write it into an array of its shape and of the compute dtype.

        fetched  what `fetch` gave, where that is done already

        raises   LlamaError where the file doesn't hold what its header says, and, the first time, where a number isn't
                 finite
        """
        stored = self.read() if fetched is None else fetched
        with np.errstate(over="ignore"):  # what overflows is named below
            np.copyto(out, stored, casting="unsafe")
        if not self.is_checked:
            rows = max(1, PIECE // out.shape[-1])
            for first in range(0, len(out), rows):
                self.check_finite(out[first : first + rows], first)
            self.is_checked = True

    def check_finite(self, rows: np.ndarray, first: int) -> None:
        """raises  LlamaError where a number of these rows, the matrix's from `first` on, isn't finite"""
        finite = np.isfinite(rows)
        if not finite.all():
            row, *columns = (int(i) for i in np.argwhere(~finite)[0])
            raise LlamaError(
                "weight is not a number" if np.isnan(rows[row, *columns]) else "weight is infinite",
                where=f"{self.where}{[first + row, *columns]}",
                expected="finite weights",
            )


class StreamedTensor(NDArrayOperatorsMixin):
    """A matrix that is read when it is used.

    It stands where an array would, for what a Llama does with a matrix outside its layers: rows are looked up
    (`weight[input_ids]` widens those rows alone), and vectors are multiplied by it (`x @ weight.T` widens it into
    a buffer). Whatever else NumPy does with an array is done with the whole of it, `np.asarray(weight)`.

    stored         the matrix (R, C) on disk
    dtype          that it is widened (or rounded) to
    """

    def __init__(self, stored: StoredMatrix, dtype: np.dtype):
        self.stored, self.dtype = stored, dtype
        self._is_transposed = False
        self._buffer: Reused[np.ndarray] = Reused(lambda: np.empty(stored.shape, dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, C), or (C, R) of a transposed one."""
        return self.stored.shape[::-1] if self._is_transposed else self.stored.shape

    @property
    def ndim(self) -> int:
        """2: vectors aren't streamed."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes when widened."""
        return self.size * self.dtype.itemsize

    @property
    def T(self) -> "StreamedTensor":
        """The transposed matrix, as little read as this one."""
        other = copy.copy(self)
        other._is_transposed = not self._is_transposed
        return other

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StreamedTensor({self.stored.where}, shape {self.shape}, {self.dtype})"

    def __getitem__(self, rows: Any) -> np.ndarray:
        if self._is_transposed:
            return np.asarray(self)[rows]
        with np.errstate(over="ignore"):
            chosen = np.asarray(self.stored.read()[rows]).astype(self.dtype)
        if not np.isfinite(chosen).all():
            raise LlamaError("weight is not a finite number", where=self.stored.where, expected="finite weights")
        return chosen

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self.stored.where} is on disk: there is no array of it without a copy")
        array = self._widened(np.empty(self.stored.shape, self.dtype))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """A product, a sum: computed with the array."""
        with ExitStack() as stack:
            arrays = [
                one._widened(stack.enter_context(one._buffer.room())) if isinstance(one, StreamedTensor) else one
                for one in inputs
            ]
            return getattr(ufunc, method)(*arrays, **options)

    def astype(self, dtype: Any, copy: bool = True) -> np.ndarray:
        """The matrix as an array of a dtype."""
        return np.asarray(self).astype(dtype, copy=False)

    def _widened(self, into: np.ndarray) -> np.ndarray:
        self.stored.widen_into(into)
        return into.T if self._is_transposed else into
