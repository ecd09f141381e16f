"""The door of the model: what a caller passes is checked here, once, so that no formula behind it has to."""

import reprlib
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.model.config import LlamaConfig
from numpy_llama.precision import DTYPES, lowest

LARGEST = np.iinfo(np.int64).max
NO_ARRAY = (TypeError, ValueError, RuntimeError)  # what objects raise that can't be made arrays: tensors on a GPU, say


class Call(NamedTuple):
    """One call of LlamaModel, checked and completed.

    input_ids       (B, T) int64, or None where the caller brought embeddings
    inputs_embeds   (B, T, E), or None
    position_ids    (B or 1, T)
    attention_mask  (B, S) zeros and ones; None where nothing is padded, or scores_mask says who sees whom
    scores_mask     (B or 1, H or 1, T, S) to be added to the scores; None where the model makes its own
    boolean         whether that mask was given as booleans
    sequence_ids    (B, T): to which of several sequences packed in a row each token belongs; None where there is one
    past, new       S − T and T
    cache           the KV cache that grows, or None
    """

    input_ids: np.ndarray | None
    inputs_embeds: np.ndarray | None
    position_ids: np.ndarray
    attention_mask: np.ndarray | None
    scores_mask: np.ndarray | None
    boolean: bool
    sequence_ids: np.ndarray | None
    past: int
    new: int
    cache: KVCache | None


def checked_call(
    config: LlamaConfig,
    dtype: np.dtype,
    input_ids: Any,
    attention_mask: Any,
    position_ids: Any,
    past_key_values: Any,
    inputs_embeds: Any,
    use_cache: bool | None,
    cache_position: Any,
) -> Call:
    """Everything that LlamaModel is called with.

    raises  LlamaError naming the argument, what it must be and what it is
    """
    if (input_ids is None) == (inputs_embeds is None):
        found = "neither" if input_ids is None else "both"
        raise LlamaError("wrong arguments", where="input_ids, inputs_embeds", expected="one of the two", found=found)
    if input_ids is not None:
        input_ids = check_input_ids(input_ids, config.vocab_size)
        B, T = input_ids.shape
    else:
        inputs_embeds = check_inputs_embeds(inputs_embeds, config.hidden_size, dtype)
        B, T, _ = inputs_embeds.shape

    use_cache, cache = switch("use_cache", use_cache, config), past_key_values
    if cache is not None:
        check_cache(cache, config, dtype, B, T)
    elif use_cache:
        cache = KVCache(config.num_hidden_layers)
    past = 0 if cache is None else len(cache)
    S = past + T

    positions = check_position_ids(position_ids, B, T, past)
    check_cache_position(cache_position, past, T)
    # Without mask and cache, positions that restart are several texts in one row (Transformers' rule).
    packed = position_ids is not None and attention_mask is None and cache is None
    scores_mask, boolean = None, False
    if is_four_dimensional(attention_mask):
        shape = (B, config.num_attention_heads, T, S)
        capacity = None if cache is None else cache.max_cache_len
        boolean = np.asarray(attention_mask).dtype == bool
        attention_mask, scores_mask = None, check_scores_mask(attention_mask, shape, dtype, capacity)
    return Call(
        input_ids,
        inputs_embeds,
        positions,
        check_attention_mask(attention_mask, B, S),
        scores_mask,
        boolean,
        sequence_ids(positions) if packed else None,
        past,
        T,
        cache,
    )


def warn_past_context(last_position: int, call: Call, config: LlamaConfig) -> None:
    """warns  LlamaWarning where a text goes past what the model was trained on: once, when it crosses the border"""
    trained = config.max_position_embeddings
    if last_position >= trained and (call.past == 0 or last_position - call.new < trained):
        message = f"position {last_position} is past the {trained} tokens of context that this model was trained on"
        warnings.warn(message, LlamaWarning, stacklevel=4)


def switch(name: str, given: Any, config: LlamaConfig) -> bool:
    """What a call is to do or not to do; as the config says where it isn't given.

    raises  LlamaError where it is neither True nor False
    """
    if given is None:
        return getattr(config, name)
    if not isinstance(given, bool | np.bool_):
        raise LlamaError("wrong type", where=name, expected="True or False", found=reprlib.repr(given))
    return bool(given)


def check_input_ids(input_ids: Any, vocab_size: int) -> np.ndarray:
    """(B, T) integers in 0 … V − 1, at least one of them.

    raises  LlamaError otherwise; for an id out of range it says where it stands
    """
    if isinstance(input_ids, Mapping):
        expected = "token ids; what a tokenizer returns goes in as model(**encoding)"
        raise LlamaError("wrong type", where="input_ids", expected=expected, found=type(input_ids).__name__)
    ids = as_integers(input_ids, "input_ids")
    if ids.ndim != 2 or ids.size == 0:
        raise LlamaError(
            "wrong shape",
            where="input_ids",
            expected="(batch, tokens), with at least one token",
            found=ids.shape,
        )
    outside = (ids < 0) | (ids >= vocab_size)
    if outside.any():
        row, column = (int(i) for i in np.argwhere(outside)[0])
        raise LlamaError(
            "token id out of range",
            where=f"input_ids[{row}, {column}]",
            expected=f"0 … {vocab_size - 1}",
            found=int(ids[row, column]),
        )
    return ids.astype(np.int64, copy=False)


def check_inputs_embeds(inputs_embeds: Any, hidden_size: int, dtype: np.dtype) -> np.ndarray:
    """(B, T, E) finite numbers in the model's dtype, in place of token ids; nested lists are converted to it.

    raises  LlamaError otherwise
    """
    where = "inputs_embeds"
    expected = "(batch, tokens, hidden_size) numbers"
    embeds = as_array(inputs_embeds, where, expected)
    if not is_real(embeds):
        raise LlamaError("not an array of numbers", where=where, expected=expected, found=embeds.dtype)
    if not isinstance(inputs_embeds, np.ndarray):
        with np.errstate(over="ignore"):  # what overflows isn't finite, which is said below
            embeds = embeds.astype(dtype)
    if embeds.ndim != 3 or embeds.shape[2] != hidden_size or embeds.size == 0:
        expected = f"(batch, tokens, {hidden_size}), with at least one token"
        raise LlamaError("wrong shape", where=where, expected=expected, found=embeds.shape)
    if embeds.dtype != dtype:
        raise LlamaError("wrong dtype", where=where, expected=f"{dtype}, as the weights", found=embeds.dtype)
    finite = np.isfinite(embeds)
    if not finite.all():
        index = [int(i) for i in np.argwhere(~finite)[0]]
        found = f"{embeds[tuple(index)]} ({np.count_nonzero(~finite)} of {embeds.size} aren't)"
        raise LlamaError("not a finite number", where=f"{where}{index}", expected="finite numbers", found=found)
    return embeds


def check_cache(cache: Any, config: LlamaConfig, dtype: np.dtype, batch: int, new: int) -> None:
    """A KVCache of such a model, with so many rows and room for the new tokens, every layer as long as the last: what
    an interrupted call left over is dropped.

    raises  LlamaError where past_key_values is no KVCache, is one of a model with other layers, heads or dtype, has
            another number of rows, or is fixed and full
    """
    where = "past_key_values"
    if not isinstance(cache, KVCache):
        raise LlamaError("wrong type", where=where, expected="a KVCache", found=type(cache).__name__)
    if cache.num_hidden_layers != config.num_hidden_layers:
        raise LlamaError(
            "cache of another model",
            where=where,
            expected=f"{config.num_hidden_layers} layers",
            found=cache.num_hidden_layers,
        )
    expected = (config.num_key_value_heads, config.head_dim, dtype)
    if cache.kind not in (None, expected):
        raise LlamaError(
            "cache of another model",
            where=where,
            expected="{} heads of {} channels, {}".format(*expected),
            found="{} heads of {} channels, {}".format(*cache.kind),
        )
    if cache.batch_size not in (None, batch):
        raise LlamaError(
            "batch doesn't fit the cache", where="input_ids", expected=f"{cache.batch_size} rows", found=batch
        )
    cache.crop(len(cache))  # a call that was interrupted has grown some layers and not the others
    cache.check_room(len(cache) + new)


def check_cache_position(cache_position: Any, past: int, new: int) -> None:
    """Transformers' older way to say where the new tokens stand in the cache; they stand after the past ones.

    raises  LlamaError where it says anything else
    """
    if cache_position is None:
        return
    given = as_integers(cache_position, "cache_position")
    if given.shape != (new,) or (given != np.arange(past, past + new)).any():
        expected = f"{past} … {past + new - 1}, after the {past} cached tokens"
        found = f"{given.tolist()}" if given.size <= 16 else f"an array {given.shape}"
        raise LlamaError("doesn't match the cache", where="cache_position", expected=expected, found=found)


def check_attention_mask(attention_mask: Any, batch: int, total: int) -> np.ndarray | None:
    """(B, S) zeros and ones over cached and new tokens; None where every token is real.

    raises  LlamaError otherwise
    """
    if attention_mask is None:
        return None
    mask = as_array(attention_mask, "attention_mask", f"{(batch, total)}")
    if mask.shape != (batch, total):
        raise LlamaError(
            "wrong shape",
            where="attention_mask",
            expected=f"{(batch, total)}: batch, cached and new tokens (or 4-D: batch, heads, new, cached and new)",
            found=mask.shape,
        )
    if not is_real(mask):
        raise LlamaError("wrong dtype", where="attention_mask", expected="integers or booleans", found=mask.dtype)
    wrong = ~np.isin(mask, (0, 1))
    if wrong.any():
        raise LlamaError("wrong values", where="attention_mask", expected="0 or 1", found=mask[wrong][0])
    return None if mask.all() else mask.astype(np.int64)  # an unsigned or float mask would do other arithmetic


def is_four_dimensional(attention_mask: Any) -> bool:
    """Whether a mask says for each pair of tokens who sees whom, instead of which tokens are padding."""
    if attention_mask is None:
        return False
    return as_array(attention_mask, "attention_mask", "a rectangle of numbers").ndim == 4


def check_scores_mask(
    attention_mask: Any, shape: tuple[int, int, int, int], dtype: np.dtype, capacity: int | None
) -> np.ndarray:
    """A mask over pairs of tokens, as something to add to the scores.

    attention_mask  (B or 1, H or 1, T, S): True where a token may look, or numbers to add; −∞ counts as the dtype's
                    lowest number
    shape           (B, H, T, S)
    capacity        of a fixed cache, for which Transformers wants a mask as wide as the cache: its empty places are
                    left out here
    returns         (B or 1, H or 1, T, S), dtype `dtype`
    raises          LlamaError for another shape, for integers (0 and 1 could mean either), for NaN and +∞
    """
    where = "attention_mask"
    mask = np.asarray(attention_mask)
    B, H, T, S = shape
    if mask.shape[3] == capacity:
        mask = mask[..., :S]
    if mask.shape[0] not in (1, B) or mask.shape[1] not in (1, H) or mask.shape[2:] != (T, S):
        expected = f"({B} or 1, {H} or 1, {T}, {S}): batch, heads, new, cached and new tokens"
        raise LlamaError("wrong shape", where=where, expected=expected, found=mask.shape)
    if mask.dtype == bool:
        return np.where(mask, dtype.type(0), lowest(dtype))
    if mask.dtype not in DTYPES.values():
        expected = "booleans (True: may look), or floats to add to the scores"
        raise LlamaError("wrong dtype", where=where, expected=expected, found=mask.dtype)
    with np.errstate(over="ignore"):  # float32's lowest is −∞ in float16
        mask = mask.astype(dtype)
    if np.isnan(mask).any() or (mask == np.inf).any():
        found = f"NaN or +infinity in {dtype}"
        raise LlamaError("wrong values", where=where, expected="0, or numbers below it", found=found)
    return np.maximum(mask, lowest(dtype))


def check_position_ids(position_ids: Any, batch: int, new: int, past: int) -> np.ndarray:
    """(B, T) or (1, T) positions; those that follow the cache where none are given.

    raises  LlamaError for another shape or a negative position
    """
    if position_ids is None:
        return np.arange(past, past + new)[None]  # (1, T)
    positions = as_integers(position_ids, "position_ids").astype(np.int64, copy=False)
    if positions.ndim != 2 or positions.shape[0] not in (1, batch) or positions.shape[1] != new:
        raise LlamaError(
            "wrong shape",
            where="position_ids",
            expected=f"{(batch, new)} or {(1, new)}",
            found=positions.shape,
        )
    if positions.min() < 0:
        raise LlamaError("negative position", where="position_ids", expected="0 or more", found=int(positions.min()))
    return positions


def sequence_ids(position_ids: np.ndarray) -> np.ndarray | None:
    """Number the sequences that are packed in a row: a new one begins wherever positions don't go up by one.

        position_ids  0 1 2 0 1 0 1 2
        sequence_ids  0 0 0 1 1 2 2 2

    returns  (B or 1, T), or None where every row is one sequence
    """
    begins = np.diff(position_ids, axis=1, prepend=position_ids[:, :1] - 1) != 1  # (B, T)
    return begins.cumsum(axis=1) if begins.any() else None


def kept_positions(hidden: np.ndarray, logits_to_keep: Any) -> np.ndarray:
    """The hidden states that logits are computed of.

    hidden          (B, T, E)
    logits_to_keep  the last so many positions, 0 for all; (N,) positions, negative ones counted from the end; (B, N)
                    positions of each row; (B, T) booleans
    returns         (B, as many as are kept, E); for booleans (as many as are True, E), row after row
    raises          LlamaError where it is none of these, or a position isn't there
    """
    where, (B, T, _) = "logits_to_keep", hidden.shape
    if isinstance(logits_to_keep, int | np.integer) and not isinstance(logits_to_keep, bool):
        if logits_to_keep < 0:
            expected = "0 for all positions, or how many, or an array of positions"
            raise LlamaError("impossible value", where=where, expected=expected, found=logits_to_keep)
        return hidden[:, -int(logits_to_keep) :]
    index = as_array(logits_to_keep, where, "a rectangle of integers")
    if index.dtype == bool and index.shape == (B, T):
        return hidden[index]
    index = as_integers(index, where)
    if index.ndim not in (1, 2) or (index.ndim == 2 and len(index) != B):
        expected = f"one number, (N,) positions, ({B}, N) positions or {(B, T)} booleans"
        raise LlamaError("wrong shape", where=where, expected=expected, found=index.shape)
    outside = (index < -T) | (index >= T)
    if outside.any():
        raise LlamaError("no such position", where=where, expected=f"{-T} … {T - 1}", found=int(index[outside][0]))
    return hidden[:, index] if index.ndim == 1 else hidden[np.arange(B)[:, None], index]


def check_vocabulary(vocabulary_size: int, config: LlamaConfig, where: object) -> None:
    """Hold a tokenizer to the model it feeds.

    raises  LlamaError where the tokenizer has ids past the embedding table
    """
    if vocabulary_size > config.vocab_size:
        raise LlamaError(
            "the tokenizer doesn't fit the model",
            where=where,
            expected=f"at most {config.vocab_size} pieces (vocab_size of the config)",
            found=vocabulary_size,
        )


def as_integers(values: Any, name: str) -> np.ndarray:
    """An array of integers from an array or nested lists of them.

    raises  LlamaError for anything else: floats, strings, rows of several lengths
    """
    array = as_array(values, name, "a rectangle of integers")
    if array.dtype.kind not in "iu":
        if array.size == 0:
            return array.astype(np.int64)
        raise LlamaError("wrong dtype", where=name, expected="integers", found=array.dtype)
    if array.dtype == np.uint64 and array.size and array.max() > LARGEST:  # which would come round as a negative one
        raise LlamaError("too large", where=name, expected=f"at most {LARGEST}", found=int(array.max()))
    return array


def is_real(array: np.ndarray) -> bool:
    """Whether an array holds real numbers or booleans; no complex ones, strings, objects or dates."""
    return array.dtype.kind in "biuf" or array.dtype in DTYPES.values()


def as_array(values: Any, name: str, expected: str) -> np.ndarray:
    """An array from whatever can be made one.

    raises  LlamaError naming the argument where it can't
    """
    try:
        return np.asarray(values)
    except ValueError:
        raise LlamaError("rows of several lengths", where=name, expected=expected) from None
    except NO_ARRAY as error:
        raise LlamaError(f"can't be made an array ({error})", where=name, expected=expected) from None
