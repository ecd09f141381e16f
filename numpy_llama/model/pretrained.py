"""What the five models have in common: how they are constructed, loaded and saved."""

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.errors import LlamaError
from numpy_llama.files import as_path
from numpy_llama.model.arguments import switch
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.config_checks import check_config
from numpy_llama.model.config_labels import agree_on_labels
from numpy_llama.model.generation_config import GenerationConfig, without_file
from numpy_llama.model.grouped_query import mean_pool_key_value_heads
from numpy_llama.model.outputs import ModelOutput
from numpy_llama.model.quantization import config_saying, quantization_asked_for, quantization_of
from numpy_llama.model.streamed_weights import in_memory
from numpy_llama.model.weights import Tensors, body_shapes, check_layer_count, check_tensors, random_weights
from numpy_llama.model.without_torch import WithoutTorch, check_loading_arguments
from numpy_llama.precision import float_dtype

Method = TypeVar("Method", bound=Callable[..., Any])


def all_or_nothing(call: Method) -> Method:
    """A model's __call__ that leaves the cache as long as it was where it fails.

    What is wrong with labels or logits_to_keep shows after the tokens have gone into the cache. Whoever mends the call
    and calls again must not have them in it twice.
    """

    @wraps(call)
    def called(
        self: Any,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        before = len(past_key_values) if isinstance(past_key_values, KVCache) else 0
        try:
            return call(self, input_ids, attention_mask, position_ids, past_key_values, *others, **options)
        except BaseException as error:
            if isinstance(past_key_values, KVCache):
                past_key_values.crop(before)
            _name_swapped_blocks(error, self.blocks)
            raise

    return cast(Method, called)


class LlamaPreTrainedModel(WithoutTorch):
    """Base of the models.

    config             sizes and settings
    tensors            weights under the names of Transformers' class of that name, all of one dtype; fresh random ones
                       (of a config alone, untrained) unless given
    dtype, seed        of fresh weights
    blocks             the functions that the model computes through
    generation_config  defaults for `generate`, as in generation_config.json; without them config.json speaks
    source             where the weights come from, for error messages; None where they are checked already
    raises             LlamaError for a missing or surplus tensor, a wrong shape, weights that aren't finite
    """

    base_model_prefix = "model."  # in the names of tensors: what stands before those of the body

    name_or_path: str | None = None  # the folder that the model was loaded from, where its tokenizer may lie, too

    config: LlamaConfig
    blocks: Blocks
    tensors: dict[str, np.ndarray]
    embed_tokens: np.ndarray

    def __init__(
        self,
        config: LlamaConfig,
        tensors: Tensors | None = None,
        *,
        dtype: str = "float32",
        seed: int = 0,
        blocks: Blocks | None = None,
        generation_config: dict[str, Any] | None = None,
        source: object = "weights",
    ):
        _check_type("config", config, LlamaConfig)
        _check_type("tensors", tensors, Mapping | None)
        _check_type("blocks", blocks, Blocks | None)
        _check_type("generation_config", generation_config, Mapping | None)
        agree_on_labels(config)  # and check it again: fields may have been set since it was made
        check_config(config)
        if tensors is None:
            tensors = random_weights(self.tensor_shapes(config), config, float_dtype(dtype), seed)
        elif source is not None:
            check_layer_count(tensors, config, source)
            check_tensors(tensors, self.tensor_shapes(config), source)
        self.config = config
        said = without_file(config) if generation_config is None else generation_config
        self.generation_config: dict[str, Any] = GenerationConfig(said)
        self.dtype = next(iter(tensors.values())).dtype  # of weights, hidden states and outputs
        self._build(config, tensors, Blocks() if blocks is None else blocks)

    @classmethod
    def tensor_shapes(cls, config: LlamaConfig) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of such a model, in order of use."""
        body = {f"{cls.base_model_prefix}{name}": shape for name, shape in body_shapes(config)}
        return {**body, **cls.head_shapes(config)}

    @classmethod
    def head_shapes(cls, config: LlamaConfig) -> dict[str, tuple[int, ...]]:
        """Those of its tensors that LlamaModel doesn't have."""
        return {}

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        raise NotImplementedError

    def _returned(self, output: Any, return_dict: bool | None) -> Any:
        """The output, or a tuple of it where the caller (or the config) wants one."""
        wanted = switch("return_dict", return_dict, self.config)
        return output if wanted or not isinstance(output, ModelOutput) else output.to_tuple()

    def num_parameters(self) -> int:
        """How many numbers the weights are. A head that is the embedding table counts once."""
        return sum(tensor.size for tensor in self.tensors.values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_parameters():,} parameters, {self.dtype})"

    def to_grouped_query(self, num_key_value_heads: int) -> Self:
        """The same model with fewer key and value heads, each the mean of a group of the old ones.

        raises  LlamaError where the heads can't be shared out evenly
        source  Ainslie et al. 2023 (GQA), section 2.1
        """
        config, tensors = mean_pool_key_value_heads(self.config, in_memory(self.tensors), num_key_value_heads)
        return type(self)(config, tensors, blocks=self.blocks, generation_config=self.generation_config)

    # Files live a floor above; these two doors lead there.

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: str = "float32",
        *,
        seed: int = 0,
        blocks: Blocks | None = None,
        weights: str = "load",
        quantization: str | None = None,
        group_size: int | None = None,
        symmetric: bool | None = None,
        **config_changes: Any,
    ) -> Self:
        """Load a checkpoint: a Hugging Face folder, or any other format that open_checkpoint reads.

        The checkpoint may be of another of the five classes: the body is found in it. What the head lacks is drawn
        afresh, and a warning lists it.

        folder          or file, or the name of a model that is installed: storyteller, smollm2
        dtype           float64, float32, float16 or bfloat16: weights are converted to it, and the model computes in
                        it; "auto" for the one they are stored in (float32 for quantized ones)
        seed            of what is drawn afresh
        weights         "load" them all into memory, or "stream" them: they stay on disk, and one layer at a time is
                        widened to the dtype, for a checkpoint larger than memory (model/streamed_weights.py)
        quantization    "int8" or "int4": the matrices of attention and MLP are kept in so many bits and dequantized a
                        layer at a time (model/quantization.py). A checkpoint that is stored so is loaded so without it
        group_size      32, 64 or 128 (unless given) numbers of a row that share a scale
        symmetric       whether 0 stays 0; False unless given
        config_changes  fields of LlamaConfig other than config.json says: num_labels=3
        raises          LlamaError naming file and tensor for whatever is missing, damaged or doesn't fit
        warns           LlamaWarning listing the weights of the head that aren't in the checkpoint
        """
        from numpy_llama.checkpoints.known_models import checkpoint_path
        from numpy_llama.checkpoints.load import load_checkpoint

        check_loading_arguments(config_changes)
        asked_for = quantization_asked_for(quantization, group_size, symmetric)
        checkpoint = load_checkpoint(checkpoint_path(folder), cls, dtype, seed, config_changes, weights, asked_for)
        model = cls(
            checkpoint.config,
            checkpoint.tensors,
            blocks=blocks,
            generation_config=checkpoint.generation_config,
            source=checkpoint.weights_path if weights == "load" else None,  # None: each matrix is checked when used
        )
        model.name_or_path = str(folder)
        return model

    def save_pretrained(self, folder: str | Path, max_shard_size: int | str = "50GB") -> None:
        """Write config.json, generation_config.json and model.safetensors, in the model's dtype.

        Transformers reads the folder, too, unless the model is quantized (checkpoints/quantized.py). Each file is
        replaced whole; a crash leaves the old one.

        max_shard_size  bytes, or a text such as "5GB"; a larger model is written in several files, listed in
                        model.safetensors.index.json
        raises          LlamaError where config or tensors were changed into something that couldn't be loaded, before
                        anything is written
        """
        tensors = in_memory(self.tensors)
        check_tensors(tensors, self.tensor_shapes(self.config), "tensors")
        _check_type("generation_config", self.generation_config, Mapping)
        config = config_saying(quantization_of(tensors), self.config)
        from numpy_llama.checkpoints.quantized import stored_parts
        from numpy_llama.checkpoints.write_folder import write_folder

        said = self.generation_config != without_file(self.config)
        generation_config = self.generation_config if said else {}
        tensors = stored_parts(tensors)
        sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
        arguments = (type(self).__name__, config, sizes, tensors.__getitem__, generation_config, max_shard_size)
        write_folder(as_path(folder), *arguments)


def _check_type(name: str, given: object, wanted: Any) -> None:
    """raises  LlamaError where an argument is of another type"""
    if not isinstance(given, wanted):
        expected = getattr(wanted, "__name__", wanted)
        raise LlamaError("wrong type", where=name, expected=expected, found=type(given).__name__)


def _name_swapped_blocks(error: BaseException, blocks: Blocks) -> None:
    """Say in an error's traceback which blocks aren't ours: what they return fails somewhere behind them."""
    if isinstance(error, LlamaError) or not isinstance(error, Exception) or not blocks.swapped:
        return
    note = f"The model computes through other blocks than ours: {', '.join(blocks.swapped)}. Do they return our shapes?"
    if note not in getattr(error, "__notes__", ()):  # a head and its body both come by here
        error.add_note(note)
