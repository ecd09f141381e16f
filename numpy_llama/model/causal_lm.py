"""LlamaForCausalLM: a Llama that says, at every position, how likely each token is to come next."""

from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.record import Blocks
from numpy_llama.model.arguments import kept_positions
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.losses import causal_lm_loss
from numpy_llama.model.outputs import CausalLMOutputWithPast
from numpy_llama.model.pretrained import all_or_nothing
from numpy_llama.model.weights import Tensors
from numpy_llama.model.with_head import LlamaWithHead
from numpy_llama.probe import probe

if TYPE_CHECKING:
    from numpy_llama.generation.token_stream import TokenStream


class LlamaForCausalLM(LlamaWithHead):
    """LlamaModel with a linear layer to logits on top.

        model = LlamaForCausalLM.from_pretrained(folder)
        output = model([[1, 306, 4658]])
        output.logits                      # (1, 3, V)

    Constructed as LlamaPreTrainedModel says.

    source  transformers.LlamaForCausalLM
    """

    @classmethod
    def head_shapes(cls, config: LlamaConfig) -> dict[str, tuple[int, ...]]:
        """The matrix to logits, unless it is the embedding table itself."""
        return {} if config.tie_word_embeddings else {"lm_head.weight": (config.vocab_size, config.hidden_size)}

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        super()._build(config, tensors, blocks)
        self.lm_head = self.embed_tokens if config.tie_word_embeddings else tensors["lm_head.weight"]  # (V, E)

    @all_or_nothing
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: KVCache | None = None,
        inputs_embeds: np.ndarray | None = None,
        labels: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: Any = 0,
        return_dict: bool | None = None,
        **options: Any,
    ) -> CausalLMOutputWithPast:
        """Run T new tokens through the model.

        labels          (B, T) token ids, −100 where one doesn't count: the output gets a loss, each label being held
                        to the logits of the position before it
        logits_to_keep  compute logits for the last so many positions alone, 0 for all; or a list of positions
        returns         CausalLMOutputWithPast, logits (B, T or as many as are kept, V)

        The other arguments, errors and warnings are those of LlamaModel.
        """
        arguments = (input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache)
        output = self._run_body(*arguments, **options)
        hidden = kept_positions(output.last_hidden_state, logits_to_keep)  # (B, T, E)
        logits = probe("lm_head", self.blocks.linear(hidden, self.lm_head))  # (B, T, V)
        loss = None if labels is None else causal_lm_loss(logits, labels)
        rest = (output.past_key_values, output.hidden_states, output.attentions)
        return self._returned(CausalLMOutputWithPast(loss, logits, *rest), return_dict)

    # The token loop lives a floor above; these two doors lead there.

    def generate(self, input_ids: Any = None, attention_mask: Any = None, **settings: Any) -> Any:
        """Continue each row of input_ids; see numpy_llama.generation.generate for the settings and what comes back."""
        from numpy_llama.generation.loop import generate

        return generate(self, input_ids, attention_mask, **settings)

    def stream(self, input_ids: Any = None, attention_mask: Any = None, **settings: Any) -> "TokenStream":
        """Like generate, one step at a time: yields the (B,) ids of each step as soon as they are drawn."""
        from numpy_llama.generation.token_stream import stream

        return stream(self, input_ids, attention_mask, **settings)
