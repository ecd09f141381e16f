"""A Hugging Face checkpoint folder: config.json, generation_config.json, model.safetensors."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.files import json_text, read_json, write_atomically, write_json
from numpy_llama.generation.settings import ignored_settings
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.model.weights import Tensors, check_layer_count, check_shapes, random_weights
from numpy_llama.precision import float_dtype

# As safetensors spells them.
_STORED_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

LM_HEAD = "lm_head.weight"
HEADS = frozenset([LM_HEAD, "score.weight", "score.bias", "qa_outputs.weight", "qa_outputs.bias"])
LARGE = 100_000_000  # bytes; less is read within a second


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds: config, generation settings, weights in the dtype asked for, and where the weights lay."""

    config: LlamaConfig
    generation_config: dict[str, Any] | None
    tensors: dict[str, np.ndarray]
    weights_path: Path


def read_folder(
    folder: Path,
    model_class: type[LlamaPreTrainedModel],
    dtype: str | np.dtype,
    seed: int = 0,
    config_changes: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Read a checkpoint folder for a model of one of the five classes; weights under the names that the class has.

    dtype           weights are converted to it; "auto" for the one they are stored in
    seed            of what the head lacks: it is drawn afresh, with a warning
    config_changes  fields of LlamaConfig other than config.json says
    raises          LlamaError naming file and tensor for whatever is missing, damaged or doesn't fit the config
    """
    if not isinstance(dtype, str) or dtype != "auto":
        dtype = float_dtype(dtype)
    if not folder.is_dir():
        raise LlamaError("no such checkpoint folder", where=folder)
    config = LlamaConfig.from_pretrained(folder, **(config_changes or {}))
    generation_path = folder / "generation_config.json"
    generation_config = read_json(generation_path) if generation_path.exists() else None
    ignored = ignored_settings(generation_config or {})
    if ignored:
        message = f"{generation_path}: settings that aren't implemented are ignored: {', '.join(ignored)}"
        warnings.warn(message, LlamaWarning, stacklevel=3)
    weights_path = folder / "model.safetensors"
    tensors = _read_weights(weights_path, config, model_class, dtype, seed)
    return Checkpoint(config, generation_config, tensors, weights_path)


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


@dataclass(frozen=True)
class Found:
    """A tensor of a file: the name it has there, its shape and its dtype as safetensors spells it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def checked_table(
    path: Path, config: LlamaConfig, model_class: type[LlamaPreTrainedModel] = LlamaForCausalLM
) -> dict[str, Found]:
    """The tensors that a model takes out of a file, under the model's names, held to the config.

    The names of the body's tensors begin with nothing in a LlamaModel's file, with `transformer.` in a
    LlamaForQuestionAnswering's, with `model.` in the others'. Weights of a head may be missing.

    raises  LlamaError as tensor_table does, and for a missing or surplus tensor, a wrong shape or dtype
    """
    table = tensor_table(path)
    # What old files store, and no model needs.
    table = {name: entry for name, entry in table.items() if not name.endswith("rotary_emb.inv_freq")}
    check_layer_count(table, config, path)
    heads = model_class.head_shapes(config)
    prefix = _body_prefix(table)
    found: dict[str, Found] = {}
    for name, (shape, stored) in table.items():
        ours = name
        if name.startswith(prefix) and name.removeprefix(prefix) not in HEADS:
            ours = model_class.base_model_prefix + name.removeprefix(prefix)
        elif name in HEADS and name not in heads:  # another class's head isn't missed; another tensor is surplus
            continue
        if ours in found:
            where = f"{path}: {found[ours].name}, {name}"
            raise LlamaError("two tensors in one place", where=where, expected=f"one for {ours}", found="both")
        found[ours] = Found(name, shape, stored)

    expected = model_class.tensor_shapes(config)
    given = {name: one.shape for name, one in found.items()}
    check_shapes(given, {name: shape for name, shape in expected.items() if name in given or name not in heads}, path)
    for name, one in found.items():
        if one.dtype not in _STORED_DTYPES:
            expected_dtypes = "one of " + ", ".join(_STORED_DTYPES)
            raise LlamaError("wrong dtype", where=f"{path}: {name}", expected=expected_dtypes, found=one.dtype)
    return found


def _body_prefix(names: Iterable[str]) -> str:
    """What stands before the names of the body's tensors in a file."""
    prefixes = {name.partition("embed_tokens.weight")[0] for name in names if name.endswith("embed_tokens.weight")}
    return prefixes.pop() if len(prefixes) == 1 and prefixes <= {"", "transformer."} else "model."


def _read_weights(
    path: Path, config: LlamaConfig, model_class: type[LlamaPreTrainedModel], dtype: str | np.dtype, seed: int
) -> dict[str, np.ndarray]:
    found = checked_table(path, config, model_class)
    if isinstance(dtype, str):
        dtype = float_dtype(_STORED_DTYPES[next(iter(found.values())).dtype])
    with (
        safe_open(path, framework="np") as file,
        np.errstate(over="ignore"),
    ):  # what overflows is named by check_tensors
        tensors = {
            name: file.get_tensor(one.name).astype(dtype, copy=False)
            for name, one in _with_progress(found.items(), path)
        }
        stored = set(file.keys())
        if config.tie_word_embeddings and LM_HEAD in stored:
            embedding = next(one.name for name, one in found.items() if name.endswith("embed_tokens.weight"))
            _check_tied_head(file.get_tensor(LM_HEAD), file.get_tensor(embedding), path)
    return _with_fresh_head(tensors, config, model_class, dtype, seed, path)


def _with_fresh_head(
    tensors: dict[str, np.ndarray],
    config: LlamaConfig,
    model_class: type[LlamaPreTrainedModel],
    dtype: np.dtype,
    seed: int,
    path: Path,
) -> dict[str, np.ndarray]:
    """The tensors, and fresh ones for what the head lacks."""
    heads = model_class.head_shapes(config)
    missing = {name: shape for name, shape in heads.items() if name not in tensors}
    fresh = random_weights(missing, config, dtype, seed)
    if missing:
        message = f"{path}: not there, and drawn afresh with seed {seed}: {', '.join(missing)}"
        warnings.warn(message, LlamaWarning, stacklevel=5)
    return tensors | fresh


def _check_tied_head(head: np.ndarray, embedding: np.ndarray, path: Path) -> None:
    """A head that is stored beside the embedding it is tied to must be the embedding."""
    if head.shape != embedding.shape or not np.array_equal(head, embedding):
        raise LlamaError(
            "differs from model.embed_tokens.weight",
            where=f"{path}: {LM_HEAD}",
            expected="the same numbers, or tie_word_embeddings false in the config",
        )


def _other_weights(folder: Path) -> str | None:
    """Weights in formats that we don't read, if a folder holds any."""
    suffixes = (".safetensors", ".bin", ".pth", ".gguf", ".index.json")
    names = sorted(path.name for path in folder.glob("*") if path.name.endswith(suffixes))
    return ", ".join(names[:4]) or None


def _with_progress(names: Iterable[Any], path: Path) -> Iterable[Any]:
    """The names, with a bar on stderr where reading takes more than a second and somebody sits at the terminal."""
    if path.stat().st_size < LARGE:
        return names  # tqdm itself takes a while to import
    from tqdm import tqdm

    return tqdm(names, desc=f"loading {path.name}", unit=" tensors", delay=1.0, leave=False, disable=None)


def write_folder(
    folder: Path, class_name: str, config: LlamaConfig, tensors: Tensors, generation_config: dict[str, Any]
) -> None:
    """Write a checkpoint folder that Transformers reads, too. Each file is replaced whole.

    class_name  of the model, for config.json
    """
    if folder.exists() and not folder.is_dir():
        raise LlamaError("not a folder", where=folder)
    dtype = next(iter(tensors.values())).dtype
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    settings = {**config.to_dict(), "architectures": [class_name], "dtype": dtype.name}
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
