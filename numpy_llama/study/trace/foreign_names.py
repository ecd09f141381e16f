"""What others call the values of a forward pass: one table a program.

Hugging Face's names are ours. Left-out prefixes are put back ("layers.0.mlp" is "model.layers.0.mlp"), and "logits" is
"lm_head". The tables below are for the names of the modules in Meta's reference code, and of the tensors in llama.cpp's
graph. `{i}` stands for the layer.

source  Meta: github.com/meta-llama/llama3, llama/model.py (attribute names of Transformer, TransformerBlock, Attention,
        FeedForward). llama.cpp: github.com/ggml-org/llama.cpp, src/models/llama.cpp and src/llama-graph.cpp
        (build_norm, build_qkv, build_attn_mha, build_attn, build_ffn)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from numpy_llama.study.trace.patterns import LOGITS, is_value_name


@dataclass(frozen=True)
class Foreign:
    """One line of a table.

    theirs  their name
    ours    the name of the value here; "" for one that has no counterpart and is left out
    layout  how their numbers lie: a key of layouts.LAYOUTS
    ops     llama.cpp alone: the line is for results of these operations; () is for all
    axes    llama.cpp alone: where no operation is known, the line is for arrays of so many axes, 3 with one for the
            heads; None for all, 0 for none: without the operation the name means too many things
    remark  for the documentation
    """

    theirs: str
    ours: str
    layout: str = "plain"
    ops: tuple[str, ...] = ()
    axes: int | None = None
    remark: str = ""


_LAYER = "model.layers.{i}"
_ATTENTION = f"{_LAYER}.self_attn"
_MLP = f"{_LAYER}.mlp"
_PAIRS = "each head's channels are in RoPE's other order: pairs are neighbours"

META: tuple[Foreign, ...] = (
    Foreign("tok_embeddings", "model.embed_tokens"),
    Foreign("layers.{i}.attention_norm", f"{_LAYER}.input_layernorm"),
    Foreign("layers.{i}.attention.wq", f"{_ATTENTION}.q_proj", "pairs", remark=_PAIRS),
    Foreign("layers.{i}.attention.wk", f"{_ATTENTION}.k_proj", "pairs", remark=_PAIRS),
    Foreign("layers.{i}.attention.wv", f"{_ATTENTION}.v_proj"),
    Foreign("layers.{i}.attention.wo", f"{_ATTENTION}.o_proj"),
    Foreign("layers.{i}.attention", _ATTENTION),
    Foreign("layers.{i}.ffn_norm", f"{_LAYER}.post_attention_layernorm"),
    Foreign("layers.{i}.feed_forward.w1", f"{_MLP}.gate_proj"),
    Foreign("layers.{i}.feed_forward.w3", f"{_MLP}.up_proj"),
    Foreign("layers.{i}.feed_forward.w2", f"{_MLP}.down_proj"),
    Foreign("layers.{i}.feed_forward", _MLP),
    Foreign("layers.{i}", _LAYER),
    Foreign("norm", "model.norm"),
    Foreign("output", LOGITS),
)

# Of several lines for a name, the first that fits counts; of several tensors for a value, the later line's, and of
# those of one name the later one: where there is a bias, the sum; of the same numbers, what a text shows more of.
LLAMA_CPP: tuple[Foreign, ...] = (
    Foreign("inp_embd", "model.embed_tokens"),
    Foreign("embd", "model.embed_tokens"),
    Foreign("norm-{i}", f"{_LAYER}.post_attention_layernorm.normed", ops=("RMS_NORM of ffn_inp",), axes=0,
            remark="the second of a layer"),
    Foreign("norm-{i}", f"{_LAYER}.input_layernorm.normed", ops=("RMS_NORM",), axes=0, remark="the first of a layer"),
    Foreign("attn_norm-{i}", f"{_LAYER}.input_layernorm"),
    Foreign("Qcur-{i}", f"{_ATTENTION}.q_proj", "pairs", ("MUL_MAT", "ADD", "RESHAPE"), 2, "before RoPE; " + _PAIRS),
    Foreign("Kcur-{i}", f"{_ATTENTION}.k_proj", "pairs", ("MUL_MAT", "ADD", "RESHAPE"), 2, "before RoPE; " + _PAIRS),
    Foreign("Vcur-{i}", f"{_ATTENTION}.v_proj", "side by side"),
    Foreign("Qcur-{i}", f"{_ATTENTION}.query_rotated", "pairs by head", ("ROPE",), 3, _PAIRS),
    Foreign("Kcur-{i}", f"{_ATTENTION}.key_rotated", "pairs by head", ("ROPE",), 3, _PAIRS),
    Foreign("kq-{i}", f"{_ATTENTION}.scores", "products", remark="not yet divided by √D, nor masked: compared where "
            "the causal mask lets look; the cache's empty places are cut off"),
    Foreign("kq_soft_max_ext-{i}", f"{_ATTENTION}.weights", "over cache", remark="empty places are cut off"),
    Foreign("kq_soft_max-{i}", f"{_ATTENTION}.weights", "over cache", remark="empty places are cut off"),
    Foreign("kqv_merged_cont-{i}", f"{_ATTENTION}.context", "joined heads"),
    Foreign("kqv_out-{i}", f"{_ATTENTION}.context", "joined heads", ("CONT", "RESHAPE"), 0,
            "since 2025; it was the next line's before"),
    Foreign("kqv_out-{i}", _ATTENTION, ops=("MUL_MAT", "ADD"), axes=0, remark="until 2025"),
    Foreign("kqv-{i}", f"{_ATTENTION}.context"),
    Foreign("attn_out-{i}", _ATTENTION),
    Foreign("ffn_inp-{i}", f"{_LAYER}.after_attention"),
    Foreign("ffn_norm-{i}", f"{_LAYER}.post_attention_layernorm"),
    Foreign("ffn_gate-{i}", f"{_MLP}.gate_proj"),
    Foreign("ffn_gate_b-{i}", f"{_MLP}.gate_proj", remark="with its bias"),
    Foreign("ffn_up-{i}", f"{_MLP}.up_proj"),
    Foreign("ffn_up_b-{i}", f"{_MLP}.up_proj", remark="with its bias"),
    Foreign("ffn_silu-{i}", f"{_MLP}.act_fn"),
    Foreign("ffn_gelu-{i}", f"{_MLP}.act_fn"),
    Foreign("ffn_relu-{i}", f"{_MLP}.act_fn"),
    Foreign("ffn_gate_par-{i}", f"{_MLP}.gated"),
    Foreign("ffn_swiglu-{i}", f"{_MLP}.gated"),
    Foreign("ffn_geglu-{i}", f"{_MLP}.gated"),
    Foreign("ffn_reglu-{i}", f"{_MLP}.gated"),
    Foreign("ffn_out-{i}", "", ops=("ADD of ffn_inp",), axes=0, remark="the residual, where l_out takes its place"),
    Foreign("ffn_out-{i}", _MLP, ops=("MUL_MAT", "ADD")),
    Foreign("l_out-{i}", _LAYER),
    Foreign("norm", "model.norm.normed"),
    Foreign("result_norm", "model.norm"),
    Foreign("result_output", LOGITS),
)  # fmt: skip

_PREFIXES = ("model.", "transformer.")  # what a LlamaModel alone, and LlamaForQuestionAnswering, have differently


def own_name(theirs: str) -> str | None:
    """A name of Hugging Face's module tree, with or without its prefix, as ours; None for any other."""
    if theirs == "logits":
        return LOGITS
    for name in (theirs, f"model.{theirs}", theirs.replace("transformer.", "model.", 1)):
        if is_value_name(name):
            return name
    return None


def meta_line(theirs: str) -> Foreign | None:
    """The line of Meta's table for a name, with the layer put into `ours`; None where there is none."""
    found = re.fullmatch(r"layers\.(\d+)((?:\..*)?)", theirs)
    table = theirs if found is None else "layers.{i}" + found[2]
    return _with_layer(next((line for line in META if line.theirs == table), None), found)


def llama_cpp_line(theirs: str, by_head: bool, op: str = "", sources: str = "") -> Foreign | None:
    """The line of llama.cpp's table for a tensor, with the layer put into `ours`; None where there is none.

    by_head  whether it has an axis for the heads, (T, H, D)
    op       the operation that made it, "MUL_MAT"; "" where only the name is known
    sources  the names of its operands, as llama-eval-callback prints them
    """
    table, axes = _in_table(theirs), 3 if by_head else 2
    for line in LLAMA_CPP:
        fits = _made_by(line, op, sources) if op else line.axes in (None, axes)
        if line.theirs == table and fits:
            return _with_layer(line, re.search(r"(\d+)$", theirs))
    return None


def in_llama_cpp(theirs: str) -> bool:
    """Whether llama.cpp's table has a name at all."""
    return any(line.theirs == _in_table(theirs) for line in LLAMA_CPP)


def rank(line: Foreign) -> int:
    """The place of a line's name in llama.cpp's table."""
    return max((place for place, each in enumerate(LLAMA_CPP) if each.theirs == line.theirs), default=-1)


def _in_table(theirs: str) -> str:
    return re.sub(r"-\d+$", "-{i}", theirs)


def _made_by(line: Foreign, op: str, sources: str) -> bool:
    return not line.ops or any(op == made or (made == f"{op} of ffn_inp" and "ffn_inp" in sources) for made in line.ops)


def _with_layer(line: Foreign | None, found: "re.Match[str] | None") -> Foreign | None:
    if line is None or found is None:
        return line
    return replace(line, ours=line.ours.replace("{i}", str(int(found[1]))))


def program_of(names: Iterable[str]) -> str:
    """Whose names these are: "llama.cpp", "Meta" or "" (ours, or nobody's)."""
    names = list(names)
    if any(in_llama_cpp(name) for name in names if name != "norm"):
        return "llama.cpp"
    only_meta = [line.theirs for line in META if line.theirs not in ("norm", "output", "layers.{i}")]
    if any((line := meta_line(name)) is not None and line.theirs in only_meta for name in names):
        return "Meta"
    return ""
