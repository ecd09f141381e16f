"""Every named value of a forward pass: its name, its shape, its meaning.

The names are those of the Hugging Face module tree wherever a module exists there, and a leaf below it where none does.
`{i}` stands for the layer. Shapes use the letters of the whole project: B batch, T new tokens, S cached + new tokens,
H query heads, K key/value heads, D head_dim, E hidden_size, F intermediate_size, V vocab_size.

A test walks a real forward pass and holds this table to it: no name missing, none surplus, every shape as it says.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """One line of the table.

    shape     axes' letters; "1|B" is either
    meaning   in a few words
    """

    shape: tuple[str, ...]
    meaning: str


VALUES: dict[str, Value] = {
    "model.embed_tokens": Value(("B", "T", "E"), "one vector a token: the residual stream begins"),
    "model.rotary_emb.cos": Value(("1|B", "T", "D"), "cosine of each pair's angle at each position"),
    "model.rotary_emb.sin": Value(("1|B", "T", "D"), "sine of the same angles"),
    "model.causal_mask": Value(("1|B", "1", "T", "S"), "0 where a token may look, the lowest number where not"),
    "model.layers.{i}.input_layernorm.normed": Value(("B", "T", "E"), "length set to √E, before the weight"),
    "model.layers.{i}.input_layernorm": Value(("B", "T", "E"), "what attention reads"),
    "model.layers.{i}.self_attn.q_proj": Value(("B", "T", "H·D"), "queries of all heads side by side"),
    "model.layers.{i}.self_attn.k_proj": Value(("B", "T", "K·D"), "keys of all key/value heads side by side"),
    "model.layers.{i}.self_attn.v_proj": Value(("B", "T", "K·D"), "values of all key/value heads side by side"),
    "model.layers.{i}.self_attn.query_rotated": Value(("B", "H", "T", "D"), "queries turned by their positions"),
    "model.layers.{i}.self_attn.key_rotated": Value(("B", "K", "T", "D"), "new keys turned by their positions"),
    "model.layers.{i}.self_attn.keys": Value(("B", "K", "S", "D"), "rotated keys of past and new tokens"),
    "model.layers.{i}.self_attn.values": Value(("B", "K", "S", "D"), "values of past and new tokens"),
    "model.layers.{i}.self_attn.scores": Value(("B", "H", "T", "S"), "query · key / √D + mask"),
    "model.layers.{i}.self_attn.weights": Value(("B", "H", "T", "S"), "softmax of the scores"),
    "model.layers.{i}.self_attn.context": Value(("B", "H", "T", "D"), "values mixed by the weights"),
    "model.layers.{i}.self_attn.o_proj": Value(("B", "T", "E"), "heads mixed back into the residual's channels"),
    "model.layers.{i}.self_attn": Value(("B", "T", "E"), "what attention adds to the residual stream"),
    "model.layers.{i}.after_attention": Value(("B", "T", "E"), "the residual stream between attention and MLP"),
    "model.layers.{i}.post_attention_layernorm.normed": Value(("B", "T", "E"), "length set to √E, before the weight"),
    "model.layers.{i}.post_attention_layernorm": Value(("B", "T", "E"), "what the MLP reads"),
    "model.layers.{i}.mlp.gate_proj": Value(("B", "T", "F"), "the gate, before its activation"),
    "model.layers.{i}.mlp.up_proj": Value(("B", "T", "F"), "what is gated"),
    "model.layers.{i}.mlp.act_fn": Value(("B", "T", "F"), "the gate, after its activation"),
    "model.layers.{i}.mlp.gated": Value(("B", "T", "F"), "gate times up"),
    "model.layers.{i}.mlp.down_proj": Value(("B", "T", "E"), "brought back to the residual's channels"),
    "model.layers.{i}.mlp": Value(("B", "T", "E"), "what the MLP adds to the residual stream"),
    "model.layers.{i}": Value(("B", "T", "E"), "the residual stream after the layer"),
    "model.norm.normed": Value(("B", "T", "E"), "length set to √E, before the weight"),
    "model.norm": Value(("B", "T", "E"), "the last hidden state"),
    "lm_head": Value(("B", "T", "V"), "logits"),
}

# What other models have in place of lm_head. In LlamaForQuestionAnswering the body is `transformer`, not `model`; in a
# LlamaModel by itself it has no name.
HEAD_VALUES: dict[str, Value] = {
    "score": Value(("B", "T", "N"), "logits of the labels, at each token (the two classification heads)"),
    "qa_outputs": Value(("B", "T", "2"), "logits of beginning and end (question answering)"),
}
