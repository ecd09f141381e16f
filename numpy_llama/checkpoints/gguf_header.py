"""What stands at the front of a GGUF file: metadata, and where each tensor lies.

    "GGUF", version                      4 + 4 bytes; every number is little-endian
    counts of tensors and of metadata    8 + 8
    metadata                             key, type of value, value; one after the other
    tensors                              name, number of dimensions, dimensions, type, offset
    padding, then the numbers            every tensor at its offset from here

A string is its length in 8 bytes and its UTF-8; an array is a type, a count, and its elements. Every length and count
is checked against what is left of the file before anything is read or made room for: a header of a hundred bytes can
claim 2⁶⁰ strings.

source  https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # version 1, of a few weeks in 2023, counted in four bytes
ALIGNMENT = 32  # bytes, where general.alignment doesn't say
MOST_ALIGNMENT = 1 << 20

HEADER_LIMIT = 256 * 1024 * 1024  # bytes; Llama 3's header, with 128,256 tokens and 280,147 merges, has 8 MB
MOST_STRINGS = 4_000_000  # in all arrays together, so that many empty ones can't fill the memory
MOST_TENSORS, MOST_KEYS = 200_000, 100_000  # a model of 10,000 layers has 90,000 tensors
MOST_DIMENSIONS = 4

STRING, ARRAY, BOOL = 8, 9, 7
SCALARS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "u1", 10: "u8", 11: "i8", 12: "f8"}


@dataclass(frozen=True)
class QuantizedType:
    """How numbers are stored: every `block` of them, along a row, in `size` bytes.

    name  as llama.cpp calls it
    """

    name: str
    block: int
    size: int


# The number that stands for each type in a file. F32, F16 and BF16 are blocks of one.
TYPES: Mapping[int, QuantizedType] = {
    0: QuantizedType("F32", 1, 4),
    1: QuantizedType("F16", 1, 2),
    2: QuantizedType("Q4_0", 32, 18),
    3: QuantizedType("Q4_1", 32, 20),
    6: QuantizedType("Q5_0", 32, 22),
    7: QuantizedType("Q5_1", 32, 24),
    8: QuantizedType("Q8_0", 32, 34),
    10: QuantizedType("Q2_K", 256, 84),
    11: QuantizedType("Q3_K", 256, 110),
    12: QuantizedType("Q4_K", 256, 144),
    13: QuantizedType("Q5_K", 256, 176),
    14: QuantizedType("Q6_K", 256, 210),
    16: QuantizedType("IQ2_XXS", 256, 66),
    17: QuantizedType("IQ2_XS", 256, 74),
    18: QuantizedType("IQ3_XXS", 256, 98),
    19: QuantizedType("IQ1_S", 256, 50),
    20: QuantizedType("IQ4_NL", 32, 18),
    21: QuantizedType("IQ3_S", 256, 110),
    22: QuantizedType("IQ2_S", 256, 82),
    23: QuantizedType("IQ4_XS", 256, 136),
    29: QuantizedType("IQ1_M", 256, 56),
    30: QuantizedType("BF16", 1, 2),
}


@dataclass(frozen=True)
class GGUFTensor:
    """Where a tensor lies.

    name   as the file has it: "blk.0.attn_q.weight"
    shape  (out_features, in_features): the file writes it the other way round
    type   how it is stored
    start  of its first byte, from the beginning of the file
    """

    name: str
    shape: tuple[int, ...]
    type: QuantizedType
    start: int

    @property
    def bytes_per_row(self) -> int:
        """Bytes that one row takes; blocks run along a row and end with it."""
        return self.shape[-1] // self.type.block * self.type.size

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in all."""
        return math.prod(self.shape[:-1]) * self.bytes_per_row


@dataclass(frozen=True)
class GGUFHeader:
    """The header of a file, checked.

    metadata  {key: value}: int, float, bool, str, list of str, or an array (N,) of numbers
    tensors   by their names; inside the file, and none over another
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GGUFTensor]

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """The value of a key: of type int, float, bool, str, list (of str) or np.ndarray; the default where there is
        none.

        raises  LlamaError where it is of another kind
        """
        if key not in self.metadata:
            return default
        value = self.metadata[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            expected, found = KINDS.get(kind, kind.__name__), KINDS.get(type(value), type(value).__name__)
            raise LlamaError("wrong kind of value", where=f"{self.path}: {key}", expected=expected, found=found)
        return value

    def require(self, key: str, kind: type) -> Any:
        """The value of a key that must be there.

        raises  LlamaError where it isn't, or is of another kind
        """
        if key not in self.metadata:
            raise LlamaError("missing metadata", where=f"{self.path}: {key}", expected=f"{KINDS.get(kind, kind)}")
        return self.get(key, kind)


KINDS: Mapping[type, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    list: "an array of strings",
    np.ndarray: "an array of numbers",
}


def read_gguf_header(path: Path) -> GGUFHeader:
    """Read and check the header of a GGUF file; no weight is read.

    raises  LlamaError naming file and byte, key or tensor, where the file is cut short or no GGUF, or its header claims
            what can't be; in time and memory bounded by HEADER_LIMIT and MOST_STRINGS
    """
    try:
        size = path.stat().st_size
        if size < len(MAGIC):
            raise LlamaError("not a GGUF file", where=path, expected="a file that begins with GGUF", found=f"{size} B")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Parser(path, data, size).header()
    except OSError as error:
        raise LlamaError(f"can't be read ({error.strerror or error})", where=path) from None


class _Parser:
    """Walks through a header from front to back."""

    def __init__(self, path: Path, data: mmap.mmap, size: int):
        self.path, self.data, self.size = path, data, size
        self.limit = min(size, HEADER_LIMIT)
        self.position = 0
        self.strings = 0

    def header(self) -> GGUFHeader:
        """All of it."""
        if self.take(4) != MAGIC:
            raise self.error("not a GGUF file", expected=repr(MAGIC), found=repr(self.data[:4]), position=0)
        version = self.number("<I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            found = f"{swapped}, big-endian" if swapped in VERSIONS else version
            raise self.error("unknown version", expected="2 or 3, little-endian", found=found, position=4)
        tensor_count, key_count = self.number("<Q"), self.number("<Q")
        self.check_count("tensors", tensor_count, 8 + 4 + 8 + 4 + 8, position=8, most=MOST_TENSORS)
        self.check_count("metadata keys", key_count, 8 + 4 + 1, position=16, most=MOST_KEYS)
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            start = self.position
            key = self.string("a key")
            if key in metadata:
                raise self.error(f"metadata key {key[:80]!r} is there twice", position=start)
            metadata[key] = self.value(self.number("<I"), key)
        listed = [self.tensor() for _ in range(tensor_count)]
        return GGUFHeader(self.path, metadata, self.placed(listed, metadata))

    # -- metadata ------------------------------------------------------------------------------------------------------

    def value(self, kind: int, key: str) -> Any:
        """A metadata value of a type, where the position is."""
        if kind == STRING:
            return self.string(key)
        if kind != ARRAY:
            value = self.numbers(kind, 1, key)[0].item()
            return bool(value) if kind == BOOL else value
        element, count = self.number("<I"), self.number("<Q")
        if element == STRING:
            room = MOST_STRINGS - self.strings
            self.check_count(f"strings in {key[:80]!r}", count, 8, position=self.position - 8, most=room)
            self.strings += count
            return [self.string(key) for _ in range(count)]
        return self.numbers(element, count, key)

    def numbers(self, kind: int, count: int, key: str) -> np.ndarray:
        """An array (count,) of a scalar type; its own memory."""
        if kind not in SCALARS:
            where = self.position - 4
            raise self.error(f"{key[:80]!r} is of a type that isn't read", found=f"type {kind}", position=where)
        dtype = np.dtype(f"<{SCALARS[kind]}")
        self.check_count(f"numbers in {key[:80]!r}", count, dtype.itemsize, position=self.position)
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)

    # -- tensors -------------------------------------------------------------------------------------------------------

    def tensor(self) -> tuple[str, tuple[int, ...], QuantizedType, int]:
        """Name, shape, type and offset of the next tensor."""
        start = self.position
        name = self.string("a tensor's name")
        where = f"tensor {name[:80]!r}"
        count = self.number("<I")
        if not 1 <= count <= MOST_DIMENSIONS:
            expected = f"1 to {MOST_DIMENSIONS}"
            raise self.error(
                f"{where}: impossible number of dimensions", expected=expected, found=count, position=start
            )
        shape = tuple(reversed([self.number("<Q") for _ in range(count)]))
        number, offset = self.number("<I"), self.number("<Q")
        if number not in TYPES:
            expected = ", ".join(known.name for known in TYPES.values())
            found = f"type number {number}"
            raise self.error(f"{where}: a quantization type that isn't read", expected=expected, found=found)
        stored = TYPES[number]
        if 0 in shape or math.prod(shape) > 1 << 62:
            raise self.error(f"{where}: impossible shape", found=shape, position=start)
        if shape[-1] % stored.block:
            expected = f"rows of a multiple of {stored.block} numbers, as {stored.name} stores them"
            raise self.error(f"{where}: impossible shape", expected=expected, found=shape, position=start)
        return name, shape, stored, offset

    def placed(self, listed: list[Any], metadata: Mapping[str, Any]) -> dict[str, GGUFTensor]:
        """The tensors by name, each held to the file's size and to its neighbours."""
        alignment = metadata.get("general.alignment", ALIGNMENT)
        fits = type(alignment) is int and 0 < alignment <= MOST_ALIGNMENT and alignment & (alignment - 1) == 0
        if not fits:
            where = f"{self.path}: general.alignment"
            raise LlamaError("impossible value", where=where, expected="a power of two", found=str(alignment)[:80])
        begin = -(-self.position // alignment) * alignment
        tensors: dict[str, GGUFTensor] = {}
        for name, shape, stored, offset in listed:
            tensor = GGUFTensor(name, shape, stored, begin + offset)
            where = f"{self.path}: tensor {name[:80]!r}"
            if name in tensors:
                raise LlamaError("is there twice", where=where)
            if offset % alignment:
                expected = f"a multiple of {alignment}"
                raise LlamaError("impossible offset", where=where, expected=expected, found=offset)
            if tensor.start + tensor.nbytes > self.size:
                expected = f"its {tensor.nbytes} bytes within the file's {self.size} (is the file cut short?)"
                found = f"bytes {tensor.start} to {tensor.start + tensor.nbytes}"
                raise LlamaError("lies outside the file", where=where, expected=expected, found=found)
            tensors[name] = tensor
        before: GGUFTensor | None = None
        for tensor in sorted(tensors.values(), key=lambda tensor: tensor.start):
            if before is not None and before.start + before.nbytes > tensor.start:
                where = f"{self.path}: tensors {before.name[:80]!r}, {tensor.name[:80]!r}"
                raise LlamaError("lie over each other", where=where, expected="each in its own bytes")
            before = tensor
        return tensors

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.position + count
        if end > self.limit:
            if end <= self.size:
                raise self.error("the header is too large", expected=f"at most {HEADER_LIMIT} bytes")
            raise self.error("cut short", expected=f"{count} more bytes", found=self.size - self.position)
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, form: str) -> int:
        """The next number, in struct's notation."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self, what: str) -> str:
        """The next string; what it is, for error messages."""
        start = self.position
        try:
            return self.take(self.number("<Q")).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"{what[:80]!r} isn't valid UTF-8 ({error.reason})", position=start) from None

    def check_count(self, what: str, count: int, least: int, position: int, most: int = HEADER_LIMIT) -> None:
        """Hold a count to the bytes that are left, of which each thing counted takes `least` or more."""
        room = min((self.limit - self.position) // least, most)
        if count > room:
            raise self.error(f"claims {count} {what}", expected=f"at most {room}", position=position)

    def error(
        self, what: str, *, expected: object = None, found: object = None, position: int | None = None
    ) -> LlamaError:
        """An error that names the file and a byte: this one, unless another is given."""
        where = f"{self.path}, byte {self.position if position is None else position}"
        return LlamaError(what, where=where, expected=expected, found=found)
