"""One safetensors file: a header that says where each tensor lies, then the numbers, which are mapped and not copied.

    8 bytes          length of the header, little-endian
    header           JSON: {"model.norm.weight": {"dtype": "BF16", "shape": [576], "data_offsets": [0, 1152]}, …}
    rest             the tensors, one after the other

The safetensors library checks the header: no tensor leaves the file, overlaps another or is longer than it may be.

source  the description of the format in the safetensors repository
"""

import json
import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from numpy_llama.checkpoints.reader import StoredTensor
from numpy_llama.errors import LlamaError
from numpy_llama.files import unique_pairs
from numpy_llama.precision import DTYPES

# As safetensors spells them.
STORED_DTYPES = {
    "F64": DTYPES["float64"],
    "F32": DTYPES["float32"],
    "F16": DTYPES["float16"],
    "BF16": DTYPES["bfloat16"],
}
LENGTH_BYTES = 8


class SafetensorsFile:
    """An opened file.

    table     every tensor in it by name
    metadata  what else its header says, texts by name
    raises    LlamaError where the file is missing, truncated or no safetensors file
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise LlamaError("no such file", where=path)
        try:
            with safe_open(path, framework="np") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
                shapes = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            end_of_header = LENGTH_BYTES + int.from_bytes(self._bytes[:LENGTH_BYTES], "little")
            header = json.loads(self._bytes[LENGTH_BYTES:end_of_header], object_pairs_hook=unique_pairs)
            self._starts = {name: end_of_header + header[name]["data_offsets"][0] for name in shapes}
            self.metadata: dict[str, str] = header.get("__metadata__") or {}
        except (SafetensorError, OSError, ValueError) as error:
            raise LlamaError(f"not a readable safetensors file ({error})", where=path) from None
        self.table = {name: StoredTensor(name, shape, dtype) for name, (shape, dtype) in shapes.items()}

    def read(self, name: str, dtypes: Mapping[str, np.dtype] = STORED_DTYPES) -> np.ndarray:
        """One tensor, as a view of the mapped file that can't be written to.

        dtypes  that are read, by safetensors' names for them
        raises  LlamaError where it isn't of one of them; unless given, of the four floating-point dtypes
        """
        stored = self.table[name]
        check_dtype(stored, self.path, dtypes)
        count = int(np.prod(stored.shape, dtype=np.int64))
        flat = np.frombuffer(self._bytes, dtypes[stored.dtype], count, self._starts[name])
        return flat.reshape(stored.shape)


def check_dtype(stored: StoredTensor, path: Path, dtypes: Mapping[str, np.dtype] = STORED_DTYPES) -> None:
    """raises  LlamaError where a tensor's numbers are of a type that isn't read here"""
    if stored.dtype not in dtypes:
        expected = "one of " + ", ".join(dtypes)
        raise LlamaError("wrong dtype", where=f"{path}: {stored.name}", expected=expected, found=stored.dtype)
