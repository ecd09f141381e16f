"""Every named value of a forward pass: its name, its shape, its meaning, and how it is computed from which others.

The names are those of the Hugging Face module tree wherever a module exists there, and a leaf below it where none does.
`{i}` stands for the layer. Shapes use the letters of the whole project: B batch, T new tokens, S cached + new tokens,
H query heads, K key/value heads, D head_dim, E hidden_size, F intermediate_size, V vocab_size.

The table is in order of computation. A test walks a real forward pass and holds the table to it: no name missing, none
surplus, every shape as it says.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """One line of the table.

    shape    axes' letters; "1|B" is either
    meaning  in a few words
    formula  how it is computed from what it reads
    reads    the values it is computed from; "{residual}" is the residual stream that enters the layer: the embeddings
             or the layer before
    block    the field of Blocks that computes it; "" where the model does, by a sum or by cutting into heads
    """

    shape: tuple[str, ...]
    meaning: str
    formula: str
    reads: tuple[str, ...]
    block: str = ""


_LAYER = "model.layers.{i}"
_NORMED = "length set to √E, before the weight"
_RMS = "x / sqrt(mean(x²) + eps)"

VALUES: dict[str, Value] = {
    "model.embed_tokens": Value(
        ("B", "T", "E"), "one vector a token: the residual stream begins", "W[input_ids]", (), "embedding"
    ),
    "model.rotary_emb.cos": Value(
        ("1|B", "T", "D"), "cosine of each pair's angle at each position", "cos(position · ω)", (), "rope_tables"
    ),
    "model.rotary_emb.sin": Value(("1|B", "T", "D"), "sine of the same angles", "sin(position · ω)", (), "rope_tables"),
    "model.causal_mask": Value(
        ("1|B", "1", "T", "S"),
        "0 where a token may look, the lowest number where not",
        "0 for a key at or before the query and no padding, else lowest",
        (),
        "causal_mask",
    ),
    "model.layers.{i}.input_layernorm.normed": Value(("B", "T", "E"), _NORMED, _RMS, ("{residual}",), "rms_norm"),
    "model.layers.{i}.input_layernorm": Value(
        ("B", "T", "E"), "what attention reads", "normed · weight", (f"{_LAYER}.input_layernorm.normed",), "rms_norm"
    ),
    "model.layers.{i}.self_attn.q_proj": Value(
        ("B", "T", "H·D"), "queries of all heads side by side", "x W_qᵀ + b", (f"{_LAYER}.input_layernorm",), "linear"
    ),
    "model.layers.{i}.self_attn.k_proj": Value(
        ("B", "T", "K·D"),
        "keys of all key/value heads side by side",
        "x W_kᵀ + b",
        (f"{_LAYER}.input_layernorm",),
        "linear",
    ),
    "model.layers.{i}.self_attn.v_proj": Value(
        ("B", "T", "K·D"),
        "values of all key/value heads side by side",
        "x W_vᵀ + b",
        (f"{_LAYER}.input_layernorm",),
        "linear",
    ),
    "model.layers.{i}.self_attn.query_rotated": Value(
        ("B", "H", "T", "D"),
        "queries turned by their positions",
        "q cos φ + rotate_half(q) sin φ",
        (f"{_LAYER}.self_attn.q_proj", "model.rotary_emb.cos", "model.rotary_emb.sin"),
        "apply_rope",
    ),
    "model.layers.{i}.self_attn.key_rotated": Value(
        ("B", "K", "T", "D"),
        "new keys turned by their positions",
        "k cos φ + rotate_half(k) sin φ",
        (f"{_LAYER}.self_attn.k_proj", "model.rotary_emb.cos", "model.rotary_emb.sin"),
        "apply_rope",
    ),
    "model.layers.{i}.self_attn.keys": Value(
        ("B", "K", "S", "D"),
        "rotated keys of past and new tokens",
        "[cached keys, key_rotated]",
        (f"{_LAYER}.self_attn.key_rotated",),
    ),
    "model.layers.{i}.self_attn.values": Value(
        ("B", "K", "S", "D"),
        "values of past and new tokens",
        "[cached values, v_proj in heads]",
        (f"{_LAYER}.self_attn.v_proj",),
    ),
    "model.layers.{i}.self_attn.scores": Value(
        ("B", "H", "T", "S"),
        "query · key / √D + mask",
        "Q Kᵀ / √D + mask",
        (f"{_LAYER}.self_attn.query_rotated", f"{_LAYER}.self_attn.keys", "model.causal_mask"),
        "attention",
    ),
    "model.layers.{i}.self_attn.weights": Value(
        ("B", "H", "T", "S"),
        "softmax of the scores",
        "exp(s) / Σ exp(s), over the keys",
        (f"{_LAYER}.self_attn.scores",),
        "softmax",
    ),
    "model.layers.{i}.self_attn.context": Value(
        ("B", "H", "T", "D"),
        "values mixed by the weights",
        "weights V",
        (f"{_LAYER}.self_attn.weights", f"{_LAYER}.self_attn.values"),
        "attention",
    ),
    "model.layers.{i}.self_attn.o_proj": Value(
        ("B", "T", "E"),
        "heads mixed back into the residual's channels",
        "[heads side by side] W_oᵀ + b",
        (f"{_LAYER}.self_attn.context",),
        "linear",
    ),
    "model.layers.{i}.self_attn": Value(
        ("B", "T", "E"), "what attention adds to the residual stream", "o_proj", (f"{_LAYER}.self_attn.o_proj",)
    ),
    "model.layers.{i}.after_attention": Value(
        ("B", "T", "E"),
        "the residual stream between attention and MLP",
        "h + self_attn",
        ("{residual}", f"{_LAYER}.self_attn"),
    ),
    "model.layers.{i}.post_attention_layernorm.normed": Value(
        ("B", "T", "E"), _NORMED, _RMS, (f"{_LAYER}.after_attention",), "rms_norm"
    ),
    "model.layers.{i}.post_attention_layernorm": Value(
        ("B", "T", "E"),
        "what the MLP reads",
        "normed · weight",
        (f"{_LAYER}.post_attention_layernorm.normed",),
        "rms_norm",
    ),
    "model.layers.{i}.mlp.gate_proj": Value(
        ("B", "T", "F"),
        "the gate, before its activation",
        "x W_gateᵀ + b",
        (f"{_LAYER}.post_attention_layernorm",),
        "linear",
    ),
    "model.layers.{i}.mlp.up_proj": Value(
        ("B", "T", "F"), "what is gated", "x W_upᵀ + b", (f"{_LAYER}.post_attention_layernorm",), "linear"
    ),
    "model.layers.{i}.mlp.act_fn": Value(
        ("B", "T", "F"), "the gate, after its activation", "silu(gate)", (f"{_LAYER}.mlp.gate_proj",), "activation"
    ),
    "model.layers.{i}.mlp.gated": Value(
        ("B", "T", "F"), "gate times up", "act_fn · up", (f"{_LAYER}.mlp.act_fn", f"{_LAYER}.mlp.up_proj"), "mlp"
    ),
    "model.layers.{i}.mlp.down_proj": Value(
        ("B", "T", "E"), "brought back to the residual's channels", "x W_downᵀ + b", (f"{_LAYER}.mlp.gated",), "linear"
    ),
    "model.layers.{i}.mlp": Value(
        ("B", "T", "E"), "what the MLP adds to the residual stream", "down_proj", (f"{_LAYER}.mlp.down_proj",)
    ),
    "model.layers.{i}": Value(
        ("B", "T", "E"),
        "the residual stream after the layer",
        "h + mlp",
        (f"{_LAYER}.after_attention", f"{_LAYER}.mlp"),
    ),
    "model.norm.normed": Value(("B", "T", "E"), _NORMED, _RMS, ("{residual}",), "rms_norm"),
    "model.norm": Value(
        ("B", "T", "E"), "the last hidden state", "normed · weight", ("model.norm.normed",), "rms_norm"
    ),
    "lm_head": Value(("B", "T", "V"), "logits", "h Wᵀ", ("model.norm",), "linear"),
}

# What other models have in place of lm_head. In LlamaForQuestionAnswering the body is `transformer`, not `model`; in a
# LlamaModel by itself it has no name.
HEAD_VALUES: dict[str, Value] = {
    "score": Value(
        ("B", "T", "N"),
        "logits of the labels, at each token (the two classification heads)",
        "h Wᵀ",
        ("model.norm",),
        "linear",
    ),
    "qa_outputs": Value(
        ("B", "T", "2"), "logits of beginning and end (question answering)", "h Wᵀ + b", ("model.norm",), "linear"
    ),
}

_ROW = {name: row for row, name in enumerate([*VALUES, *HEAD_VALUES])}
_IN_LAYERS = [row for name, row in _ROW.items() if name.startswith(_LAYER)]


def table_name(name: str) -> str:
    """The name as the table has it: "model.layers.3.mlp" is "model.layers.{i}.mlp"."""
    return re.sub(r"^model\.layers\.\d+(?=\.|$)", _LAYER, name)


def layer_of(name: str) -> int | None:
    """Which layer a value belongs to; None for one outside the layers."""
    found = re.match(r"model\.layers\.(\d+)(?=\.|$)", name)
    return None if found is None else int(found[1])


def value_named(name: str) -> Value | None:
    """The line of the table for a value; None for a name that isn't in it."""
    return {**VALUES, **HEAD_VALUES}.get(table_name(name))


def computation_order(name: str) -> tuple[int, int, int]:
    """A key to sort names by, in order of computation: before the layers, layer by layer, after them; then the rest."""
    row = _ROW.get(table_name(name))
    if row is None:
        return (3, 0, 0)
    layer = layer_of(name)
    if layer is not None:
        return (1, layer, row)
    return (0 if row < _IN_LAYERS[0] else 2, 0, row)


def values_read(name: str) -> tuple[str, ...]:
    """The names of the values that one is computed from, as the table has it, with its own layer put in.

    model.norm.normed reads the last layer, whose number the table doesn't know: "{residual}" stays.
    """
    value = value_named(name)
    if value is None:
        return ()
    layer = layer_of(name)
    if layer is None:
        return value.reads
    residual = "model.embed_tokens" if layer == 0 else f"model.layers.{layer - 1}"
    return tuple(residual if read == "{residual}" else read.replace("{i}", str(layer)) for read in value.reads)
