"""LlamaForCausalLM: a Llama that says, at every position, how likely each token is to come next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.errors import LlamaError
from numpy_llama.model.arguments import check_logits_to_keep
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.outputs import CausalLMOutputWithPast
from numpy_llama.model.weights import Tensors, check_tensors, random_weights
from numpy_llama.precision import float_dtype
from numpy_llama.probe import probe, scope


class LlamaForCausalLM:
    """LlamaModel with a linear layer to logits on top.

        model = LlamaForCausalLM.from_pretrained(folder)
        output = model([[1, 306, 4658]])
        output.logits                      # (1, 3, V)

    config             sizes and settings
    tensors            weights under their names in the checkpoint, all of one dtype; fresh random ones unless given
    dtype, seed        of fresh weights
    blocks             the functions that the model computes through
    generation_config  defaults for `generate`, as in generation_config.json
    source             where the weights come from, for error messages
    raises             LlamaError for a missing or surplus tensor, a wrong shape, weights that aren't finite
    """

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
        if tensors is None:
            tensors = random_weights(config, float_dtype(dtype), seed)
        check_tensors(tensors, config, source)
        self.config = config
        self.generation_config = dict(generation_config or {})
        self.model = LlamaModel(config, tensors, blocks)
        self.tensors = self.model.tensors
        self.lm_head = self.model.embed_tokens if config.tie_word_embeddings else tensors["lm_head.weight"]  # (V, E)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of weights, hidden states and logits."""
        return self.model.dtype

    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: KVCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool = False,
        logits_to_keep: int = 0,
    ) -> CausalLMOutputWithPast:
        """Run T new tokens through the model.

        logits_to_keep  compute logits for the last so many positions alone; 0 for all
        returns         CausalLMOutputWithPast, logits (B, T or logits_to_keep, V)

        The other arguments, errors and warnings are those of LlamaModel.
        """
        check_logits_to_keep(logits_to_keep)
        with scope("model"):
            output = self.model(
                input_ids, attention_mask, position_ids, past_key_values, use_cache, output_hidden_states
            )
        hidden = output.last_hidden_state[:, -logits_to_keep:]  # (B, T, E); all of them for 0
        logits = probe("lm_head", self.model.blocks.linear(hidden, self.lm_head))  # (B, T, V)
        return CausalLMOutputWithPast(logits, output.past_key_values, output.hidden_states)

    # Files and the token loop live a floor above; these doors lead there, and are the only imports that point up.

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: str = "float32", *, blocks: Blocks | None = None
    ) -> "LlamaForCausalLM":
        """Load a checkpoint folder: config.json, model.safetensors, and generation_config.json where it is there.

        dtype   float64, float32, float16 or bfloat16: weights are converted to it, and the model computes in it
        raises  LlamaError naming file and tensor for whatever is missing, damaged or doesn't fit
        """
        from numpy_llama.checkpoints.folder import read_folder

        checkpoint = read_folder(Path(folder), float_dtype(dtype))
        return cls(
            checkpoint.config,
            checkpoint.tensors,
            blocks=blocks,
            generation_config=checkpoint.generation_config,
            source=checkpoint.weights_path,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, generation_config.json and model.safetensors, in the model's dtype.

        Transformers reads the folder, too. Each file is replaced whole; a crash leaves the old one.
        """
        from numpy_llama.checkpoints.folder import write_folder

        write_folder(Path(folder), self.config, self.tensors, self.generation_config)

    def generate(self, input_ids: Any = None, attention_mask: Any = None, **settings: Any) -> np.ndarray:
        """Continue each row of input_ids; see numpy_llama.generation.generate for the settings."""
        from numpy_llama.generation.loop import generate

        return generate(self, input_ids, attention_mask, **settings)

    def stream(self, input_ids: Any = None, attention_mask: Any = None, **settings: Any) -> Iterator[np.ndarray]:
        """Like generate, one step at a time: yields the (B,) ids of each step as soon as they are drawn."""
        from numpy_llama.generation.loop import stream

        return stream(self, input_ids, attention_mask, **settings)


def check_vocabulary(vocabulary_size: int, config: LlamaConfig, where: object) -> None:
    """Hold a tokenizer to the model it feeds.

    raises  LlamaError where the tokenizer has ids past the embedding table
    """
    if vocabulary_size > config.vocab_size:
        raise LlamaError(
            "the tokenizer doesn't fit the model",
            where=where,
            expected=f"at most {config.vocab_size} pieces (vocab_size of the config)",
            found=vocabulary_size,
        )
