"""A matrix kept as small integers, with a scale (and a zero) for every few numbers of a row.

A number w of a group is a code of b bits, from 0 to 2ᵇ − 1, and comes back as

    ŵ = (code − 2ᵇ⁻¹) · scale + zero

Products are taken with ŵ: such weights save memory, not operations. Four bits in groups of 128 take
4 + 2 · 32 / 128 = 4.5 bits a weight where scales and zeros are float32. How codes are chosen: quantization.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES

BITS = (4, 8)
GROUP_SIZES = (32, 64, 128)


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A matrix (O, I) as codes.

    codes   (O, ⌈I · bits / 8⌉) uint8: one code a byte, or two, the first of them in the lower four bits
    scales  (O, ⌈I / group_size⌉), one for each group of numbers side by side in a row; the last group may be shorter
    zeros   as scales: what code 2ᵇ⁻¹ stands for; None where that is 0 everywhere (symmetric)
    shape   (O, I)
    raises  LlamaError naming the part that doesn't fit the others, or stands for infinite numbers
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None
    bits: int
    group_size: int
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        check_settings(self.bits, self.group_size)
        rows, columns = self.shape
        _check_part("codes", self.codes, (rows, -(-columns * self.bits // 8)), np.dtype(np.uint8))
        _check_part("scales", self.scales, (rows, -(-columns // self.group_size)), *DTYPES.values())
        if self.zeros is not None:
            _check_part("zeros", self.zeros, self.scales.shape, self.scales.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            furthest = np.abs(self.scales * self.dtype.type(1 << (self.bits - 1)))
            furthest = furthest if self.zeros is None else furthest + np.abs(self.zeros)
        if not np.isfinite(furthest).all():
            raise LlamaError("not finite", where="scales, zeros", expected="what stands for finite weights")

    @property
    def dtype(self) -> np.dtype:
        """That of the numbers it stands for."""
        return self.scales.dtype

    @property
    def size(self) -> int:
        """O · I"""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that codes, scales and zeros take."""
        return sum(part.nbytes for part in (self.codes, self.scales, self.zeros) if part is not None)

    def astype(self, dtype: np.dtype, copy: bool = False) -> "QuantizedWeight":
        """The same codes; scales and zeros in another dtype."""
        zeros = None if self.zeros is None else self.zeros.astype(dtype, copy=copy)
        scales = self.scales.astype(dtype, copy=copy)
        return QuantizedWeight(self.codes, scales, zeros, self.bits, self.group_size, self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return dequantize(self).astype(self.dtype if dtype is None else dtype, copy=False)


def dequantize(weight: QuantizedWeight, out: np.ndarray | None = None) -> np.ndarray:
    """The numbers that the codes stand for, each operation rounded to the weight's dtype.

    out      (O, I) of that dtype, contiguous, to be filled; a new array unless given
    returns  (O, I)
    """
    rows, columns = weight.shape
    per_byte = 8 // weight.bits
    fits = columns % per_byte == 0  # else a row of codes ends within a byte
    values = out if out is not None and fits else np.empty((rows, -(-columns // per_byte) * per_byte), weight.dtype)
    numbers = _numbers_of_bytes(weight.bits, weight.dtype)  # (256,)
    np.take(numbers, weight.codes, out=values.view(numbers.dtype), mode="clip")  # mode "raise" is ten times slower
    values = values[:, :columns]  # (O, I)
    for which, group in groups(values, weight.group_size):  # (O, N, group_size), a view
        group *= weight.scales[:, which, None]
        if weight.zeros is not None:
            group += weight.zeros[:, which, None]
    if out is not None and not fits:
        out[...] = values
    return values


def groups(matrix: np.ndarray, group_size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Which groups of a row, and the view (O, N, numbers in one) of them: the whole ones, then what is left over."""
    rows, columns = matrix.shape
    whole = columns // group_size
    if whole:
        yield slice(0, whole), matrix[:, : whole * group_size].reshape(rows, whole, group_size)
    if columns % group_size:
        yield slice(whole, whole + 1), matrix[:, None, whole * group_size :]


@cache
def _numbers_of_bytes(bits: int, dtype: np.dtype) -> np.ndarray:
    """code − 2ᵇ⁻¹ for the codes in each byte: (256,), an entry as wide as the one number, or the two, that it holds."""
    byte = np.arange(256)[:, None]
    codes = byte if bits == 8 else np.concatenate([byte & 15, byte >> 4], axis=1)  # (256, 8 / bits)
    numbers = np.ascontiguousarray(codes - (1 << (bits - 1)), dtype)
    return numbers.view(f"V{numbers.dtype.itemsize * numbers.shape[1]}")[:, 0]


def check_settings(bits: object, group_size: object) -> None:
    """raises  LlamaError for bits and group sizes that there aren't"""
    for name, given, known in (("bits", bits, BITS), ("group_size", group_size, GROUP_SIZES)):
        if type(given) is not int or given not in known:
            expected = "one of " + ", ".join(map(str, known))
            raise LlamaError("impossible value", where=name, expected=expected, found=repr(given))


def _check_part(name: str, part: np.ndarray, shape: tuple[int, int], *dtypes: np.dtype) -> None:
    if part.shape != shape:
        raise LlamaError("wrong shape", where=name, expected=shape, found=part.shape)
    if part.dtype not in dtypes:
        expected = " or ".join(str(dtype) for dtype in dtypes)
        raise LlamaError("wrong dtype", where=name, expected=expected, found=part.dtype)
