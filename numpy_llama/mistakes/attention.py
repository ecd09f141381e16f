"""Mistakes of attention's scores: what the product of queries and keys is multiplied by, or cut off at.

Each wraps the attention that the subject already has, so that two mistakes can stand in one subject.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_value
from numpy_llama.precision import lowest, widen
from numpy_llama.study.subject import Subject

Array = np.ndarray

SCORES = "model.layers.{i}.self_attn.scores"
QUERY_ROTATED = "model.layers.{i}.self_attn.query_rotated"


def with_attention(subject: Subject, wrong: Callable[..., Array]) -> Subject:
    """The subject with another attention around its own: wrong(attend, query, key, value, mask, scaling), where
    `attend` is its own."""
    own = subject.blocks.attention

    def attention(
        query: Array,
        key: Array,
        value: Array,
        mask: Array | None = None,
        scaling: float | None = None,
        **inside: object,
    ) -> Array:
        return wrong(partial(own, **inside), query, key, value, mask, scaling)

    return with_blocks(subject, attention=attention)


def other_attention(wrong: Callable[..., Array]) -> Callable[[Subject], Variants]:
    """Plants one wrong attention."""
    return lambda subject: [("", with_attention(subject, wrong))]


def scaled_by(number: Callable[[Subject], float]) -> Callable[[Subject], Variants]:
    """Plants scores that are multiplied by another number; nothing where it is the right one."""

    def plant(subject: Subject) -> Variants:
        factor = number(subject)
        if factor != subject.config.head_dim**-0.5:
            yield "", with_attention(subject, lambda attend, q, k, v, mask, scaling: attend(q, k, v, mask, factor))

    return plant


def scaled_twice(subject: Subject) -> Variants:
    """The queries are scaled before the product, the scores after it."""
    factor = subject.config.head_dim**-0.5
    yield "", with_value(subject, "model.layers.*.self_attn.query_rotated", lambda q: q * q.dtype.type(factor))


def capped_at(cap: float) -> Callable[[Array], Array]:
    """cap · tanh(score / cap), but for what the mask hides: it is added after the cap."""

    def change(scores: Array) -> Array:
        wide = widen(scores)
        hidden = wide < 0.5 * float(lowest(scores.dtype))
        return np.where(hidden, wide, cap * np.tanh(wide / cap)).astype(scores.dtype)

    return change


def soft_capped(subject: Subject) -> Variants:
    """Scores are capped at 50, as Gemma 2's, or at 30."""
    for cap in (50.0, 30.0):
        yield f"at {cap:g}", with_value(subject, "model.layers.*.self_attn.scores", capped_at(cap))


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="scale-missing",
        says="whose attention scores aren't divided by √D",
        looks_like="attention is far too sharp: text repeats itself or breaks off, the first token's logits are right",
        mend="multiply the product of queries and keys by head_dim ** -0.5, before the mask",
        wild=(f"{GITHUB}/mlc-ai/mlc-llm/pull/3426 (a fallback attention with a scale of 1)",),
        first=SCORES,
        plant=scaled_by(lambda subject: 1.0),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="scale-by-width",
        says="whose attention scores are divided by √E, the root of hidden_size, instead of √D",
        looks_like="attention is too even; text is fluent but loses its thread",
        mend="scale by head_dim ** -0.5, not by hidden_size ** -0.5",
        wild=(
            f"{GITHUB}/FareedKhan-dev/train-llm-from-scratch/pull/3 (embedding size for head size)",
            f"{GITHUB}/Graylab/DL4Proteins-notebooks/issues/12 (the same in a course notebook)",
        ),
        first=SCORES,
        plant=scaled_by(lambda subject: subject.config.hidden_size**-0.5),
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="scale-by-head-dim",
        says="whose attention scores are divided by D instead of √D",
        looks_like="attention is nearly even; text is vague",
        mend="scale by head_dim ** -0.5: the root is missing",
        wild=(),
        first=SCORES,
        plant=scaled_by(lambda subject: 1 / subject.config.head_dim),
        exposed_by=("several-keys",),
        twins=("scale-twice",),
    ),
    Mistake(
        key="scale-of-width-over-heads",
        says="whose attention scores are divided by √(hidden_size / num_attention_heads), though head_dim is another",
        looks_like="right in every model but those that set head_dim",
        mend="read head_dim from the config; hidden_size / num_attention_heads is its default only",
        wild=(f"{GITHUB}/ggml-org/llama.cpp/pull/13951 (the same quotient, the other way round: Gemma 27B)",),
        first=SCORES,
        plant=scaled_by(lambda subject: (subject.config.hidden_size / subject.config.num_attention_heads) ** -0.5),
        exposed_by=("several-keys", "head-dim-apart"),
    ),
    Mistake(
        key="scale-twice",
        says="whose queries are divided by √D before the product and whose scores are again after it",
        looks_like="attention is nearly even; often a fused kernel that scales, called with scaled queries",
        mend="scale once: queries or scores",
        wild=(),
        first=QUERY_ROTATED,
        plant=scaled_twice,
        exposed_by=("several-keys",),
        twins=("scale-by-head-dim",),
    ),
    Mistake(
        key="scores-soft-capped",
        says="whose attention scores are soft-capped, cap · tanh(scores / cap), as Gemma 2's",
        looks_like="off by a little, most where attention is sharp; the first token is right",
        mend="no cap: Llama has none (attn_logit_softcapping belongs to Gemma 2)",
        wild=(f"{GITHUB}/vllm-project/vllm-metal/issues/665 (the other way round: Gemma 2 without its cap)",),
        first=SCORES,
        plant=soft_capped,
        exposed_by=("several-keys",),
    ),
)
