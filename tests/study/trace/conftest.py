"""What other programs would have dumped of a trace of ours: written here from what their code does, not from ours."""

from types import SimpleNamespace

import numpy as np
import pytest


def neighbours(array, head_dim):
    """(…, n·D): each head's channels as Meta and llama.cpp have them: pairs are neighbours."""
    halves = array.reshape(*array.shape[:-1], -1, 2, head_dim // 2)
    return np.ascontiguousarray(halves.swapaxes(-1, -2)).reshape(array.shape)


def as_meta(values, head_dim):
    """name → array: the outputs of the modules of Meta's reference code."""
    inside = {
        "attention_norm": "input_layernorm",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "attention": "self_attn",
        "ffn_norm": "post_attention_layernorm",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward": "mlp",
    }
    out = {"tok_embeddings": values["model.embed_tokens"], "norm": values["model.norm"], "output": values["lm_head"]}
    for layer in range(2):
        out[f"layers.{layer}"] = values[f"model.layers.{layer}"]
        for theirs, ours in inside.items():
            out[f"layers.{layer}.{theirs}"] = values[f"model.layers.{layer}.{ours}"]
        for part in "qk":
            projected = values[f"model.layers.{layer}.self_attn.{part}_proj"]
            out[f"layers.{layer}.attention.w{part}"] = neighbours(projected, head_dim)
    return out


def as_llama_cpp(values, config, places):
    """[(name, op, sources, array)]: the graph of llama.cpp without flash attention, shapes slowest axis first.

    values  of a call of one row
    places  N, how many tokens the cache has room for
    """
    D, out = config.head_dim, []

    def put(name, op, sources, array):
        out.append((name, op, sources, np.ascontiguousarray(array, np.float32)))

    def over_cache(array):  # (1, H, T, S) → (H, T, N)
        return np.pad(array[0], ((0, 0), (0, 0), (0, places - array.shape[-1])))

    put("inp_embd", "GET_ROWS", "token_embd.weight", values["model.embed_tokens"][0])
    stream = "inp_embd"
    layers = config.num_hidden_layers
    for i in range(layers):
        v = {name.removeprefix(f"model.layers.{i}."): value for name, value in values.items()}
        put(f"norm-{i}", "RMS_NORM", stream, v["input_layernorm.normed"][0])
        put(f"attn_norm-{i}", "MUL", f"norm-{i}", v["input_layernorm"][0])
        for letter in "qk":
            name = f"{letter.upper()}cur-{i}"
            projected = neighbours(v[f"self_attn.{letter}_proj"], D)[0]
            put(name, "MUL_MAT", f"blk.{i}.attn_{letter}.weight", projected - 1)  # before its bias
            put(name, "ADD", name, projected)
            put(name, "RESHAPE", name, projected.reshape(len(projected), -1, D))
        put(f"Vcur-{i}", "MUL_MAT", f"blk.{i}.attn_v.weight", v["self_attn.v_proj"][0])
        for letter, rotated in (("Q", "query_rotated"), ("K", "key_rotated")):
            put(
                f"{letter}cur-{i}",
                "ROPE",
                f"{letter}cur-{i}",
                neighbours(v[f"self_attn.{rotated}"], D)[0].swapaxes(0, 1),
            )
        keys = np.repeat(v["self_attn.keys"], config.num_attention_heads // config.num_key_value_heads, axis=1)
        put(f"kq-{i}", "MUL_MAT", f"cache_k_l{i}", over_cache(v["self_attn.query_rotated"] @ keys.swapaxes(-1, -2)))
        put(f"kq_soft_max-{i}", "SOFT_MAX", f"kq-{i}", over_cache(v["self_attn.weights"]))
        put(f"kqv-{i}", "MUL_MAT", f"cache_v_l{i}", v["self_attn.context"][0])
        joined = v["self_attn.context"][0].swapaxes(0, 1)
        put(f"kqv_out-{i}", "CONT", f"kqv-{i}", joined.reshape(len(joined), -1))
        put(f"attn_out-{i}", "ADD", f"kqv_out-{i}", v["self_attn"][0])
        last = slice(-1, None) if i == layers - 1 else slice(None)  # on from here, the last layer needs the last token
        put(f"ffn_inp-{i}", "ADD", f"attn_out-{i}", v["after_attention"][0, last])
        put(f"norm-{i}", "RMS_NORM", f"ffn_inp-{i}", v["post_attention_layernorm.normed"][0, last])
        put(f"ffn_norm-{i}", "MUL", f"norm-{i}", v["post_attention_layernorm"][0, last])
        put(f"ffn_up-{i}", "MUL_MAT", "ffn_norm", v["mlp.up_proj"][0, last] - 1)
        put(f"ffn_up_b-{i}", "ADD", f"ffn_up-{i}", v["mlp.up_proj"][0, last])
        put(f"ffn_gate-{i}", "MUL_MAT", "ffn_norm", v["mlp.gate_proj"][0, last] - 1)
        put(f"ffn_gate_b-{i}", "ADD", f"ffn_gate-{i}", v["mlp.gate_proj"][0, last])
        put(f"ffn_swiglu-{i}", "SWIGLU", f"ffn_gate_b-{i}", v["mlp.gated"][0, last])
        put(f"ffn_out-{i}", "ADD", f"ffn_down-{i}", v["mlp"][0, last])
        put(f"l_out-{i}", "ADD", f"ffn_out-{i}", values[f"model.layers.{i}"][0, last])
        stream = f"l_out-{i}"
    put("norm", "RMS_NORM", stream, values["model.norm.normed"][0, -1:])
    put("result_norm", "MUL", "norm", values["model.norm"][0, -1:])
    put("result_output", "MUL_MAT", "output.weight", values["lm_head"][0, -1:])
    return out


def eval_callback_text(tensors, newer=False):
    """The text that llama-eval-callback prints of (name, op, sources, array) tensors."""
    who, indent = ("common_debug_cb_eval", 4) if newer else ("ggml_debug", 37)
    lines = ["llama_new_context_with_model: n_ctx = 512", "", "system_info: n_threads = 4 [x]"]
    for name, op, sources, array in tensors:
        array = array.reshape((1,) * (4 - array.ndim) + array.shape)
        ne = ", ".join(str(size) for size in array.shape[::-1])
        lines.append(f"{who}: {name:>24} = (f32) {op:>10}({sources}{{64, 5, 1, 1}}, }}) = {{{ne}}}")
        for cube in array:
            lines.append(" " * indent + "[")
            for place2 in shown(len(cube), lines, " " * indent + " ..., "):
                lines.append(" " * indent + " [")
                for place1 in shown(len(cube[place2]), lines, " " * indent + "  ..., "):
                    row = cube[place2, place1]
                    parts = []
                    for place0 in shown(len(row), parts, "..."):
                        parts.append(f"{row[place0]:12.4f}")
                    lines.append(" " * indent + "  [" + ", ".join(parts) + "  ],")
                lines.append(" " * indent + " ],")
            lines += [" " * indent + "]", " " * indent + f"sum = {np.nansum(cube):f}"]
    return "\n".join(lines) + "\n"


def shown(size, into, left_out):
    """Places of an axis that are printed; where others are left out, that is noted on the way."""
    for place in range(size):
        if size > 6 and place == 3:
            into.append(left_out)
        if size <= 6 or place < 3 or place >= size - 3:
            yield place


@pytest.fixture(scope="session")
def foreign():
    """foreign.as_meta, .as_llama_cpp and .eval_callback_text, as above."""
    return SimpleNamespace(as_meta=as_meta, as_llama_cpp=as_llama_cpp, eval_callback_text=eval_callback_text)
