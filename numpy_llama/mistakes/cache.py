"""Mistakes of the KV cache: what a call after cached tokens finds there. A single call without a past shows none.

Where a wrong cache would hold fewer tokens than were put in, its free places are masked in the scores, so that the
shapes of a call stay those that its masks were made for.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.mistakes.attention import SCORES
from numpy_llama.mistakes.mistake import GITHUB, Mistake, Variants
from numpy_llama.mistakes.planting import narrow_dtypes, rounded_to, with_cache_update, with_observer, with_value
from numpy_llama.model.config import LlamaConfig
from numpy_llama.precision import lowest
from numpy_llama.probe import Call, Observer
from numpy_llama.study.subject import Subject

Array = np.ndarray
PutIn = Callable[[Array | None, Array], Array]

KEYS = "model.layers.{i}.self_attn.keys"


def with_reads(subject: Subject, put_in: PutIn, *, shared: bool = False, anew: bool = False) -> Subject:
    """The subject whose cache counts its tokens rightly, and hands out something else.

    put_in  put_in(past, new): what keys, or values, are read as, (B, K, S, D), made of what was read before (None in
            the first call) and what is new; its answer is the past of the next call
    shared  the past is always that of the last layer, which comes after all others of a call
    anew    the past is what is truly cached, not what was read before
    """

    def cache(config: LlamaConfig) -> KVCache:
        made = subject.cache(config)
        own, read = made.update, dict[int, tuple[Array, Array]]()

        def update(key: Array, value: Array, layer_index: int) -> tuple[Array, Array]:
            whole = own(key, value, layer_index)
            past = read.get(config.num_hidden_layers - 1 if shared else layer_index, (None, None))
            if anew and past[0] is not None:
                past = (whole[0][:, :, : -key.shape[2]], whole[1][:, :, : -value.shape[2]])
            read[layer_index] = put_in(past[0], key), put_in(past[1], value)
            return read[layer_index]

        made.update = update  # type: ignore[method-assign]
        return made

    return replace(subject, cache=cache)


def joined(past: Array | None, new: Array) -> Array:
    """Past and new, as they should be."""
    return new if past is None else np.concatenate((past, new), axis=2)


def one_place_early(past: Array | None, new: Array) -> Array:
    """New tokens stand where the last of the past stood; the place that they should have had stays empty."""
    if past is None:
        return new
    # What an earlier call's answer ends with is its own empty place: that is written over, too.
    return np.concatenate((past[:, :, :-1], new, np.zeros_like(new[:, :, :1])), axis=2)


def newest_first(past: Array | None, new: Array) -> Array:
    """New tokens stand before the past ones."""
    return new if past is None else np.concatenate((new, past), axis=2)


def other_reads(put_in: PutIn, *, shared: bool = False) -> Callable[[Subject], Variants]:
    """Plants one wrong cache."""
    return lambda subject: [("", with_reads(subject, put_in, shared=shared))]


def rows_moved(subject: Subject) -> Variants:
    """Each row of a batch reads another row's past: in each call anew, or the rows are moved for good."""
    rows = max((len(asked.input_ids) for asked in subject.calls), default=1)
    orders = {"rows in reverse": lambda past: past[::-1], "the first row's for all": lambda past: past[:1]}
    if rows > 2:
        orders["the row before"] = lambda past: np.roll(past, 1, axis=0)
        orders["the row after"] = lambda past: np.roll(past, -1, axis=0)
    for label, order in orders.items() if rows > 1 else ():

        def put_in(past: Array | None, new: Array, order: Callable[[Array], Array] = order) -> Array:
            return joined(None if past is None else np.broadcast_to(order(past), past.shape), new)

        yield label, with_reads(subject, put_in)
        yield f"{label}, each time anew", with_reads(subject, put_in, anew=True)


def in_half(subject: Subject) -> Variants:
    """Keys and values rounded to two bytes in the cache, from which they are read: all of them, or those of the past
    alone, where a call reads its own as it made them."""
    if next(iter(subject.weights.values())).dtype.itemsize == 2:
        return
    for label, dtype in narrow_dtypes(subject):
        keys = with_value(subject, "model.layers.*.self_attn.keys", rounded_to(dtype))
        yield label, with_value(keys, "model.layers.*.self_attn.values", rounded_to(dtype))
        if any(asked.past for asked in subject.calls):
            yield f"{label}, read in later calls only", with_past_rounded(subject, dtype)


def with_past_rounded(subject: Subject, dtype: np.dtype) -> Subject:
    """The subject whose calls read their own keys and values unrounded, and those of earlier calls rounded."""
    change = rounded_to(dtype)

    def update(put: Callable[..., tuple[Array, Array]], key: Array, value: Array, layer: int) -> tuple[Array, Array]:
        past = [whole[:, :, : -key.shape[2]] for whole in put(key, value, layer)]
        return joined(change(past[0]), key), joined(change(past[1]), value)

    return with_cache_update(subject, update)


def scores_without(lost: Callable[[int], list[int]]) -> Callable[[Subject], Variants]:
    """Plants scores that are masked in some columns: lost(past) for each call after `past` tokens, and for all calls
    of the text after that one."""

    def make() -> Observer:
        gone: set[int] = set()

        def observer(name: str, value: Array, call: Call) -> Array | None:
            if not name.endswith(".self_attn.scores"):
                return None
            if call.past == 0:
                gone.clear()
                return None
            gone.update(lost(call.past))
            masked = value.copy()
            masked[..., sorted(gone)] = lowest(value.dtype)
            return masked

        return observer

    return lambda subject: [("", with_observer(subject, make))]


def overwritten(subject: Subject) -> Variants:
    """The last past token is written over: its place is the new token's, or its token is forgotten."""
    yield "the free place is read, too", with_reads(subject, one_place_early)
    for _, planted in scores_without(lambda past: [past - 1])(subject):
        yield "the free place is not read", planted


def before_rotation(subject: Subject) -> Variants:
    """Past keys are read as they were before RoPE, and not rotated any more."""
    D = subject.config.head_dim

    def make() -> Observer:
        raw: dict[str, Array] = {}  # of each layer, (B, K, S, D)

        def observer(name: str, value: Array, call: Call) -> Array | None:
            layer, _, last = name.rpartition(".")
            if last == "k_proj":
                new = value.reshape(*value.shape[:2], -1, D).swapaxes(1, 2)
                raw[layer] = joined(raw.get(layer) if call.past else None, new)
            if last != "keys" or not call.past:
                return None
            return np.concatenate((raw[layer][:, :, : call.past], value[:, :, call.past :]), axis=2)

        return observer

    yield "", with_observer(subject, make)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="cache-overwrites-last",
        says="whose new tokens are written over the last cached one",
        looks_like="prompts are right, generated text forgets the prompt's last token, or each token the one before",
        mend="write at index len(cache), counted before the call, and read len(cache) + new",
        wild=(
            f"{GITHUB}/pytorch/executorch/pull/2689 (start_pos is where the next token goes)",
            f"{GITHUB}/ggml-org/llama.cpp/pull/12161 (a position moved on wrongly)",
        ),
        first=KEYS,
        plant=overwritten,
        exposed_by=("a-past",),
    ),
    Mistake(
        key="cache-newest-first",
        says="whose new keys and values stand before the cached ones",
        looks_like="decoding is right, since order says nothing there; several tokens after cached ones are wrong",
        mend="concatenate past and new in this order",
        wild=(),
        first=KEYS,
        plant=other_reads(newest_first),
        exposed_by=("masked-past",),
    ),
    Mistake(
        key="cache-shared",
        says="whose layers all have one cache, in which each finds what the last layer left",
        looks_like="prompts are right, every generated token is nonsense",
        mend="give each layer keys and values of its own",
        wild=(),
        first=KEYS,
        plant=other_reads(joined, shared=True),
        exposed_by=("a-past", "several-layers"),
    ),
    Mistake(
        key="cache-forgotten",
        says="whose cached tokens are not seen in later calls",
        looks_like="prompts are right, generated text has nothing to do with them",
        mend="hand the cache on from call to call, and let attention read all of it",
        wild=(),
        first=SCORES,
        plant=scores_without(lambda past: list(range(past))),
        exposed_by=("a-past",),
    ),
    Mistake(
        key="cache-keys-before-rotation",
        says="whose keys are cached before RoPE, and not rotated when they are read",
        looks_like="prompts are right, generated text wanders off",
        mend="rotate keys, then cache them (or cache them first, and rotate all of them in every call)",
        wild=(f"{GITHUB}/EleutherAI/gpt-neox/pull/363 (which way round the two went was changed here)",),
        first=KEYS,
        plant=before_rotation,
        exposed_by=("a-past",),
    ),
    Mistake(
        key="cache-stale-row",
        says="whose batch rows read the cache of other rows",
        looks_like="one text is right, a batch mixes its texts up; beam search gets worse with more beams",
        mend="reorder the cache whenever rows change places (reorder_cache)",
        wild=(f"{GITHUB}/huggingface/transformers/issues/46612 (beam search skipped it for some models)",),
        first=KEYS,
        plant=rows_moved,
        exposed_by=("a-past", "batch"),
    ),
    Mistake(
        key="cache-in-half",
        says="whose keys and values are rounded to two bytes in the cache",
        looks_like="differences of a thousandth in a float32 model, in the prompt already, or from the first generated "
        "token on",
        mend="cache in the dtype of the model, as llama.cpp does with --cache-type-k f32 --cache-type-v f32",
        wild=(
            f"{GITHUB}/ggml-org/llama.cpp/issues/7859 (the cache is float16 unless told otherwise)",
            f"{GITHUB}/intel/xFasterTransformer/pull/336",
        ),
        first=KEYS,
        plant=in_half,
        rounding=True,
    ),
)
