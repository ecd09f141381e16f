"""Mistakes of the mask: who sees whom.

Each wraps the causal_mask that the subject already has. A call of one token without padding has no mask at all, in
ours as in most ports, so these show in prompts, in chunks and where there is padding.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from numpy_llama.mistakes.attention import SCORES, with_attention
from numpy_llama.mistakes.exposures import EXPOSURES, padded_before_tokens
from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_calls
from numpy_llama.precision import lowest
from numpy_llama.study.subject import Asked, Subject

Array = np.ndarray

MASK = "model.causal_mask"


def with_mask(subject: Subject, wrong: Callable[..., Array]) -> Subject:
    """The subject with wrong(mask, new, total, dtype, attention_mask), where `mask` makes its own."""
    own = subject.blocks.causal_mask

    def causal_mask(new: int, total: int, dtype: np.dtype, attention_mask: Array | None = None) -> Array:
        return wrong(own, new, total, dtype, attention_mask)

    return with_blocks(subject, causal_mask=causal_mask)


def other_mask(wrong: Callable[..., Array]) -> Callable[[Subject], Variants]:
    """Plants one wrong mask."""
    return lambda subject: [("", with_mask(subject, wrong))]


def changed_mask(change: Callable[[Array], Array]) -> Callable[[Subject], Variants]:
    """Plants a mask that is another array made of the right one."""
    return other_mask(lambda mask, *given: change(mask(*given)))


def masked_apart(mask: Callable, new: int, total: int, dtype: np.dtype, attention_mask: Array | None) -> Array:
    """0 where there is a token, the lowest number at padding, whatever comes when."""
    if attention_mask is None:
        return np.zeros((1, 1, new, total), dtype)
    hidden = np.where(attention_mask.astype(bool), dtype.type(0), lowest(dtype))[:, None, None]  # (B, 1, 1, S)
    return np.broadcast_to(hidden, (len(hidden), 1, new, total))


def after_a_past(wrong: Callable[..., Array]) -> Callable[..., Array]:
    """The wrong mask in calls after cached tokens only."""
    return lambda mask, new, total, *given: wrong(mask, new, total, *given) if total > new else mask(new, total, *given)


def before_a_past(wrong: Callable[..., Array]) -> Callable[..., Array]:
    """The wrong mask in the first call of a text only."""
    return lambda mask, new, total, *given: mask(new, total, *given) if total > new else wrong(mask, new, total, *given)


def missing(subject: Subject) -> Variants:
    """No token is hidden from another."""
    yield "", with_mask(subject, lambda mask, *given: np.zeros_like(mask(*given)))
    if EXPOSURES["padding"].holds(subject):
        yield "but padding is masked", with_mask(subject, masked_apart)
    if EXPOSURES["chunk"].holds(subject):
        yield "after cached tokens", with_mask(subject, after_a_past(lambda mask, *given: np.zeros_like(mask(*given))))
        if EXPOSURES["padding"].holds(subject):
            yield "after cached tokens, but padding is masked", with_mask(subject, after_a_past(masked_apart))


def one_ahead(mask: Callable, new: int, total: int, dtype: np.dtype, attention_mask: Array | None) -> Array:
    """A token sees the next one."""
    visible = np.arange(total) == np.arange(total - new, total)[:, None] + 1
    seen = masked_apart(mask, new, total, dtype, attention_mask)
    return np.where(visible, seen, mask(new, total, dtype, attention_mask))


def itself_hidden(mask: Callable, new: int, total: int, dtype: np.dtype, attention_mask: Array | None) -> Array:
    """A token doesn't see itself."""
    itself = np.arange(total) == np.arange(total - new, total)[:, None]
    return np.where(itself, lowest(dtype), mask(new, total, dtype, attention_mask))


def itself(subject: Subject) -> Variants:
    """A token doesn't see itself: in calls with a mask alone, or in decode steps, too."""

    def last_hidden(
        attend: Callable, query: Array, key: Array, value: Array, mask: Array | None, scaling: float | None
    ) -> Array:
        if mask is None:
            mask = np.zeros((1, 1, 1, key.shape[2]), query.dtype)
            mask[..., -1] = lowest(query.dtype)
        return attend(query, key, value, mask, scaling)

    hidden = with_mask(subject, itself_hidden)
    yield "where there is a mask", hidden
    if EXPOSURES["decode"].holds(subject):
        yield "in decode steps, too", with_attention(hidden, last_hidden)


def from_the_first_column(mask: Callable, new: int, total: int, dtype: np.dtype, attention_mask: Array | None) -> Array:
    """Row t sees columns 0 … t, as if nothing were cached."""
    visible = np.arange(total) <= np.arange(new)[:, None]
    return np.where(visible, masked_apart(mask, new, total, dtype, attention_mask), lowest(dtype))


def without_padding(mask: Callable, new: int, total: int, dtype: np.dtype, attention_mask: Array | None) -> Array:
    """The mask of a call without padding."""
    return mask(new, total, dtype)


def padding_seen(subject: Subject) -> Variants:
    """Padding isn't hidden: in any call, in the first of a text, or in those after it."""
    hidden = [asked.past for asked in subject.calls if padded_before_tokens(asked)]
    yield "", with_mask(subject, without_padding)
    if any(past == 0 for past in hidden) and any(past > 0 for past in hidden):
        yield "in the first call", with_mask(subject, before_a_past(without_padding))
        yield "after cached tokens", with_mask(subject, after_a_past(without_padding))


def added_as_numbers(subject: Subject) -> Variants:
    """Booleans are added to the scores as 0 and 1."""
    yield "1 where it may look", with_mask(subject, lambda mask, *given: (mask(*given) == 0).astype(given[2]))
    yield "1 where it may not", with_mask(subject, lambda mask, *given: (mask(*given) != 0).astype(given[2]))


def after_softmax(subject: Subject) -> Variants:
    """Weights are set to 0 where the mask says so, after all keys have shared them."""
    softmax = subject.blocks.softmax

    def wrong(
        attend: Callable, query: Array, key: Array, value: Array, mask: Array | None, scaling: float | None
    ) -> Array:
        def cut(scores: Array) -> Array:
            weights = softmax(scores)  # what isn't hidden has 0 in its mask
            return weights if mask is None else np.where(mask > -1, weights, weights.dtype.type(0))

        return attend(query, key, value, None, scaling, softmax=cut)

    yield "", with_attention(subject, wrong)


def inverted(subject: Subject) -> Variants:
    """1 and 0 of the padding mask are exchanged."""

    def change(asked: Asked) -> Asked:
        mask = asked.attention_mask
        return asked if mask is None or mask.ndim != 2 else replace(asked, attention_mask=1 - np.asarray(mask, int))

    if any(asked.attention_mask is not None and asked.attention_mask.ndim == 2 for asked in subject.calls):
        yield "", with_calls(subject, change)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="mask-missing",
        says="whose tokens see the tokens to come",
        looks_like="a prompt's logits know its answer: the loss is too good, the generated text bad",
        mend="add the causal mask to the scores in every call of more than one token, with a cache or without",
        wild=(
            f"{GITHUB}/Mikyx-1/TinyLLM/pull/18 (no mask as soon as there was a cache: every prompt)",
            f"{GITHUB}/chelsea0x3b/llama-dfdx/pull/7 (a review asks for it)",
        ),
        first=MASK,
        plant=missing,
        exposed_by=("several-tokens",),
    ),
    Mistake(
        key="mask-shows-one-ahead",
        says="whose tokens see one token to come",
        looks_like="a prompt's logits know the next token; only the last one's are right",
        mend="hide everything above the diagonal: triu(…, diagonal=1), tril(…, diagonal=0)",
        wild=(),
        first=MASK,
        plant=other_mask(one_ahead),
        exposed_by=("several-tokens",),
    ),
    Mistake(
        key="mask-hides-itself",
        says="whose tokens don't see themselves",
        looks_like="the first token sees nothing: NaN with a mask of −∞, else an average of everything",
        mend="hide what is above the diagonal, not the diagonal: triu(…, diagonal=1)",
        wild=(f"{GITHUB}/pbloem/former/issues/10 (an offset of 0 hides the diagonal)",),
        first=MASK,
        plant=itself,
        exposed_by=("several-keys",),
    ),
    Mistake(
        key="mask-forgets-the-past",
        says="whose mask counts its rows from 0 when tokens are cached, and so hides them",
        looks_like="one call is right, several tokens after cached ones are wrong",
        mend="row t of T may see columns 0 … S − T + t: offset the diagonal by the length of the cache",
        wild=(
            f"{GITHUB}/hyprstream/hyprstream/pull/1521 (tril(0) on [new, cached + new])",
            f"{GITHUB}/pytorch/pytorch/issues/103082 (is_causal means the upper left corner)",
            f"{GITHUB}/pytorch/executorch/pull/21749",
        ),
        first=MASK,
        plant=other_mask(from_the_first_column),
        exposed_by=("masked-past",),
    ),
    Mistake(
        key="mask-minus-1e4",
        says="whose mask is −10,000 instead of the dtype's lowest number",
        looks_like="nothing at all, until scores are as large as that; dump the mask to see it",
        mend="take the dtype's lowest number, or −∞",
        wild=(f"{GITHUB}/huggingface/transformers/pull/17306", f"{GITHUB}/huggingface/transformers/issues/12109"),
        first=MASK,
        plant=changed_mask(lambda mask: np.maximum(mask, mask.dtype.type(-1e4))),
        exposed_by=("several-tokens",),
        invisible=True,
    ),
    Mistake(
        key="mask-zero-one",
        says="whose boolean mask is added to the scores as 0 and 1, and hides nothing",
        looks_like="as if there were no mask, nearly",
        mend="turn booleans into 0 and the lowest number first, or fill instead of adding",
        wild=(
            f"{GITHUB}/huggingface/transformers/pull/41443",
            f"{GITHUB}/vllm-project/speculators/pull/691",
            f"{GITHUB}/huggingface/diffusers/issues/14342",
        ),
        first=MASK,
        plant=added_as_numbers,
        exposed_by=("several-tokens",),
    ),
    Mistake(
        key="mask-after-softmax",
        says="whose mask is applied after the softmax, so that a row's weights no longer sum to one",
        looks_like="early tokens of a prompt attend to too little, the last one is right",
        mend="mask the scores, then take the softmax",
        wild=(f"{GITHUB}/lucidrains/memory-compressed-attention/issues/2",),
        first=SCORES,
        plant=after_softmax,
        exposed_by=("several-tokens",),
    ),
    Mistake(
        key="mask-of-first-row",
        says="whose first row's padding hides tokens in every row of the batch",
        looks_like="a batch of equally long texts is right, one with padding is wrong but for its first row",
        mend="give the mask its batch axis: (B, 1, T, S)",
        wild=(f"{GITHUB}/line/lighthouse/pull/77 (heads read the mask of another row)",),
        first=MASK,
        plant=changed_mask(lambda mask: mask[:1]),
        exposed_by=("batch", "padding"),
    ),
    Mistake(
        key="padding-ignored",
        says="whose padding is not masked",
        looks_like="a text by itself is right, the shorter texts of a batch are wrong",
        mend="hide padding from every token, in prompts and in every decode step",
        wild=(
            f"{GITHUB}/ml-explore/mlx-lm/issues/1906 (MiniCPM3)",
            f"{GITHUB}/turboderp/exllama/pull/101 (padding with id 0, unmasked)",
            f"{GITHUB}/TransformerLensOrg/TransformerLens/pull/999 (generate)",
            f"{GITHUB}/OpenNMT/OpenNMT-py/pull/2532 (in the first step only)",
            f"{GITHUB}/unslothai/unsloth/pull/4100",
        ),
        first=MASK,
        plant=padding_seen,
        exposed_by=("padding-before-tokens",),
    ),
    Mistake(
        key="padding-inverted",
        says="whose padding mask is upside down: 1 hides, 0 shows",
        looks_like="batches with an attention mask talk nonsense, calls without one are right",
        mend="1 is a token, 0 is padding; libraries differ (torch's key_padding_mask is the other way round)",
        wild=(
            f"{GITHUB}/lucidrains/halonet-pytorch/pull/6",
            f"{GITHUB}/mlwithme/TransformerTranslation/issues/6",
        ),
        first=MASK,
        plant=inverted,
        exposed_by=("padding",),
    ),
)
