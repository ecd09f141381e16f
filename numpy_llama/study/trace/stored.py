"""Arrays as they lie in somebody's file or folder, under the names they have there; read only when asked for.

    x.safetensors                     tensors call.0000/model.norm, or model.norm where there is one call only
    DIR/call.0000/model.norm.npy      the same as a folder of arrays, the simplest there is
    DIR/model.norm.npy

Nothing that lies there is ever run: no pickles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from numpy_llama.checkpoints.safetensors_file import SafetensorsFile
from numpy_llama.errors import LlamaError
from numpy_llama.files import JSON_LIMIT
from numpy_llama.study.trace.about import METADATA, About, read_about
from numpy_llama.study.trace.spool import TRACED_DTYPES

ABOUT = "trace.json"
MAGIC = b"\x93NUMPY"
MOST_FILES = 1_000_000


@dataclass(frozen=True)
class Stored:
    """One array.

    shape  as it is stored
    read   gives it, memory-mapped where that can be
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def stored_in_file(path: Path) -> tuple[dict[str, Stored], About]:
    """The tensors of a safetensors file, by name, and what its metadata says.

    raises  LlamaError where it is missing, damaged, or holds numbers of no known dtype
    """
    file = SafetensorsFile(path)
    stored = {}
    for name, tensor in file.table.items():
        if tensor.dtype not in TRACED_DTYPES:
            expected = "one of " + ", ".join(TRACED_DTYPES)
            raise LlamaError("wrong dtype", where=f"{path}: {name}", expected=expected, found=tensor.dtype)
        stored[name] = Stored(tensor.shape, partial(file.read, name, TRACED_DTYPES))
    return stored, read_about(file.metadata.get(METADATA), f"{path}: {METADATA}")


def stored_in_folder(path: Path) -> tuple[dict[str, Stored], About]:
    """The .npy files of a folder and of the folders call.… in it, by name, and what trace.json says, if there is one.

    Other files are left alone.

    raises  LlamaError where there is no .npy file, or one of them is damaged or holds objects
    """
    files = [*_npy_files(path, "")]
    for folder in sorted(path.glob("call.*")):
        if folder.is_dir():
            files += _npy_files(folder, f"{folder.name}/")
    if not files:
        expected = "NAME.npy, or call.0000/NAME.npy"
        raise LlamaError("no arrays", where=path, expected=expected, found="no such file in the folder")
    if len(files) > MOST_FILES:
        raise LlamaError("too many files", where=path, expected=f"at most {MOST_FILES}", found=len(files))
    about = None
    if (path / ABOUT).is_file():
        if (path / ABOUT).stat().st_size > JSON_LIMIT:
            raise LlamaError("too large", where=path / ABOUT, expected=f"at most {JSON_LIMIT} bytes")
        about = (path / ABOUT).read_bytes().decode("utf-8", "replace")
    return {name: _stored_npy(file) for name, file in files}, read_about(about, path / ABOUT)


def _npy_files(folder: Path, prefix: str) -> list[tuple[str, Path]]:
    return [
        (prefix + file.name.removesuffix(".npy"), file)
        for file in sorted(folder.iterdir())
        if file.name.endswith(".npy") and file.is_file()
    ]


def _stored_npy(path: Path) -> Stored:
    array = read_npy(path)
    return Stored(array.shape, partial(read_npy, path))


def read_npy(path: Path) -> np.ndarray:
    """One .npy file, memory-mapped, whatever its memory order and byte order.

    raises  LlamaError where it is damaged, or holds anything but real numbers and booleans
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise LlamaError(f"can't be read ({error.strerror or error})", where=path) from None
    if start != MAGIC:  # NumPy would take it for a pickle, and say how to open that
        raise LlamaError("not a .npy file", where=path, expected=f"one that begins with {MAGIC!r}", found=repr(start))
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, OverflowError) as error:
        raise LlamaError(f"not a readable .npy file ({' '.join(str(error).split())[:200]})", where=path) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufV" or array.dtype.names is not None:
        found = getattr(array, "dtype", type(array).__name__)
        raise LlamaError("wrong dtype", where=path, expected="real numbers", found=found)
    if array.dtype.kind == "V":
        array = _two_bytes(array, path)
    return array.view(np.ndarray)


def _two_bytes(array: np.ndarray, path: Path) -> np.ndarray:
    """NumPy writes a bfloat16 array as two bytes without a name."""
    if array.dtype.itemsize != 2:
        raise LlamaError("wrong dtype", where=path, expected="real numbers", found=array.dtype)
    return array.view(TRACED_DTYPES["BF16"])
