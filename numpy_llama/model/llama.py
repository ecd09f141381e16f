"""LlamaModel: from token ids to hidden states. The whole forward pass is `LlamaModel.__call__`."""

from typing import Any

import numpy as np

from numpy_llama.blocks.activation_table import with_activation
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.model.arguments import checked_call, switch, warn_past_context
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.decode_step import decode_layer
from numpy_llama.model.decoder_layer import decoder_layer
from numpy_llama.model.masks import blocks_for, scores_mask
from numpy_llama.model.outputs import BaseModelOutputWithPast, collected_attentions
from numpy_llama.model.pretrained import LlamaPreTrainedModel, all_or_nothing
from numpy_llama.model.rope_scaling import scaled_rope
from numpy_llama.model.streamed_weights import layers_of
from numpy_llama.model.weights import Tensors
from numpy_llama.probe import collect, is_observed, model_call, probe, scope


class LlamaModel(LlamaPreTrainedModel):
    """The body of every Llama: embedding, decoder layers, final norm.

    Constructed as LlamaPreTrainedModel says; its tensors have the names of Transformers' LlamaModel
    (`layers.0.self_attn.q_proj.weight`), and it computes in their dtype.

    source  Touvron et al. 2023; transformers.LlamaModel
    """

    base_model_prefix = ""

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        self.blocks = blocks = with_activation(blocks, config.hidden_act)
        self.tensors = dict(tensors)
        self.embed_tokens = tensors["embed_tokens.weight"]  # (V, E)
        self.layers = layers_of(self.tensors, config.num_hidden_layers)
        self.norm = tensors["norm.weight"]  # (E,)
        # The packed decode step knows our own blocks, and dtypes in which no operation needs a rounding of its own.
        self._packs = blocks == Blocks() and self.dtype.itemsize > 2
        self.rope = scaled_rope(blocks.rope_frequencies, config, self.dtype)

    @all_or_nothing
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: np.ndarray | None = None,
        use_cache: bool | None = None,
        *,
        cache_position: Any = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast:
        """Run T new tokens through the model. Whatever isn't given is as the config says.

        input_ids        (B, T) token ids; nested lists will do
        attention_mask   (B, S), 1 for a token, 0 for padding, over cached and new tokens; or (B or 1, H or 1, T, S),
                         True (or 0.0) where a token may look, False (or −∞) where not
        position_ids     (B, T) or (1, T); from the cache's length upwards unless given. Without cache and mask, a
                         position that doesn't follow the one before begins another text, which sees none of the others
        past_key_values  the cache of earlier calls; it grows by these tokens
        inputs_embeds    (B, T, E), in place of input_ids
        use_cache        make a cache where none is given
        cache_position   (T,), accepted where it says what the cache says
        output_hidden_states, output_attentions   return the residual stream between the layers, the weights in them
        return_dict      False for a plain tuple
        raises           LlamaError naming the argument for whatever doesn't fit
        warns            LlamaWarning where a position is past the trained context
        """
        config, dtype = self.config, self.dtype
        arguments = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache, cache_position)
        call = checked_call(config, dtype, *arguments)
        cache, blocks = call.cache, blocks_for(call, self.blocks, dtype)
        last_position = int(call.position_ids.max())
        warn_past_context(last_position, call, config)
        output_hidden_states = switch("output_hidden_states", output_hidden_states, config)
        output_attentions = switch("output_attentions", output_attentions, config)

        # Two-byte dtypes overflow to infinity where torch's do, as silently.
        model_call(call, config)
        attentions: list[np.ndarray] = []
        with collect("weights", attentions, wanted=output_attentions), np.errstate(over="ignore"):
            hidden = call.inputs_embeds
            if hidden is None:
                hidden = probe("embed_tokens", blocks.embedding(call.input_ids, self.embed_tokens))  # (B, T, E)
            with scope("rotary_emb"):
                frequencies, attention_scaling = self.rope.at(last_position)  # (D/2,)
                rope = blocks.rope_tables(call.position_ids, frequencies, dtype, attention_scaling)  # (B, T, D) twice
            mask = scores_mask(call, blocks.causal_mask, dtype)  # (B, 1, T, S), or None: everything may be seen
            if mask is not None:
                mask = probe("causal_mask", mask)

            packed = call.new == 1 and call.past > 0 and mask is None and self._packs and not is_observed()
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

        output = BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=cache,
            # As Transformers has it: the last hidden state is the normed one.
            hidden_states=(*states[:-1], hidden) if output_hidden_states else None,
            attentions=collected_attentions(attentions, len(self.layers), dtype) if output_attentions else None,
        )
        return self._returned(output, return_dict)
