"""Arrays in files, safetensors or .npy, as any program reads and writes them; and what a property drew, as JSON.

in/rms_norm.0003/x.npy  weight.npy  eps.npy          --format npy
in/rms_norm.0003/inputs.safetensors                  --format safetensors
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES
from numpy_llama.study.trace.stored import read_npy, stored_in_file

FORMATS = ("npy", "safetensors")
LARGEST = 256 * 1024**2  # bytes of an answer; the largest that is asked for has some thousand


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray], form: str, file: str) -> list[Path]:
    """Write arrays into a folder: FILE.safetensors, or NAME.npy each. Returns the files.

    A "/" in a name is a folder among .npy files.
    """
    if form == "safetensors":
        path = folder / f"{file}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(save({name: np.array(array, order="C") for name, array in arrays.items()}))
        return [path]
    written = []
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array, allow_pickle=False)
        written.append(path)
    return written


def read_arrays(folder: Path, names: Mapping[str, Any], form: str, file: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that a folder holds, whatever their memory order.

    raises  LlamaError where a file is damaged or unreasonably large
    """
    if form == "safetensors":
        path = folder / f"{file}.safetensors"
        if not path.is_file():
            return {}
        _check_size(path)
        stored, _ = stored_in_file(path)
        return {name: np.array(stored[name].read()) for name in names if name in stored}
    found = {}
    for name in names:
        path = folder / f"{name}.npy"
        if path.is_file():
            _check_size(path)
            found[name] = np.array(read_npy(path), order="C")
    return found


def _check_size(path: Path) -> None:
    if path.stat().st_size > LARGEST:
        raise LlamaError("too large", where=path, expected=f"at most {LARGEST} bytes", found=path.stat().st_size)


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def encoded(value: Any) -> Any:
    """What a property drew, as JSON can hold it: the same bits come back."""
    if isinstance(value, np.ndarray):
        return {"array": value.astype(np.float64 if value.dtype.kind not in "iub" else value.dtype).tolist(),
                "shape": list(value.shape), "dtype": value.dtype.name}  # fmt: skip
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, tuple):
        return {"tuple": [encoded(part) for part in value]}
    if isinstance(value, list):
        return [encoded(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def decoded(value: Any) -> Any:
    """The reverse of encoded; arrays that may not be written to, as when they were drawn."""
    if isinstance(value, list):
        return [decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(decoded(part) for part in value["tuple"])
    dtype = DTYPES[value["dtype"]] if value["dtype"] in DTYPES else np.dtype(value["dtype"])
    if "array" not in value:
        return dtype
    array = np.array(value["array"]).astype(dtype).reshape(value["shape"])
    array.flags.writeable = False
    return array
