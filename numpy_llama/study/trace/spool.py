"""Tensors put down on disk as they come, then written out as one safetensors file.

A trace may be larger than memory, and a safetensors file begins with a table of all that is in it. So the tensors go
into a nameless temporary file beside the target first; at the end comes the table, and after it a copy of them, the
wide numbers before the narrow ones, so that each begins at a multiple of its size. Memory holds one tensor at a time.
Whatever happens before that, even the end of the process, nothing is left behind.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import ml_dtypes
import numpy as np

from numpy_llama.checkpoints.safetensors_file import LENGTH_BYTES, STORED_DTYPES
from numpy_llama.errors import LlamaError
from numpy_llama.files import check_replaceable, write_atomically

# What tensors of a trace may be made of, as safetensors spells it.
TRACED_DTYPES: dict[str, np.dtype] = {
    **STORED_DTYPES,
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(bool),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
_SPELLED = {dtype: name for name, dtype in TRACED_DTYPES.items()}
LARGEST_HEADER = 100_000_000  # bytes: the safetensors library refuses more
PIECE = 1 << 22  # bytes copied at a time


@dataclass(frozen=True)
class _Put:
    """Where a tensor lies in the temporary file, and what it is."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class Spool:
    """The temporary file and its table.

        with Spool(path) as spool:
            spool.put("call.0000/model.norm", array)
            spool.write(metadata)

    path    of the safetensors file to be written
    raises  LlamaError where nothing can be written there
    """

    def __init__(self, path: Path):
        self.path = path
        self._table: dict[str, _Put] = {}
        self._end = 0
        if path.is_dir():
            raise LlamaError("can't be written (a folder)", where=path, expected="the name of a file")
        check_replaceable(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  (closed by __exit__)
        except OSError as error:
            raise LlamaError(f"can't be written ({error.strerror or error})", where=path) from None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._file.close()

    def put(self, name: str, array: np.ndarray) -> None:
        """Put a tensor down; it may be changed afterwards.

        raises  LlamaError where its numbers are of no dtype that is written here, or the disk is full
        """
        dtype = array.dtype.newbyteorder("=")
        if dtype not in _SPELLED:
            raise LlamaError("wrong dtype", where=name, expected="one of " + ", ".join(_SPELLED.values()), found=dtype)
        flat = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8)
        try:
            self._file.seek(self._end)
            self._file.write(flat.data)
        except OSError as error:
            raise LlamaError(f"can't be written ({error.strerror or error})", where=self.path) from None
        self._table[name] = _Put(self._end, dtype, array.shape)
        self._end += flat.nbytes

    def read(self, name: str) -> np.ndarray:
        """A tensor that was put down, read again.

        raises  LlamaError where the temporary file is gone, since nothing came of writing the trace
        """
        if self._file.closed:
            raise LlamaError("was not written", where=f"{self.path}: {name}")
        put = self._table[name]
        self._file.seek(put.start)
        return np.frombuffer(self._file.read(put.nbytes), put.dtype).reshape(put.shape)

    def write(self, metadata: Mapping[str, str]) -> None:
        """Write the safetensors file, whole or not at all.

        raises  LlamaError where it can't be written, or its table is longer than the format allows
        """
        order = sorted(self._table, key=lambda name: -self._table[name].dtype.itemsize)
        header: dict[str, object] = {"__metadata__": dict(metadata)}
        end = 0
        for name in order:
            put = self._table[name]
            offsets = [end, end + put.nbytes]
            header[name] = {"dtype": _SPELLED[put.dtype], "shape": list(put.shape), "data_offsets": offsets}
            end += put.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % LENGTH_BYTES)
        if len(text) > LARGEST_HEADER:
            expected = f"a table of at most {LARGEST_HEADER} bytes: fewer values (only=…) or fewer calls"
            raise LlamaError("too many tensors for one file", where=self.path, expected=expected, found=len(order))

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
                for name in order:
                    self._copy(self._table[name], file)

        write_atomically(self.path, write)

    def _copy(self, put: _Put, file: IO[bytes]) -> None:
        self._file.seek(put.start)
        left = put.nbytes
        while left:
            piece = self._file.read(min(left, PIECE))
            file.write(piece)
            left -= len(piece)
