"""Mistakes of the norms' places: one missing, one twice, two swapped."""

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_value, with_value_from, with_weights
from numpy_llama.precision import widen
from numpy_llama.study.subject import Subject


def without_final_norm(subject: Subject) -> Variants:
    """Hands the last layer's output to the head as it is."""
    last = f"model.layers.{subject.config.num_hidden_layers - 1}"
    yield "", with_value_from(subject, "model.norm", last, lambda normed, hidden: hidden)


def final_norm_twice(subject: Subject) -> Variants:
    """Norms what is normed already."""
    weight, eps = subject.weights["model.norm.weight"], subject.config.rms_norm_eps

    def norm_again(hidden: np.ndarray) -> np.ndarray:  # as rms_norm, which would name its inner value once more
        wide = widen(hidden)
        normed = wide / np.sqrt(np.square(wide).mean(axis=-1, keepdims=True) + float(eps))
        return weight * normed.astype(hidden.dtype)

    yield "", with_value(subject, "model.norm", norm_again)


def norms_swapped(subject: Subject) -> Variants:
    """Swaps the weights of the two norms of every layer."""
    swapped: dict[str, np.ndarray] = {}
    for layer in range(subject.config.num_hidden_layers):
        first, second = (f"model.layers.{layer}.{norm}_layernorm.weight" for norm in ("input", "post_attention"))
        swapped |= {first: subject.weights[second], second: subject.weights[first]}
    yield "", with_weights(subject, swapped)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="final-norm-missing",
        says="without the norm after the last layer",
        looks_like="every layer is right and the logits are far too large or too small, often with the right winner",
        mend="put model.norm between the last layer and lm_head",
        wild=(
            "https://github.com/vllm-project/speculators/pull/313 (hidden states taken before the norm)",
            "https://github.com/NVIDIA/Model-Optimizer/pull/1846 (the same, elsewhere)",
        ),
        first="model.norm",
        plant=without_final_norm,
    ),
    Mistake(
        key="final-norm-twice",
        says="whose norm after the last layer is applied twice",
        looks_like="every layer is right; the logits have nearly the right size, and other winners",
        mend="apply model.norm once; in Transformers the last of `hidden_states` is normed already",
        wild=(
            "https://github.com/ggml-org/llama.cpp/pull/1925 (a second norm that nobody saw)",
            "https://github.com/waybarrios/vllm-mlx/issues/657 (hidden states that were normed already)",
        ),
        first="model.norm",
        plant=final_norm_twice,
        exposed_by=("norm-changes-normed",),
    ),
    Mistake(
        key="norms-swapped",
        says="whose two norms in each layer have each other's weights",
        looks_like="wrong from the first norm on, though nothing is missing and every shape fits",
        mend="input_layernorm stands before attention (Meta: attention_norm, GGUF: attn_norm), "
        "post_attention_layernorm before the MLP (ffn_norm)",
        wild=(
            "https://github.com/pytorch/torchtitan/issues/1454 (ffn_norm and attention_norm exchanged in a conversion)",
        ),
        first="model.layers.{i}.input_layernorm",
        plant=norms_swapped,
        exposed_by=("norm-weights",),
    ),
)
