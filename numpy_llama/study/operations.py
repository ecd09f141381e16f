"""Operations: how much arithmetic a forward pass takes, from the config alone.

Matrix products are nearly all of it. An (a, b) matrix times a (b, c) matrix takes a·b·c multiply-adds,
one multiplication and one addition each: two floating-point operations (FLOPs). Norms, RoPE, softmax and
the activation touch each number a few times and multiply no matrices; they aren't counted. To look up an
embedding is no arithmetic at all.

For T new tokens, among S tokens in all (S = T in a prefill, T = 1 in a decode step), a layer takes

    q_proj, o_proj              T · E · H·D     each
    k_proj, v_proj              T · E · K·D     each
    scores = Q Kᵀ               T · S · H·D
    context = weights V         T · S · H·D
    gate, up and down_proj      T · E · F       each

and the head takes E · V for each position whose logits are computed. The projections cost the same at
every token; scores and context grow with the text. A prefill computes the full T × S square; the mask
then hides the upper half of it.
"""

from numpy_llama.model.config import LlamaConfig

FLOPS_PER_MULTIPLY_ADD = 2


def multiply_adds(config: LlamaConfig, context: int, new: int = 1, logits: int = 1) -> dict[str, int]:
    """Multiply-adds of one call of the model, all layers together, by block.

    context  S, tokens that a new one may look at, itself included
    new      T, tokens that the call takes in
    logits   positions whose logits are computed; 1 suffices to go on with a text
    returns  {block: count}, in order of computation: the blocks of parameters_by_block that multiply by a
             matrix, and "self_attn.scores" and "self_attn.context", which have none of their own
    """
    E, F, V, L = config.hidden_size, config.intermediate_size, config.vocab_size, config.num_hidden_layers
    query_width = config.num_attention_heads * config.head_dim
    key_width = config.num_key_value_heads * config.head_dim
    of_one_layer = {
        "self_attn.q_proj": new * E * query_width,
        "self_attn.k_proj": new * E * key_width,
        "self_attn.v_proj": new * E * key_width,
        "self_attn.scores": new * context * query_width,
        "self_attn.context": new * context * query_width,
        "self_attn.o_proj": new * query_width * E,
        "mlp.gate_proj": new * E * F,
        "mlp.up_proj": new * E * F,
        "mlp.down_proj": new * F * E,
    }
    return {**{block: L * count for block, count in of_one_layer.items()}, "lm_head": logits * E * V}


def flops(config: LlamaConfig, context: int, new: int = 1, logits: int = 1) -> int:
    """Floating-point operations of one call of the model: two for each multiply-add."""
    return FLOPS_PER_MULTIPLY_ADD * sum(multiply_adds(config, context, new, logits).values())
