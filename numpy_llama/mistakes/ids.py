"""Mistakes before the first layer: the ids that come in, the token that begins a text, the embedding."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_observer
from numpy_llama.mistakes.positions import positions_of
from numpy_llama.mistakes.wrong_blocks import embedding as wrong
from numpy_llama.model.config import as_ids
from numpy_llama.probe import Call
from numpy_llama.study.subject import Asked, Subject

Array = np.ndarray

EMBEDDED = "model.embed_tokens"


def scaled_embedding(subject: Subject) -> Variants:
    """Multiplies the embeddings by √E."""
    yield "", with_blocks(subject, embedding=wrong.embedding_scaled)


def shifted_ids(subject: Subject) -> Variants:
    """Looks up the row after, or before, that of a token."""
    look_up = subject.blocks.embedding

    def by(step: int) -> Callable[[Array, Array], Array]:
        return lambda input_ids, weight: look_up((input_ids + step) % len(weight), weight)

    yield "one too high", with_blocks(subject, embedding=by(1))
    yield "one too low", with_blocks(subject, embedding=by(-1))


# -- the token that begins a text --------------------------------------------------------------------------------------


def begins_with_bos(subject: Subject) -> bool:
    """Whether some text of a subject begins, in each of its rows, with the token that the config names for that."""
    return any(starts is not None for _, starts in _starts_of_texts(subject))


def bos_missing(subject: Subject) -> Variants:
    """Takes the first token out of every text: its first call has a token less, and logits for one less."""
    planted = []
    for asked, starts in _starts_of_texts(subject):
        if starts is not None and not asked.past and asked.input_ids.shape[1] == 1:
            return  # nothing would be left to ask
        planted.append(asked if starts is None else _changed(asked, starts, _without, -1))
    if begins_with_bos(subject):
        yield "", replace(subject, calls=tuple(planted))


def bos_doubled(subject: Subject) -> Variants:
    """Puts one more of the token before the first of every text. The logits of the one put in are left out again."""
    texts = _starts_of_texts(subject)
    calls = [asked if starts is None else _changed(asked, starts, _doubled, +1) for asked, starts in texts]
    widths = [asked.input_ids.shape[1] for asked in subject.calls]

    def observer(name: str, value: Array, call: Call) -> Array | None:
        return value[:, -widths[call.index] :] if name == "lm_head" else None

    if begins_with_bos(subject):
        yield "", with_observer(replace(subject, calls=tuple(calls)), lambda: observer)


def _starts_of_texts(subject: Subject) -> list[tuple[Asked, Array | None]]:
    """Each call, and where in each row its text begins with the token that begins texts, (B,); None if it doesn't."""
    bos, starts, found = as_ids(subject.config.bos_token_id), None, []
    for asked in subject.calls:
        mask = asked.attention_mask
        if asked.past == 0:
            starts = np.zeros(len(asked.input_ids), int) if mask is None else (mask != 0).argmax(axis=1)
            first = asked.input_ids[np.arange(len(starts)), starts]
            starts = starts if (mask is None or mask.ndim == 2) and np.isin(first, bos).all() else None
        found.append((asked, starts))
    return found


def _changed(asked: Asked, starts: Array, change: Callable[[Array, Array], Array], more: int) -> Asked:
    """A call of a text that has one token more, or less, at the start of each row."""
    ids, mask = asked.input_ids, asked.attention_mask
    positions = np.broadcast_to(positions_of(asked), ids.shape)
    mask = None if mask is None else change(mask, starts)
    if asked.past:
        return Asked(ids, mask, np.maximum(positions + more, 0), asked.past + more)
    ids, positions = change(ids, starts), change(positions, starts)
    after = np.arange(ids.shape[1]) > starts[:, None] + min(more, 0)  # padding before the text stays where it is
    return Asked(ids, mask, positions + more * after, 0)


def _without(rows: Array, starts: Array) -> Array:
    """(B, T) → (B, T − 1): each row without what stands at its start."""
    places = np.arange(rows.shape[1] - 1)
    return np.take_along_axis(rows, places + (places >= starts[:, None]), axis=1)


def _doubled(rows: Array, starts: Array) -> Array:
    """(B, T) → (B, T + 1): each row with what stands at its start twice."""
    places = np.arange(rows.shape[1] + 1)
    return np.take_along_axis(rows, places - (places > starts[:, None]), axis=1)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="embedding-scaled",
        says="whose embeddings are multiplied by √E, as Gemma's are",
        looks_like="noise: the embedding drowns what the first layers add to it",
        mend="take the rows of the table as they are",
        wild=("https://github.com/TensorAuto/OpenTau/pull/179 (a scale for Gemma, twice)",),
        first=EMBEDDED,
        plant=scaled_embedding,
    ),
    Mistake(
        key="ids-off-by-one",
        says="whose token ids are one too high or too low",
        looks_like="noise, as fluent as the model is, about other words",
        mend="row i of the table is token i: look whether ids were counted from 1, or the table got one row more",
        wild=(),
        first=EMBEDDED,
        plant=shifted_ids,
    ),
    Mistake(
        key="bos-missing",
        says="that never got the token which begins a text",
        looks_like="far off at the first tokens, less later; the first real token takes up the attention that the "
        "missing one was trained to take",
        mend="put bos_token_id first: add_special_tokens=True, or add_bos",
        wild=(
            "https://github.com/ggml-org/llama.cpp/pull/1303 (what it costs in perplexity)",
            "https://github.com/EleutherAI/lm-evaluation-harness/pull/1465 (Gemma: a perplexity of 6e9 instead of 3.5)",
        ),
        first=EMBEDDED,
        plant=bos_missing,
        exposed_by=("several-keys", "bos"),
    ),
    Mistake(
        key="bos-doubled",
        says="that got the token which begins a text twice",
        looks_like="off by a little everywhere; answers change now and then",
        mend="add it once: a chat template has it already, and the tokenizer adds another unless told not to",
        wild=(
            "https://github.com/TransformerLensOrg/TransformerLens/issues/369 (prepended to what has it)",
            "https://github.com/ggml-org/llama.cpp/pull/7107 (chat templates that have it)",
            "https://github.com/InfiniTensor/InfiniLM/issues/388 (greedy text diverges)",
        ),
        first=EMBEDDED,
        plant=bos_doubled,
        exposed_by=("bos",),
    ),
)
