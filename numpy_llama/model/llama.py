"""LlamaModel: from token ids to hidden states. The whole forward pass is `LlamaModel.__call__`."""

import warnings

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.errors import LlamaWarning
from numpy_llama.model.arguments import check_attention_mask, check_cache, check_input_ids, check_position_ids
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.decode_step import decode_layer
from numpy_llama.model.decoder_layer import decoder_layer
from numpy_llama.model.outputs import BaseModelOutputWithPast
from numpy_llama.model.rope_scaling import scaled_frequencies
from numpy_llama.model.weights import LayerWeights, Tensors
from numpy_llama.probe import is_observed, model_call, probe, scope


class LlamaModel:
    """The body of every Llama: embedding, decoder layers, final norm.

    config   sizes and settings
    tensors  the weights under their names in a LlamaForCausalLM checkpoint, all of one dtype: the model computes in it
    blocks   the functions it computes through
    source   Touvron et al. 2023; transformers.LlamaModel
    """

    def __init__(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks | None = None):
        self.config = config
        self.blocks = Blocks() if blocks is None else blocks
        self.tensors = tensors = dict(tensors)
        self.embed_tokens = tensors["model.embed_tokens.weight"]  # (V, E)
        self.layers = [LayerWeights.from_tensors(tensors, layer) for layer in range(config.num_hidden_layers)]
        self.norm = tensors["model.norm.weight"]  # (E,)
        # The packed decode step knows our own blocks, and dtypes in which no operation needs a rounding of its own.
        self._packs = self.blocks == Blocks() and self.dtype.itemsize > 2
        self.frequencies = scaled_frequencies(
            self.blocks.rope_frequencies, config.head_dim, config.rope_parameters, self.dtype
        )  # (D/2,)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of weights, hidden states and outputs."""
        return self.embed_tokens.dtype

    def __call__(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray | None = None,
        position_ids: np.ndarray | None = None,
        past_key_values: KVCache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool = False,
    ) -> BaseModelOutputWithPast:
        """Run T new tokens through the model.

        input_ids        (B, T) token ids; nested lists will do
        attention_mask   (B, S), 1 for a token, 0 for padding, over cached and new tokens; None where nothing is padded
        position_ids     (B, T) or (1, T); from the cache's length upwards unless given
        past_key_values  the cache of earlier calls; it grows by these tokens
        use_cache        make a cache where none is given; the config says unless given
        output_hidden_states  return the residual stream between the layers, too
        returns          BaseModelOutputWithPast
        raises           LlamaError for ids out of range, shapes that don't fit
        warns            LlamaWarning where a position is past the trained context
        """
        config, blocks = self.config, self.blocks
        cache = past_key_values
        if cache is None and (config.use_cache if use_cache is None else use_cache):
            cache = KVCache(config.num_hidden_layers)
        if cache is not None:
            check_cache(cache, config, self.dtype)
        past = 0 if cache is None else len(cache)
        input_ids = check_input_ids(input_ids, config.vocab_size, cache)
        B, T = input_ids.shape
        S = past + T
        attention_mask = check_attention_mask(attention_mask, B, S)
        position_ids = check_position_ids(position_ids, B, T, past)
        self._warn_past_context(position_ids)

        # Two-byte dtypes overflow to infinity where torch's do, as silently.
        with model_call(past, T), np.errstate(over="ignore"):
            hidden = probe("embed_tokens", blocks.embedding(input_ids, self.embed_tokens))  # (B, T, E)
            with scope("rotary_emb"):
                rope = blocks.rope_tables(position_ids, self.frequencies, self.dtype)  # (B, T, D) twice
            mask = None
            if T > 1 or attention_mask is not None:  # one token without padding sees everything
                mask = probe("causal_mask", blocks.causal_mask(T, S, self.dtype, attention_mask))  # (B, 1, T, S)

            packed = T == 1 and past > 0 and mask is None and self._packs and not is_observed()
            states: tuple[np.ndarray, ...] = (hidden,)
            for index, weights in enumerate(self.layers):
                if packed and cache is not None:
                    hidden = decode_layer(hidden, weights, rope, cache, index, config)  # (B, 1, E)
                else:
                    with scope(f"layers.{index}"):
                        hidden = decoder_layer(hidden, weights, rope, mask, cache, index, config, blocks)
                hidden = probe(f"layers.{index}", hidden)  # (B, T, E)
                if output_hidden_states:
                    states += (hidden,)

            with scope("norm"):
                hidden = blocks.rms_norm(hidden, self.norm, config.rms_norm_eps)
            hidden = probe("norm", hidden)  # (B, T, E)

        states = (*states[:-1], hidden)  # as Transformers has it: the last hidden state is the normed one
        return BaseModelOutputWithPast(hidden, cache, states if output_hidden_states else None)

    def _warn_past_context(self, position_ids: np.ndarray) -> None:
        last, trained = int(position_ids.max()), self.config.max_position_embeddings
        if last == trained or last > trained > last - position_ids.shape[1]:  # once, when the border is crossed
            message = f"position {last} is past the {trained} tokens of context that this model was trained on"
            warnings.warn(message, LlamaWarning, stacklevel=3)
