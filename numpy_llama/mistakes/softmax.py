"""Mistakes of attention's softmax: what sums to one, and in which dtype."""

from collections.abc import Callable
from functools import partial

import numpy as np

from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import narrow_dtypes, with_blocks
from numpy_llama.precision import lowest, widen
from numpy_llama.study.subject import Subject

Array = np.ndarray

WEIGHTS = "model.layers.{i}.self_attn.weights"


def other_softmax(wrong: Callable[[Callable, Array], Array]) -> Callable[[Subject], Variants]:
    """Plants wrong(softmax, scores), where `softmax` is the subject's own."""
    return lambda subject: [("", with_blocks(subject, softmax=partial(wrong, subject.blocks.softmax)))]


def over_queries(softmax: Callable, scores: Array) -> Array:
    """Columns sum to one, not rows."""
    return softmax(scores.swapaxes(-1, -2)).swapaxes(-1, -2) if scores.ndim > 1 else softmax(scores)


def over_heads(softmax: Callable, scores: Array) -> Array:
    """The weights of all heads for one key sum to one."""
    return np.moveaxis(softmax(np.moveaxis(scores, -3, -1)), -1, -3) if scores.ndim > 2 else softmax(scores)


def one_more_below(least: bool) -> Callable[[Array], Array]:
    """exp(x) / (1 + Σ exp(x)); with `least`, after the maximum was taken off, so that the one weighs as much as it."""

    def softmax(scores: Array) -> Array:
        wide = widen(scores)
        highest = wide.max(axis=-1, keepdims=True)
        exponentials = np.exp(wide - highest)
        one = 1 if least else np.exp(-highest)
        return (exponentials / (one + exponentials.sum(axis=-1, keepdims=True))).astype(scores.dtype)

    return softmax


def one_more(subject: Subject) -> Variants:
    """Softmax with 1 + Σ, in the two ways that it is written."""
    yield "", with_blocks(subject, softmax=one_more_below(False))
    yield "after the maximum was taken off", with_blocks(subject, softmax=one_more_below(True))


def rounded_at_each_step(narrow: np.dtype) -> Callable[[Array], Array]:
    """Difference, exponential, sum and quotient each rounded to a dtype."""

    def softmax(scores: Array) -> Array:
        x = np.maximum(scores, scores.dtype.type(lowest(narrow))).astype(narrow)  # a mask stays a finite number
        exponentials = np.exp(widen(x - x.max(axis=-1, keepdims=True))).astype(narrow)
        total = widen(exponentials).sum(axis=-1, keepdims=True).astype(narrow)
        return (widen(exponentials) / widen(total)).astype(narrow).astype(scores.dtype)

    return softmax


def softmax_in_half(subject: Subject) -> Variants:
    """Softmax computed in two bytes."""
    for label, dtype in narrow_dtypes(subject):
        yield label, with_blocks(subject, softmax=rounded_at_each_step(dtype))


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="softmax-over-queries",
        says="whose softmax runs over the queries instead of the keys",
        looks_like="every decode step gives each key the weight 1; prompts depend on how long they are",
        mend="softmax along the last axis of scores (B, H, T, S)",
        wild=(
            f"{GITHUB}/labmlai/annotated_deep_learning_paper_implementations/issues/146",
            f"{GITHUB}/nerdai/llms-from-scratch-rs/pull/30",
        ),
        first=WEIGHTS,
        plant=other_softmax(over_queries),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="softmax-over-heads",
        says="whose softmax runs over the heads instead of the keys",
        looks_like="tokens to come are seen, since a score that all heads mask is shared out among them",
        mend="softmax along the last axis of scores (B, H, T, S)",
        wild=(
            f"{GITHUB}/jadore801120/attention-is-all-you-need-pytorch/issues/52 (a default axis that was the first)",
        ),
        first=WEIGHTS,
        plant=other_softmax(over_heads),
    ),
    Mistake(
        key="softmax-in-half",
        says="whose softmax is computed in two bytes",
        looks_like="small differences that grow with the length of the text; NaN where scores are large in float16",
        mend="widen the scores to float32, take the softmax, round once",
        wild=(
            f"{GITHUB}/huggingface/transformers/pull/17437 (OPT: NaN in half precision)",
            f"{GITHUB}/huggingface/transformers/issues/24519 (proposed for Llama)",
        ),
        first=WEIGHTS,
        plant=softmax_in_half,
        exposed_by=("several-keys",),
        rounding=True,
    ),
    Mistake(
        key="softmax-plus-one",
        says="whose softmax has 1 + Σ in its denominator",
        looks_like="attention's weights sum to less than one; text degrades slowly",
        mend="no 1: Llama was trained with the plain softmax",
        wild=(
            f"{GITHUB}/tracel-ai/burn/issues/691 (an option for every attention)",
            f"{GITHUB}/kyegomez/AttentionIsOFFByOne/issues/5 (the two ways to write it)",
        ),
        first=WEIGHTS,
        plant=one_more,
    ),
)
