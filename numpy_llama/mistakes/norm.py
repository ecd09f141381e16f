"""Mistakes of RMSNorm's formula: its eps, its mean, its rounding."""

from collections.abc import Callable

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_config, with_value_from, with_weights
from numpy_llama.mistakes.wrong_blocks import rms_norm as wrong
from numpy_llama.precision import widen
from numpy_llama.study.subject import Subject

NORMED = "model.layers.{i}.input_layernorm.normed"
WEIGHED = "model.layers.{i}.input_layernorm"


def other_norm(function: Callable[..., np.ndarray]) -> Callable[[Subject], Variants]:
    """Plants another rms_norm."""
    return lambda subject: [("", with_blocks(subject, rms_norm=function))]


def in_two_bytes(plant: Callable[[Subject], Variants]) -> Callable[[Subject], Variants]:
    """Plants in a model of a two-byte dtype only: in a wider one the mistake is none."""
    return lambda subject: plant(subject) if next(iter(subject.weights.values())).dtype.itemsize == 2 else ()


def _with_eps(eps: float) -> Callable[[Subject], Variants]:
    def plant(subject: Subject) -> Variants:
        if subject.config.rms_norm_eps != eps:
            yield "in every norm", with_config(subject, rms_norm_eps=eps)
            yield "in input_layernorm", with_first_norms(subject, lambda x: x / np.sqrt(_mean_square(x) + eps))

    return plant


def outside_root(subject: Subject) -> Variants:
    """Adds eps to the root, in every norm or in each layer's first."""
    eps = subject.config.rms_norm_eps
    yield "in every norm", with_blocks(subject, rms_norm=wrong.norm_eps_outside_root)
    yield "in input_layernorm", with_first_norms(subject, lambda x: x / (np.sqrt(_mean_square(x)) + eps))


def with_first_norms(subject: Subject, normed: Callable[[np.ndarray], np.ndarray]) -> Subject:
    """The subject with normed(hidden states, widened) in the place of what each input_layernorm multiplies by its
    weight."""
    before = ["model.embed_tokens", *(f"model.layers.{layer}" for layer in range(subject.config.num_hidden_layers))]
    for layer, hidden in enumerate(before[:-1]):
        subject = with_value_from(
            subject,
            f"model.layers.{layer}.input_layernorm.normed",
            hidden,
            lambda value, hidden: normed(widen(hidden)).astype(value.dtype),
        )
    return subject


def _mean_square(x: np.ndarray) -> np.ndarray:
    return np.square(x).mean(axis=-1, keepdims=True)


def change_norm_weights(subject: Subject, change: Callable[[np.ndarray], np.ndarray]) -> Subject:
    """The subject with the weight of every norm changed."""
    names = [name for name in subject.weights if name.endswith("norm.weight")]
    return with_weights(subject, {name: change(subject.weights[name]) for name in names})


def _eps(eps: str, others: str, *wild: str) -> Mistake:
    return Mistake(
        key=f"eps-{eps}",
        says=f"whose norms use an eps of {eps}, whatever the config says",
        looks_like=f"off by a little, most where the residual stream is small: in the first layers; {others}",
        mend="read rms_norm_eps from the config",
        wild=wild,
        first=NORMED,
        plant=_with_eps(float(eps)),
        exposed_by=(f"eps-other-than-{eps}",),
    )


MISTAKES: tuple[Mistake, ...] = (
    _eps(
        "1e-5",
        "right for Llama 2 and 3, wrong for the first Llama",
        "https://github.com/Lightning-AI/lit-llama/pull/322 (as in the first code; its checkpoints want 1e-6)",
        "https://github.com/huggingface/candle/pull/271 (1e-5 and 1e-6 mixed up)",
    ),
    _eps(
        "1e-6",
        "right for the first Llama and the default of the config's class, wrong for Llama 2 and 3",
        "https://github.com/ggml-org/llama.cpp/pull/2374 (1e-6 for Llama 2)",
        "https://github.com/apache/tvm/pull/15856 (1e-6 in a kernel, whatever the model)",
        "https://github.com/OpenNMT/CTranslate2/pull/1357 (not read from the config)",
    ),
    _eps("1e-8", "the default of the first published RMSNorm"),
    Mistake(
        key="eps-outside-root",
        says="whose norms add eps to the root, not under it",
        looks_like="as a wrong eps: off by a little, most in the first layers, where the residual stream is small",
        mend="x / sqrt(mean(x²) + eps), not x / (sqrt(mean(x²)) + eps)",
        wild=(
            "https://github.com/allenai/OLMo/issues/281 (x / (rms + eps))",
            "https://github.com/EleutherAI/gpt-neox/pull/1342 (added to the root; not compatible with Llama)",
            "https://github.com/tile-ai/tilelang/pull/1243 (in an example)",
        ),
        first=NORMED,
        plant=outside_root,
        exposed_by=("large-eps",),
    ),
    Mistake(
        key="eps-left-out",
        says="whose norms have no eps",
        looks_like="as a wrong eps; and a vector of zeros, as the embedding of padding is, becomes NaN",
        mend="add rms_norm_eps under the root",
        wild=(),
        first=NORMED,
        plant=other_norm(wrong.norm_without_eps),
        exposed_by=("large-eps",),
    ),
    Mistake(
        key="norm-in-half",
        says="whose norms square and average in the two-byte dtype",
        looks_like="right in float32; in float16 large activations square to infinity and their rows become 0; in "
        "bfloat16 every norm is off by up to one part in 256",
        mend="widen to float32 before squaring; go back to the dtype after dividing by the root",
        wild=(
            "https://github.com/pytorch/pytorch/pull/133085 (squares overflow float16)",
            "https://github.com/meta-llama/llama/issues/1048 (what float16 does to the text)",
            "https://github.com/young-geng/EasyLM/pull/50 (a loss of 2 instead of 0.12)",
        ),
        first=NORMED,
        plant=in_two_bytes(other_norm(wrong.norm_in_two_bytes)),
        exposed_by=("half-precision",),
        rounding=True,
    ),
    Mistake(
        key="norm-rounded-after-weight",
        says="whose norms multiply by the weight in float32 and round once, after it",
        looks_like="right in float32; in a two-byte dtype last bits differ in every norm; it is the better rounding, "
        "and not the one of Llama",
        mend="round the normed vector to the dtype, then multiply by the weight, and round again",
        wild=(
            "https://github.com/huggingface/transformers/issues/24519 (an early LlamaRMSNorm)",
            "https://github.com/InternLM/lmdeploy/pull/2842 (the two orders, Llama and Gemma)",
        ),
        first=WEIGHED,
        plant=in_two_bytes(other_norm(wrong.norm_rounded_after_weight)),
        exposed_by=("half-precision",),
        rounding=True,
    ),
    Mistake(
        key="norm-layernorm",
        says="whose norms subtract the mean first, as LayerNorm does",
        looks_like="fluent at best, mostly not: wrong from the first norm on, more so where the mean is far from 0",
        mend="RMSNorm divides by the root mean square and subtracts nothing",
        wild=("https://github.com/ggml-org/llama.cpp/issues/173 (ggml_norm, which subtracts the mean)",),
        first=NORMED,
        plant=other_norm(wrong.norm_with_mean_taken_off),
    ),
    Mistake(
        key="norm-by-sum",
        says="whose norms divide by the root of the sum of squares, not of their mean",
        looks_like="every normed vector is √E times too short: attention nearly even, logits nearly flat",
        mend="take the mean over the channels; torch's F.normalize takes the sum",
        wild=(),
        first=NORMED,
        plant=other_norm(wrong.norm_by_sum),
    ),
    Mistake(
        key="norm-over-tokens",
        says="whose norms take the mean over the tokens, not over the channels",
        looks_like="a later token changes earlier logits; a token by itself gives others than it does in a text",
        mend="take the mean over the last axis",
        wild=(),
        first=NORMED,
        plant=other_norm(wrong.norm_over_tokens),
    ),
    Mistake(
        key="norm-one-plus-weight",
        says="whose norms multiply by 1 + weight, as Gemma's do",
        looks_like="noise: every norm is about twice too large where its weights are near 1",
        mend="multiply by the weight itself; only Gemma stores it less 1",
        wild=(
            "https://github.com/utensils/mold/pull/1078 (1 added to weights that had it already; Gemma)",
            "https://github.com/Blaizzy/mlx-vlm/pull/2114 (the same, in 8 of 11 conversions; Qwen)",
        ),
        first=WEIGHED,
        plant=lambda subject: [("", change_norm_weights(subject, lambda weight: weight + weight.dtype.type(1)))],
    ),
    Mistake(
        key="norm-without-weight",
        says="whose norms aren't multiplied by their weight",
        looks_like="noise in a trained model; nothing in a fresh one, whose norm weights are all 1",
        mend="load the norms' weights, and multiply by them",
        wild=(),
        first=WEIGHED,
        plant=lambda subject: [("", change_norm_weights(subject, np.ones_like))],
        exposed_by=("norm-weights",),
    ),
)
