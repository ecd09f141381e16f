"""Mistakes of the order of a weight's rows and columns: permuted for RoPE, transposed, a fused matrix cut wrong."""

from collections.abc import Callable

import numpy as np

from numpy_llama.checkpoints.rope_layout import halves_from_neighbours, neighbours_from_halves
from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_weights
from numpy_llama.mistakes.weights import KEY, QUERY, layer_names
from numpy_llama.study.subject import Subject

Array = np.ndarray
Permute = Callable[[Array, int], Array]  # rows (heads · D, …), heads → rows in another order

PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj") + (
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def with_rows(
    subject: Subject, permute: Permute, parts: str = "qk", kinds: tuple[str, ...] = ("weight", "bias")
) -> Subject:
    """The subject with the rows of q_proj, k_proj or both, and their biases, in another order in every head."""
    heads = {"q": subject.config.num_attention_heads, "k": subject.config.num_key_value_heads}
    changed = {
        name: permute(subject.weights[name], heads[part])
        for part in parts
        for kind in kinds
        for name in layer_names(subject, f"self_attn.{part}_proj.{kind}")
        if name in subject.weights
    }
    return with_weights(subject, changed)


def keys_permuted_alone(subject: Subject) -> Variants:
    """Permutes the rows of k_proj in one direction or the other, and leaves q_proj; or back by another number of heads
    than there, by that of q_proj."""
    yield "neighbours, read as halves", with_rows(subject, neighbours_from_halves, "k")
    yield "halves, taken for neighbours", with_rows(subject, halves_from_neighbours, "k")
    H, K = subject.config.num_attention_heads, subject.config.num_key_value_heads
    if K < H and K * subject.config.head_dim % (2 * H) == 0:
        there_and_back = lambda rows, heads: halves_from_neighbours(neighbours_from_halves(rows, heads), H)  # noqa: E731
        yield "brought back by the number of query heads", with_rows(subject, there_and_back, "k")
        back_and_there = lambda rows, heads: halves_from_neighbours(neighbours_from_halves(rows, H), heads)  # noqa: E731
        yield "brought there by the number of query heads", with_rows(subject, back_and_there, "k")


def biases_left_unpermuted(subject: Subject) -> Variants:
    """Leaves the biases of q_proj and k_proj in an order that the weights' rows have been taken out of."""
    names = layer_names(subject, "self_attn.q_proj.bias", "self_attn.k_proj.bias")
    if any(name in subject.weights and subject.weights[name].any() for name in names):
        yield "neighbours, read as halves", with_rows(subject, neighbours_from_halves, kinds=("bias",))
        yield "halves, taken for neighbours", with_rows(subject, halves_from_neighbours, kinds=("bias",))


def query_heads_reordered(subject: Subject) -> Variants:
    """Takes query heads as if those of a group stood K apart, and not side by side; o_proj stays as it is."""
    H, K = subject.config.num_attention_heads, subject.config.num_key_value_heads
    if not 1 < K < H:
        return

    def regroup(rows: Array, heads: int) -> Array:
        apart = rows.reshape(K, H // K, -1, *rows.shape[1:])
        return apart.swapaxes(0, 1).reshape(rows.shape)

    yield "", with_rows(subject, regroup, "q")


def transposed(subject: Subject) -> Variants:
    """Reads matrices as (in_features, out_features), one projection in all layers or all of them."""

    def as_stored_the_other_way(names: list[str]) -> Subject:
        matrices = {name: subject.weights[name] for name in names}
        return with_weights(subject, {name: w.reshape(w.shape[::-1]).T for name, w in matrices.items()})

    yield "all", as_stored_the_other_way(layer_names(subject, *(f"{name}.weight" for name in PROJECTIONS)))
    for projection in PROJECTIONS:
        yield projection.rpartition(".")[2], as_stored_the_other_way(layer_names(subject, f"{projection}.weight"))


def fused_qkv_cut_wrong(subject: Subject) -> Variants:
    """Cuts the fused matrix [q; k; v] in another way than it was put together."""
    config = subject.config
    H, K, D = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def in_groups(q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        """As if each key/value head stood behind the query heads that read it."""
        heads = np.concatenate((q, k, v)).reshape(K, H // K + 2, D, *q.shape[1:])
        return tuple(part.reshape(-1, *q.shape[1:]) for part in np.split(heads, (H // K, H // K + 1), axis=1))

    def from_groups(q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        """As if all queries stood in front, where each key/value head stands behind the query heads that read it."""
        heads = [part.reshape(K, -1, *part.shape[1:]) for part in (q, k, v)]
        fused = np.concatenate(heads, axis=1).reshape(-1, *q.shape[1:])
        return tuple(np.split(fused, (len(q), len(q) + len(k))))

    def keys_first(q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        """As if the order were k, q, v."""
        k, q, v = np.split(np.concatenate((q, k, v)), np.cumsum((len(k), len(q))))
        return q, k, v

    def queries_last(q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        """As if the order were k, v, q."""
        k, v, q = np.split(np.concatenate((q, k, v)), np.cumsum((len(k), len(v))))
        return q, k, v

    cuts = {
        "by groups of heads": in_groups,
        "groups of heads, cut as q, k, v": from_groups,
        "as k, q, v": keys_first,
        "as k, v, q": queries_last,
    }
    for label, cut in cuts.items():
        yield label, _cut_again(subject, [f"self_attn.{part}_proj" for part in "qkv"], cut)


def fused_gate_up_cut_wrong(subject: Subject) -> Variants:
    """Takes even rows of the fused matrix [gate; up] for the gate, odd ones for up."""

    def every_other(gate: Array, up: Array) -> tuple[Array, ...]:
        fused = np.concatenate((gate, up))
        return fused[::2], fused[1::2]

    yield "", _cut_again(subject, ["mlp.gate_proj", "mlp.up_proj"], every_other)


def _cut_again(subject: Subject, projections: list[str], cut: Callable[..., tuple[Array, ...]]) -> Subject:
    changed: dict[str, Array] = {}
    for layer in range(subject.config.num_hidden_layers):
        for kind in ("weight", "bias"):
            names = [f"model.layers.{layer}.{projection}.{kind}" for projection in projections]
            if names[0] in subject.weights:
                changed |= zip(names, cut(*(subject.weights[name] for name in names)), strict=True)
    return with_weights(subject, changed)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="qk-rows-permuted",
        says="whose rows of q_proj and k_proj stand as neighbours, though its RoPE pairs halves",
        looks_like="the first token is right; text turns to fluent nonsense as it grows",
        mend="bring the rows of Meta's, llama2.c's and GGUF's files into the order of halves when you load them",
        wild=("https://github.com/rasbt/LLMs-from-scratch/pull/747 (Meta's files, RoPE in halves)",),
        first=QUERY,
        plant=lambda subject: [("", with_rows(subject, neighbours_from_halves))],
        exposed_by=("several-keys", "several-pairs"),
    ),
    Mistake(
        key="qk-rows-unpermuted",
        says="whose rows of q_proj and k_proj were brought from neighbours to halves once too often",
        looks_like="the first token is right; text turns to fluent nonsense as it grows",
        mend="a Hugging Face checkpoint has its rows in halves already: load them as they are",
        wild=("https://github.com/karpathy/llama2.c/pull/286 (gibberish after some 20 tokens)",),
        first=QUERY,
        plant=lambda subject: [("", with_rows(subject, halves_from_neighbours))],
        exposed_by=("several-keys", "several-pairs"),
        twins=("rope-interleaved",),
    ),
    Mistake(
        key="k-rows-permuted",
        says="whose rows of k_proj are in another order of pairs than those of q_proj",
        looks_like="wrong from the second token on: channels of queries meet others of keys",
        mend="permute both or neither; k_proj has num_key_value_heads heads, not num_attention_heads",
        wild=(
            "https://github.com/huggingface/transformers/pull/31788 (k_proj by the number of query heads)",
            "https://github.com/ggml-org/llama.cpp/pull/3364 (the same; right by chance where H = K²)",
            "https://github.com/Dao-AILab/flash-attention/pull/546 (the same)",
        ),
        first=KEY,
        plant=keys_permuted_alone,
        exposed_by=("several-keys", "several-pairs"),
    ),
    Mistake(
        key="qk-bias-unpermuted",
        says="whose biases of q_proj and k_proj weren't permuted together with the rows of their weights",
        looks_like="as permuted rows, but weaker, and only in a model that has these biases",
        mend="a bias belongs to its rows: permute the two alike",
        wild=("https://github.com/vllm-project/vllm/pull/55335 (caught in a review)",),
        first=QUERY,
        plant=biases_left_unpermuted,
        exposed_by=("several-keys", "several-pairs", "qkv-bias"),
    ),
    Mistake(
        key="q-heads-permuted",
        says="whose query heads stand in another order than o_proj and the key/value heads have them",
        looks_like="noise from the first layer on in a model with grouped heads; others are right",
        mend="heads 0 … G − 1 share key/value head 0: reshape to (K, G, D), not to (G, K, D)",
        wild=("https://github.com/nntile/nntile/pull/347 (o_proj in the order (G, K); caught in a review)",),
        first=QUERY,
        plant=query_heads_reordered,
        exposed_by=("several-keys", "grouped-heads"),
    ),
    Mistake(
        key="weights-transposed",
        says="whose matrices are read as (in_features, out_features)",
        looks_like="noise from that projection on; nothing fails where a matrix is square, or is reshaped until it "
        "fits",
        mend="checkpoints hold (out_features, in_features): y = x Wᵀ; TensorFlow's, JAX's and GPT-2's hold the other",
        wild=(
            "https://github.com/huggingface/transformers/issues/47031 (square matrices, told apart by shape)",
            "https://github.com/NVIDIA-NeMo/Megatron-Bridge/pull/3162 (down_proj)",
            "https://github.com/huggingface/candle/pull/321 (llama2.c)",
        ),
        first=QUERY,
        plant=transposed,
    ),
    Mistake(
        key="qkv-split-wrong",
        says="whose fused query, key and value matrix was cut in another way than it was put together",
        looks_like="noise from the first layer on; every shape fits",
        mend="find out the order of the rows: all q, all k, all v; or group by group, as in InternLM2 and Falcon",
        wild=(
            "https://github.com/epfLLM/Megatron-LLM/pull/45 (groups of heads)",
            "https://github.com/vllm-project/vllm/issues/13686 (into thirds)",
            "https://github.com/NVIDIA-NeMo/RL/pull/2802 (put together head by head, read group by group)",
        ),
        first=QUERY,
        plant=fused_qkv_cut_wrong,
    ),
    Mistake(
        key="gate-up-interleaved",
        says="whose fused gate and up matrix was cut row by row in turn",
        looks_like="attention is right in the first layer, the MLP is noise",
        mend="the first F rows are the gate, the next F are up, unless whoever fused them says otherwise",
        wild=("https://github.com/Dao-AILab/sonic-moe/pull/47 (the two layouts side by side)",),
        first="model.layers.{i}.mlp.gate_proj",
        plant=fused_gate_up_cut_wrong,
    ),
)
