"""A Hugging Face checkpoint folder: config.json, generation_config.json, model.safetensors."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from numpy_llama.errors import LlamaError
from numpy_llama.files import read_json, write_atomically, write_json
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import Tensors, check_shapes
from numpy_llama.precision import DTYPES

# As safetensors spells them.
_STORED_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

LARGE = 100_000_000  # bytes; less is read within a second


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds: config, generation settings, weights in the dtype asked for, and where the weights lay."""

    config: LlamaConfig
    generation_config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    weights_path: Path


def read_folder(folder: Path, dtype: np.dtype) -> Checkpoint:
    """Read a checkpoint folder, weights converted to `dtype`.

    raises  LlamaError naming file and tensor for whatever is missing, damaged or doesn't fit the config
    """
    if not folder.is_dir():
        raise LlamaError("no such checkpoint folder", where=folder)
    config = LlamaConfig.from_pretrained(folder)
    generation_path = folder / "generation_config.json"
    generation_config = read_json(generation_path) if generation_path.exists() else {}
    weights_path = folder / "model.safetensors"
    return Checkpoint(config, generation_config, _read_weights(weights_path, config, dtype), weights_path)


def tensor_table(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every tensor of a safetensors file, from its header alone.

    raises  LlamaError where the file is missing, truncated or no safetensors file
    """
    if not path.is_file():
        raise LlamaError("no such file", where=path)
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            return {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise LlamaError(f"not a readable safetensors file ({error})", where=path) from None


def checked_table(path: Path, config: LlamaConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """tensor_table, held to the config; without what some writers store and no model needs.

    raises  LlamaError as tensor_table does, and for a missing or surplus tensor, a wrong shape or dtype
    """
    table = tensor_table(path)
    if config.tie_word_embeddings:
        table.pop("lm_head.weight", None)  # some writers store the tied head a second time
    table = {name: entry for name, entry in table.items() if not name.endswith("rotary_emb.inv_freq")}  # of old files
    check_shapes({name: shape for name, (shape, _) in table.items()}, config, path)
    for name, (_, stored) in table.items():
        if stored not in _STORED_DTYPES:
            raise LlamaError(
                "wrong dtype",
                where=f"{path}: {name}",
                expected="one of " + ", ".join(_STORED_DTYPES),
                found=stored,
            )
    return table


def _read_weights(path: Path, config: LlamaConfig, dtype: np.dtype) -> dict[str, np.ndarray]:
    table = checked_table(path, config)
    with (
        safe_open(path, framework="np") as file,
        np.errstate(over="ignore"),
    ):  # what overflows is named by check_tensors
        return {name: file.get_tensor(name).astype(dtype, copy=False) for name in _with_progress(table, path)}


def _with_progress(names: Iterable[str], path: Path) -> Iterable[str]:
    """The names, with a bar on stderr where reading takes more than a second and somebody sits at the terminal."""
    if path.stat().st_size < LARGE:
        return names  # tqdm itself takes a while to import
    from tqdm import tqdm

    return tqdm(names, desc=f"loading {path.name}", unit=" tensors", delay=1.0, leave=False, disable=None)


def write_folder(folder: Path, config: LlamaConfig, tensors: Tensors, generation_config: dict[str, Any]) -> None:
    """Write a checkpoint folder that Transformers reads, too. Each file is replaced whole."""
    if folder.exists() and not folder.is_dir():
        raise LlamaError("not a folder", where=folder)
    dtype = next(iter(tensors.values())).dtype
    assert dtype in DTYPES.values()
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(contiguous, path, metadata={"format": "pt"}))
    settings = {"architectures": ["LlamaForCausalLM"], **config.to_dict(), "dtype": dtype.name}
    settings.pop("torch_dtype", None)
    write_json(folder / "config.json", settings)
    if generation_config:
        write_json(folder / "generation_config.json", generation_config)
