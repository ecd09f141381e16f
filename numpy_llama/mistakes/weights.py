"""Mistakes of which weights are used: a head that isn't the model's, biases left behind, two tensors swapped."""

from collections.abc import Callable

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_config, with_weights
from numpy_llama.study.subject import Subject

QUERY, KEY, VALUE = (f"model.layers.{{i}}.self_attn.{part}_proj" for part in "qkv")
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def layer_names(subject: Subject, *parts: str) -> list[str]:
    """Names of tensors in every layer: layer_names(subject, "self_attn.q_proj.weight")."""
    layers = range(subject.config.num_hidden_layers)
    return [f"model.layers.{layer}.{part}" for layer in layers for part in parts]


def embedding_as_head(subject: Subject) -> Variants:
    """Uses the embedding table in lm_head's place."""
    if HEAD in subject.weights and not subject.config.tie_word_embeddings:
        yield "", with_weights(subject, {HEAD: subject.weights[TABLE]})


def head_not_tied(subject: Subject) -> Variants:
    """Uses something else than the embedding table: the file's own lm_head, or one that nobody filled."""
    if not subject.config.tie_word_embeddings:
        return
    untied = with_config(subject, tie_word_embeddings=False)
    if HEAD in subject.weights:
        yield "the lm_head of the file", untied
    yield "a head of zeros", with_weights(untied, {HEAD: np.zeros_like(subject.weights[TABLE])})


def without_biases(*projections: str) -> Callable[[Subject], Variants]:
    """Plants zeros in the place of the biases of some projections; nothing where there are none, or only zeros."""

    def plant(subject: Subject) -> Variants:
        names = layer_names(subject, *(f"{projection}.bias" for projection in projections))
        biases = {name: subject.weights[name] for name in names if name in subject.weights}
        if any(bias.any() for bias in biases.values()):
            yield "", with_weights(subject, {name: np.zeros_like(bias) for name, bias in biases.items()})

    return plant


def some_biases_left_out(subject: Subject) -> Variants:
    """Leaves out the biases of q_proj, k_proj and v_proj, or of one of them alone."""
    for label, parts in {"all three": "qkv", "q_proj": "q", "k_proj": "k", "v_proj": "v"}.items():
        for _, planted in without_biases(*(f"self_attn.{part}_proj" for part in parts))(subject):
            yield label, planted


def keys_and_values_swapped(subject: Subject) -> Variants:
    """Swaps k_proj and v_proj, which have the same shape."""
    swapped: dict[str, np.ndarray] = {}
    for kind in ("weight", "bias"):
        keys, values = (layer_names(subject, f"self_attn.{part}_proj.{kind}") for part in "kv")
        for key, value in zip(keys, values, strict=True):
            if key in subject.weights:
                swapped |= {key: subject.weights[value], value: subject.weights[key]}
    yield "", with_weights(subject, swapped)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="head-tied",
        says="whose logits come from the embedding table, though there is an lm_head",
        looks_like="every hidden state is right, the logits are noise, or repeat the token just read",
        mend="use lm_head.weight where tie_word_embeddings is false",
        wild=("https://github.com/trymirai/lalamo/pull/10 (untied heads in configs)",),
        first="lm_head",
        plant=embedding_as_head,
        exposed_by=("untied-head",),
    ),
    Mistake(
        key="tied-head-ignored",
        says="whose logits don't come from the embedding table, though the head is tied to it",
        looks_like="every hidden state is right; the logits are noise that changes from run to run, or all 0",
        mend="use model.embed_tokens.weight where tie_word_embeddings is true; the file has no lm_head, or one that "
        "doesn't count",
        wild=(
            "https://github.com/tinygrad/tinygrad/pull/13796 (Llama 3.2 1B, a head of random numbers)",
            "https://github.com/huggingface/transformers/pull/43429 (the same; Ministral)",
        ),
        first="lm_head",
        plant=head_not_tied,
        exposed_by=("tied-head",),
    ),
    Mistake(
        key="attention-bias-dropped",
        says="without the biases of attention's four projections",
        looks_like="wrong from the first queries on, though every tensor that was asked for was found",
        mend="load the biases of q_proj, k_proj, v_proj and o_proj where attention_bias is true; refuse surplus "
        "tensors",
        wild=(
            "https://github.com/vllm-project/vllm/pull/3767 (attention_bias not read)",
            "https://github.com/mlc-ai/mlc-llm/pull/3494 (neither it nor mlp_bias)",
        ),
        first=QUERY,
        plant=without_biases(*(f"self_attn.{part}_proj" for part in "qkvo")),
        exposed_by=("qkv-bias", "o-bias"),
    ),
    Mistake(
        key="qkv-bias-dropped",
        says="without biases of q_proj, k_proj or v_proj",
        looks_like="wrong from the first queries, keys or values on",
        mend="load these biases, too; Llama's attention_bias means all four projections, Qwen2's the first three",
        wild=("https://github.com/sbryngelson/ANEForge/pull/253 (Qwen2 loaded as a Llama)",),
        first=QUERY,
        plant=some_biases_left_out,
        exposed_by=("qkv-bias",),
    ),
    Mistake(
        key="o-bias-dropped",
        says="without the bias of o_proj",
        looks_like="attention is right and what it adds to the residual stream is off by the same vector at every "
        "token",
        mend="Llama's attention_bias means o_proj, too, unlike Qwen2's",
        wild=("https://github.com/mlc-ai/mlc-llm/pull/3494 (a Llama loaded as a Qwen2)",),
        first="model.layers.{i}.self_attn.o_proj",
        plant=without_biases("self_attn.o_proj"),
        exposed_by=("o-bias",),
    ),
    Mistake(
        key="mlp-bias-dropped",
        says="without the biases of the MLP",
        looks_like="attention is right in the first layer, the MLP isn't",
        mend="load the biases of gate_proj, up_proj and down_proj where mlp_bias is true",
        wild=("https://github.com/mlc-ai/mlc-llm/pull/3494 (a Llama loaded as a Qwen2)",),
        first="model.layers.{i}.mlp.gate_proj",
        plant=without_biases(*(f"mlp.{part}_proj" for part in ("gate", "up", "down"))),
        exposed_by=("mlp-bias",),
    ),
    Mistake(
        key="k-v-swapped",
        says="whose k_proj and v_proj are swapped",
        looks_like="noise from the first layer on; nothing fails, since the two have the same shape",
        mend="look at the order of names where weights are loaded, or where a fused matrix is cut",
        wild=(),
        first=KEY,
        plant=keys_and_values_swapped,
    ),
)
