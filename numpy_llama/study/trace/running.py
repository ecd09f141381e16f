"""Run prompts through a model, call by call: the prompts, whole or in pieces, then one token a row at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.model.caches import DynamicCache
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.tokenizer.batch import checked_side


def padded(rows: Sequence[Sequence[int]], side: str, fill: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of ids as a batch.

    side     where shorter rows are filled up: "left" or "right"
    fill     the id that fills them up; nobody looks at it
    returns  (B, T) ids, and their mask (B, T), 1 for a token; None where all rows are of one length
    """
    longest = max(len(row) for row in rows)
    left = checked_side("padding_side", side) == "left"
    ids, mask = np.full((len(rows), longest), fill), np.zeros((len(rows), longest), np.int64)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(len(row))
        ids[i, place], mask[i, place] = row, 1
    return ids, None if mask.all() else mask


def calls_to_come(rows: int, tokens: int, steps: int, chunk: int | None) -> Iterator[tuple[int, int, int]]:
    """(B, T, S) of each call that run_prompts will make."""
    for start in range(0, tokens, chunk or tokens):
        new = min(chunk or tokens, tokens - start)
        yield rows, new, start + new
    for step in range(steps):
        yield rows, 1, tokens + step + 1


def run_prompts(
    model: LlamaForCausalLM, ids: np.ndarray, mask: np.ndarray | None, steps: int, chunk: int | None = None
) -> np.ndarray:
    """Call a model with prompts, then with the likeliest next token of each row, again and again.

    As generate does it, but that the logits of every token are computed, pieces may be asked for, and no token ends a
    row: what is to be seen are numbers.

    ids      (B, T)
    mask     (B, T), 1 for a token and 0 for padding, on either side; None where nothing is padded
    steps    calls after the prompt, of one token a row
    chunk    tokens of a call that takes in the prompt; all unless given
    returns  (B, T + steps), with the tokens that were fed
    """
    cache = DynamicCache(model.config)
    tokens = ids.shape[1]
    # The last token of each row that isn't padding: what comes after it is to be guessed.
    ends = np.full(len(ids), tokens - 1) if mask is None else tokens - 1 - mask[:, ::-1].argmax(axis=1)  # (B,)
    chosen = np.zeros(len(ids), np.int64)
    for _, new, total in calls_to_come(len(ids), tokens, 0, chunk):
        logits = _call(model, ids[:, total - new : total], mask, total, cache)  # (B, new, V)
        inside = ends - (total - new)
        here = (inside >= 0) & (inside < new)
        chosen[here] = logits[here, inside[here]].astype(np.float64).argmax(axis=-1)
    for _ in range(steps):
        ids = np.concatenate([ids, chosen[:, None]], axis=1)
        mask = None if mask is None else np.concatenate([mask, np.ones_like(mask[:, :1])], axis=1)
        chosen = _call(model, ids[:, -1:], mask, ids.shape[1], cache)[:, -1].astype(np.float64).argmax(axis=-1)
    return ids


def _call(model: LlamaForCausalLM, ids: np.ndarray, mask: np.ndarray | None, total: int, cache: KVCache) -> np.ndarray:
    """The logits of one call; positions count the tokens that aren't padding, as generate does."""
    positions = None
    if mask is not None:
        mask = mask[:, :total]
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, total - ids.shape[1] :]
    return model(ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True).logits
