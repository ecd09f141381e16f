"""Mistakes after the head: what is returned in the place of the logits."""

from collections.abc import Callable, Iterator

import numpy as np

from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import narrow_dtypes, rounded_to, with_value
from numpy_llama.precision import widen
from numpy_llama.study.subject import Subject

Array = np.ndarray

LOGITS = "lm_head"


def other_logits(*changes: tuple[str, Callable[[Array], Array]]) -> Callable[[Subject], Variants]:
    """Plants other logits, (B, T, V), made of the right ones; a label and a function for each way to do so."""

    def plant(subject: Subject) -> Iterator[tuple[str, Subject]]:
        for label, change in changes:
            yield label, with_value(subject, LOGITS, change)

    return plant


def capped(cap: float) -> Callable[[Array], Array]:
    """cap · tanh(x / cap)"""
    return lambda logits: (cap * np.tanh(widen(logits) / cap)).astype(logits.dtype)


def log_softmax(logits: Array) -> Array:
    """x − ln Σ exp(x)"""
    wide = widen(logits)
    highest = wide.max(axis=-1, keepdims=True)
    return (wide - highest - np.log(np.exp(wide - highest).sum(axis=-1, keepdims=True))).astype(logits.dtype)


def divided_by_root_of_width(subject: Subject) -> Variants:
    """Logits divided by √E."""
    factor = subject.config.hidden_size**-0.5
    yield "", with_value(subject, LOGITS, lambda logits: (widen(logits) * factor).astype(logits.dtype))


def rounded(subject: Subject) -> Variants:
    """Logits rounded to two bytes and widened again."""
    for label, dtype in narrow_dtypes(subject):
        if next(iter(subject.weights.values())).dtype != dtype:
            yield label, with_value(subject, LOGITS, rounded_to(dtype))


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="logits-soft-capped",
        says="whose logits are soft-capped, cap · tanh(logits / cap), as Gemma 2's",
        looks_like="greedy text is right, since order is kept; large logits are too small",
        mend="no cap: Llama has none",
        wild=(f"{GITHUB}/NVIDIA-NeMo/Megatron-Bridge/pull/4645 (the other way round: Gemma without its cap)",),
        first=LOGITS,
        plant=other_logits(("at 30", capped(30.0)), ("at 50", capped(50.0))),
    ),
    Mistake(
        key="log-softmax-returned",
        says="that returns the logarithms of probabilities instead of logits",
        looks_like="text and loss are right; logits are all negative, off by one number in each row",
        mend="return what the head gives",
        wild=(f"{GITHUB}/bhanML/Co-teaching/issues/4 (taken twice, it does no harm, so nobody notices)",),
        first=LOGITS,
        plant=other_logits(("", log_softmax)),
    ),
    Mistake(
        key="probabilities-returned",
        says="that returns probabilities instead of logits",
        looks_like="greedy text is right, sampled text is nearly random: a softmax is taken twice",
        mend="return what the head gives; the sampler takes the softmax",
        wild=(f"{GITHUB}/jaehong31/CGES/issues/1", f"{GITHUB}/tflearn/tflearn/pull/562"),
        first=LOGITS,
        plant=other_logits(("", lambda logits: np.exp(widen(log_softmax(logits))).astype(logits.dtype))),
    ),
    Mistake(
        key="logits-shifted",
        says="whose logits stand one position off",
        looks_like="text is right or repeats the prompt; the loss is that of the next token but one",
        mend="logits at t are about the token at t + 1, and are returned at t; the shift belongs to the loss",
        wild=(
            f"{GITHUB}/huggingface/transformers/pull/37830 (shifted twice in a loss)",
            f"{GITHUB}/LLM360/amber-train/issues/6 (the same)",
        ),
        first=LOGITS,
        plant=other_logits(
            ("one position late", lambda logits: np.roll(logits, 1, axis=1)),
            ("one position early", lambda logits: np.roll(logits, -1, axis=1)),
        ),
        exposed_by=("several-tokens",),
    ),
    Mistake(
        key="logits-divided-by-root-of-width",
        says="whose logits are divided by √E, as T5's are where the head is tied",
        looks_like="greedy text is right, sampled text is nearly random",
        mend="no factor between the last norm and the head",
        wild=(),
        first=LOGITS,
        plant=divided_by_root_of_width,
    ),
    Mistake(
        key="logits-in-bfloat16",
        says="whose logits are rounded to two bytes",
        looks_like="equal logits where there should be none, and greedy text that leaves the path at near-ties",
        mend="keep the head's products in float32",
        wild=(
            f"{GITHUB}/sgl-project/sglang/issues/33627 (2.75 % of greedy tokens changed)",
            f"{GITHUB}/vllm-project/vllm/pull/48390",
        ),
        first=LOGITS,
        plant=rounded,
        rounding=True,
    ),
)
