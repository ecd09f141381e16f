"""A Hugging Face checkpoint folder: config.json, generation_config.json, model.safetensors."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import json_text, read_json, write_atomically, write_json
from numpy_llama.generation.settings import ignored_settings
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import Tensors, check_shapes
from numpy_llama.precision import DTYPES

# As safetensors spells them.
_STORED_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

HEAD = "lm_head.weight"
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
    ignored = ignored_settings(generation_config)
    if ignored:
        message = f"{generation_path}: settings that aren't implemented are ignored: {', '.join(ignored)}"
        warnings.warn(message, LlamaWarning, stacklevel=3)
    weights_path = folder / "model.safetensors"
    return Checkpoint(config, generation_config, _read_weights(weights_path, config, dtype), weights_path)


def tensor_table(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every tensor of a safetensors file, from its header alone.

    raises  LlamaError where the file is missing, truncated or no safetensors file
    """
    if not path.is_file():
        expected = "all weights in this one file (shards and other formats aren't read yet)"
        raise LlamaError("no such file", where=path, expected=expected, found=_other_weights(path.parent))
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
        table.pop(HEAD, None)  # some writers store the tied head a second time
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
        tensors = {name: file.get_tensor(name).astype(dtype, copy=False) for name in _with_progress(table, path)}
        if config.tie_word_embeddings and HEAD in file.keys():  # noqa: SIM118  (not a dict)
            _check_tied_head(file.get_tensor(HEAD), file.get_tensor("model.embed_tokens.weight"), path)
    return tensors


def _check_tied_head(head: np.ndarray, embedding: np.ndarray, path: Path) -> None:
    """A head that is stored beside the embedding it is tied to must be the embedding."""
    if head.shape != embedding.shape or not np.array_equal(head, embedding):
        raise LlamaError(
            "differs from model.embed_tokens.weight",
            where=f"{path}: {HEAD}",
            expected="the same numbers, or tie_word_embeddings false in the config",
        )


def _other_weights(folder: Path) -> str | None:
    """Weights in formats that we don't read, if a folder holds any."""
    suffixes = (".safetensors", ".bin", ".pth", ".gguf", ".index.json")
    names = sorted(path.name for path in folder.glob("*") if path.name.endswith(suffixes))
    return ", ".join(names[:4]) or None


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
    settings = {"architectures": ["LlamaForCausalLM"], **config.to_dict(), "dtype": dtype.name}
    settings.pop("torch_dtype", None)
    for content, name in ((settings, "config.json"), (generation_config, "generation_config.json")):
        json_text(content, folder / name)  # what JSON can't hold must show before a file is replaced
    path = folder / "model.safetensors"
    try:
        write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata={"format": "pt"}))
    except SafetensorError as error:
        raise LlamaError(f"can't be written ({error})", where=path) from None
    write_json(folder / "config.json", settings)
    if generation_config:
        write_json(folder / "generation_config.json", generation_config)
    else:  # one of an older model would come back with this one
        (folder / "generation_config.json").unlink(missing_ok=True)
