"""From a checkpoint of any format to the weights of one of the five models: names found, sizes checked, converted."""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.quantized import quantization_for, quantized_weight
from numpy_llama.checkpoints.reader import CheckpointReader, StoredTensor, open_checkpoint
from numpy_llama.checkpoints.safetensors_file import STORED_DTYPES
from numpy_llama.checkpoints.streamed import check_way, streamed_tensors
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.generation.settings import ignored_settings
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.model.quantization import Quantization, is_quantizable
from numpy_llama.model.weights import check_layer_count, check_shapes, random_weights, room_for_weights
from numpy_llama.precision import float_dtype

LM_HEAD = "lm_head.weight"
HEADS = frozenset([LM_HEAD, "score.weight", "score.bias", "qa_outputs.weight", "qa_outputs.bias"])
LARGE = 25_000_000  # numbers; fewer are read within a second, and tqdm itself takes a while to import


@dataclass(frozen=True)
class Checkpoint:
    """What a model needs of a checkpoint: config, generation settings, weights in the dtype asked for, and where they
    lay.
    """

    config: LlamaConfig
    generation_config: dict[str, Any] | None
    tensors: dict[str, np.ndarray]
    weights_path: Path


def load_checkpoint(
    path: Path,
    model_class: type[LlamaPreTrainedModel],
    dtype: str | np.dtype,
    seed: int = 0,
    config_changes: Mapping[str, Any] | None = None,
    weights: str = "load",
    quantization: Quantization | None = None,
) -> Checkpoint:
    """Read a checkpoint for a model of one of the five classes; weights under the names that the class has.

    dtype           weights are converted to it; "auto" for the one they are stored in, float32 for quantized ones
    seed            of what the head lacks: it is drawn afresh, with a warning
    config_changes  fields of LlamaConfig other than the checkpoint says
    weights         "load" them all, or "stream" them: leave matrices on disk until they are used
    quantization    how matrices are quantized as they are loaded; None for as they are stored
    raises          LlamaError naming file and tensor for whatever is missing, damaged or doesn't fit the config
    """
    if not isinstance(dtype, str) or dtype != "auto":
        dtype = float_dtype(dtype)
    check_way(weights)
    if weights == "stream" and quantization is not None:
        raise LlamaError("not both", where='weights="stream", quantization', expected="one of them")
    checkpoint = open_checkpoint(path, config_changes)
    generation_config = checkpoint.generation_config
    ignored = ignored_settings(generation_config or {})
    if ignored:
        where = checkpoint.path.with_name("generation_config.json")
        message = f"{where}: settings that aren't implemented are ignored: {', '.join(ignored)}"
        warnings.warn(message, LlamaWarning, stacklevel=3)
    tensors = _read_weights(checkpoint, model_class, dtype, seed, weights == "stream", quantization)
    return Checkpoint(checkpoint.config, generation_config, tensors, checkpoint.path)


def checked_table(
    checkpoint: CheckpointReader, model_class: type[LlamaPreTrainedModel] = LlamaForCausalLM
) -> dict[str, StoredTensor]:
    """The tensors that a model takes out of a checkpoint, under the model's names, held to the config.

    The names of the body's tensors begin with nothing in a LlamaModel's file, with `transformer.` in a
    LlamaForQuestionAnswering's, with `model.` in the others'. Weights of a head may be missing.

    returns  {name in the model: the tensor, with its name in the checkpoint}
    raises   LlamaError as the checkpoint's table does, and for a missing or surplus tensor or a wrong shape
    """
    config, path = checkpoint.config, checkpoint.path
    # What old files store, and no model needs.
    table = {name: stored for name, stored in checkpoint.table().items() if not name.endswith("rotary_emb.inv_freq")}
    check_layer_count(table, config, path)
    heads = model_class.head_shapes(config)
    prefix = _body_prefix(table)
    found: dict[str, StoredTensor] = {}
    for name, stored in table.items():
        ours = name
        if name.startswith(prefix) and name.removeprefix(prefix) not in HEADS:
            ours = model_class.base_model_prefix + name.removeprefix(prefix)
        elif name in HEADS and name not in heads:  # another class's head isn't missed; another tensor is surplus
            continue
        if ours in found:
            where = f"{path}: {found[ours].name}, {name}"
            raise LlamaError("two tensors in one place", where=where, expected=f"one for {ours}", found="both")
        found[ours] = stored

    expected = model_class.tensor_shapes(config)
    given = {name: stored.shape for name, stored in found.items()}
    check_shapes(given, {name: shape for name, shape in expected.items() if name in given or name not in heads}, path)
    return found


def stored_dtype(table: Mapping[str, StoredTensor]) -> np.dtype:
    """The dtype that "auto" means: that of the first tensor, or float32 where it is quantized."""
    return STORED_DTYPES.get(next(iter(table.values())).dtype, float_dtype("float32"))


def with_progress(names: Iterable[Any], path: Path, numbers: int) -> Iterable[Any]:
    """The names, with a bar on stderr where the work takes more than a second and somebody sits at the terminal.

    numbers  in all the tensors together
    """
    if numbers < LARGE:
        return names
    from tqdm import tqdm

    return tqdm(names, desc=f"loading {path.name}", unit=" tensors", delay=1.0, leave=False, disable=None)


def _body_prefix(names: Iterable[str]) -> str:
    """What stands before the names of the body's tensors in a checkpoint."""
    prefixes = {name.partition("embed_tokens.weight")[0] for name in names if name.endswith("embed_tokens.weight")}
    return prefixes.pop() if len(prefixes) == 1 and prefixes <= {"", "transformer."} else "model."


def _read_weights(
    checkpoint: CheckpointReader,
    model_class: type[LlamaPreTrainedModel],
    dtype: str | np.dtype,
    seed: int,
    stream: bool,
    quantization: Quantization | None,
) -> dict[str, Any]:
    found = checked_table(checkpoint, model_class)
    dtype = stored_dtype(found) if isinstance(dtype, str) else dtype
    tensors: dict[str, Any]
    if stream:
        tensors = streamed_tensors(checkpoint, found, dtype)
    else:
        tensors = _loaded(checkpoint, found, dtype, quantization_for(checkpoint, quantization))
    check_tied_head(checkpoint, found)
    return _with_fresh_head(tensors, checkpoint, model_class, dtype, seed)


def _loaded(
    checkpoint: CheckpointReader,
    found: Mapping[str, StoredTensor],
    dtype: np.dtype,
    quantization: Quantization | None,
) -> dict[str, Any]:
    # Read straight into the arrays in which the model wants its weights, so that no number is in memory twice.
    shapes = {name: one.shape for name, one in found.items() if quantization is None or not is_quantizable(name)}
    tensors: dict[str, Any] = dict.fromkeys(found) | room_for_weights(shapes, dtype)
    numbers = sum(math.prod(stored.shape) for stored in found.values())
    with np.errstate(over="ignore"):  # what overflows is named by check_tensors
        for name, stored in with_progress(found.items(), checkpoint.path, numbers):
            if quantization is not None and is_quantizable(name):
                tensors[name] = quantized_weight(checkpoint, stored.name, dtype, quantization)
            else:
                tensors[name][...] = checkpoint.read(stored.name)
    return tensors


def _with_fresh_head(
    tensors: dict[str, Any],
    checkpoint: CheckpointReader,
    model_class: type[LlamaPreTrainedModel],
    dtype: np.dtype,
    seed: int,
) -> dict[str, np.ndarray]:
    """The tensors, and fresh ones for what the head lacks."""
    heads = model_class.head_shapes(checkpoint.config)
    missing = {name: shape for name, shape in heads.items() if name not in tensors}
    fresh = random_weights(missing, checkpoint.config, dtype, seed)
    if missing:
        message = f"{checkpoint.path}: not there, and drawn afresh with seed {seed}: {', '.join(missing)}"
        warnings.warn(message, LlamaWarning, stacklevel=5)
    return tensors | fresh


def check_tied_head(checkpoint: CheckpointReader, found: Mapping[str, StoredTensor]) -> None:
    """A head that is stored beside the embedding it is tied to must be the embedding.

    found   as checked_table returns it
    raises  LlamaError where it is another
    """
    if not checkpoint.config.tie_word_embeddings or LM_HEAD not in checkpoint.table():
        return
    embedding = next(stored.name for name, stored in found.items() if name.endswith("embed_tokens.weight"))
    if not np.array_equal(checkpoint.read(LM_HEAD), checkpoint.read(embedding)):
        raise LlamaError(
            "differs from model.embed_tokens.weight",
            where=f"{checkpoint.path}: {LM_HEAD}",
            expected="the same numbers, or tie_word_embeddings false in the config",
        )
