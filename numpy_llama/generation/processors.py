"""The logits rules of a setting, as a list: each takes logits and the tokens so far, and returns logits.

The order is that of Transformers, and it matters: top_p after temperature keeps other tokens than before it. First come
the rules that look at the tokens so far, then (with do_sample) those that look at the distribution alone.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from numpy_llama.blocks.logits_rules import (
    add_sequence_bias,
    forbid_repeated_ngrams,
    forbid_tokens,
    force_tokens,
    keep_eta,
    keep_probable,
    keep_typical,
    log_softmax,
)
from numpy_llama.blocks.sampling_rules import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    scale_temperature,
)
from numpy_llama.errors import LlamaError
from numpy_llama.generation.settings_checks import bias_pairs
from numpy_llama.model.config import as_ids

if TYPE_CHECKING:
    from numpy_llama.generation.settings import GenerationSettings

LogitsRule = Callable[[np.ndarray, np.ndarray], np.ndarray]  # logits (B, V), ids so far (B, S) → logits (B, V)


def logits_rules(
    settings: "GenerationSettings",
    prompt: np.ndarray | None = None,
    padding: np.ndarray | None = None,
    max_length: int | None = None,
    more: Sequence[LogitsRule] = (),
) -> list[LogitsRule]:
    """What is done to the logits before a token is chosen, in Transformers' order.

    prompt      (B, T), the tokens that each row begins with
    padding     (B,), how many of them are padding on the left; None for none
    max_length  tokens at most, prompt included
    more        the caller's own, which come between the two kinds
    source      GenerationMixin._get_logits_processor of Transformers
    """
    prompt = np.zeros((1, 0), np.int64) if prompt is None else prompt
    rules = [*_of_ids(settings, prompt, padding, max_length), *more]
    if settings.do_sample:
        rules += [_without_ids(rule) for rule in _of_distribution(settings)]
    if settings.renormalize_logits:
        rules.append(_without_ids(log_softmax))
    return rules


def _of_ids(
    settings: "GenerationSettings", prompt: np.ndarray, padding: np.ndarray | None, max_length: int | None
) -> Iterator[LogitsRule]:
    """Rules that look at the tokens so far, or at how many there are."""
    T, eos = prompt.shape[1], settings.eos_token_ids

    def while_length(holds: Callable[[int], bool], rule: Callable[[np.ndarray], np.ndarray]) -> LogitsRule:
        return lambda logits, ids: rule(logits) if holds(ids.shape[1]) else logits

    if settings.sequence_bias:
        yield partial(_add_bias, biases=bias_pairs(settings.sequence_bias))
    if (penalty := settings.encoder_repetition_penalty or 1.0) != 1.0:
        yield partial(_penalize_prompt, prompt=prompt, penalty=1 / penalty)
    if (penalty := settings.repetition_penalty or 1.0) != 1.0:
        yield partial(_penalize_real, padding=padding, penalty=penalty)
    if size := settings.no_repeat_ngram_size:
        yield partial(forbid_repeated_ngrams, size=size)
    if size := settings.encoder_no_repeat_ngram_size:
        yield partial(forbid_repeated_ngrams, size=size, seen=prompt)
    if settings.bad_words_ids:
        words = [tuple(word) for word in settings.bad_words_ids]  # one that is an end token alone would leave no end
        yield partial(_add_bias, biases=[(word, -np.inf) for word in words if word not in [(i,) for i in eos]])
    shortest = settings.min_length if settings.min_new_tokens is None else T + settings.min_new_tokens
    if shortest > T and eos:
        yield while_length(lambda length: length < shortest, partial(forbid_tokens, token_ids=eos))
    if settings.forced_bos_token_id is not None:
        yield while_length(lambda length: length == 1, partial(force_tokens, token_ids=[settings.forced_bos_token_id]))
    if settings.forced_eos_token_id is not None and max_length is not None:
        forced = list(as_ids(settings.forced_eos_token_id))
        yield while_length(lambda length: length == max_length - 1, partial(force_tokens, token_ids=forced))
    if settings.remove_invalid_values:
        yield _without_ids(np.nan_to_num)
    if settings.exponential_decay_length_penalty is not None and eos:
        start, factor = settings.exponential_decay_length_penalty
        yield partial(_encourage_end, start=T + start, factor=factor, eos=list(eos))
    if settings.suppress_tokens is not None:
        yield _without_ids(partial(forbid_tokens, token_ids=settings.suppress_tokens))
    if settings.begin_suppress_tokens is not None:
        begin = T if T > 1 or settings.forced_bos_token_id is None else T + 1
        yield while_length(
            lambda length: length == begin, partial(forbid_tokens, token_ids=settings.begin_suppress_tokens)
        )


def _of_distribution(settings: "GenerationSettings") -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Rules that narrow or widen the distribution, with do_sample alone."""
    # Beams that all end would leave nothing to go on with: one token more than there are end tokens is kept.
    at_least = 1 if settings.num_beams == 1 else max(2, len(settings.eos_token_ids) + 1)
    if settings.temperature not in (None, 1.0):
        yield partial(scale_temperature, temperature=settings.temperature)
    if settings.top_k:
        yield partial(keep_top_k, top_k=settings.top_k, at_least=at_least)
    if settings.top_p is not None and settings.top_p < 1.0:
        yield partial(keep_top_p, top_p=settings.top_p, at_least=at_least)
    if settings.min_p:
        yield partial(keep_min_p, min_p=settings.min_p, at_least=at_least)
    if settings.typical_p is not None and settings.typical_p < 1.0:
        yield partial(keep_typical, typical_p=settings.typical_p, at_least=at_least)
    if settings.epsilon_cutoff is not None and 0.0 < settings.epsilon_cutoff < 1.0:
        yield partial(keep_probable, least=settings.epsilon_cutoff, at_least=at_least)
    if settings.eta_cutoff is not None and 0.0 < settings.eta_cutoff < 1.0:
        yield partial(keep_eta, eta_cutoff=settings.eta_cutoff, at_least=at_least)


def _penalize_real(logits: np.ndarray, ids: np.ndarray, padding: np.ndarray | None, penalty: float) -> np.ndarray:
    """The penalty for every token but padding on the left, whose place the row's first real token takes."""
    if padding is not None:
        first = np.take_along_axis(ids, padding[:, None], axis=1)  # (B, 1)
        ids = np.where(np.arange(ids.shape[1]) < padding[:, None], first, ids)
    return penalize_repetition(logits, ids, penalty)


def _penalize_prompt(logits: np.ndarray, ids: np.ndarray, prompt: np.ndarray, penalty: float) -> np.ndarray:
    return penalize_repetition(logits, prompt, penalty)


def _encourage_end(logits: np.ndarray, ids: np.ndarray, start: int, factor: float, eos: list[int]) -> np.ndarray:
    """After `start` tokens, end tokens become likelier with each one more: logit + |logit| · (factor^n − 1).

    source  ExponentialDecayLengthPenalty
    """
    past = ids.shape[1] - start
    if past <= 0:
        return logits
    ends = np.isin(np.arange(logits.shape[-1]), eos) & np.isfinite(logits)  # (B, V)
    return logits + np.where(ends, np.abs(logits), 0) * (factor**past - 1)


def _add_bias(logits: np.ndarray, ids: np.ndarray, biases: list[tuple[tuple[int, ...], float]]) -> np.ndarray:
    return add_sequence_bias(logits, ids, biases)


def _without_ids(rule: Callable[[np.ndarray], np.ndarray]) -> LogitsRule:
    return lambda logits, ids: rule(logits)


def check_scores(scores: np.ndarray, step: int) -> None:
    """raises  LlamaError where a row has no largest number to choose, or to measure the others by"""
    best = scores.max(axis=-1)  # (R,); NaN where any is
    if not np.isfinite(best).all():
        bad = best[~np.isfinite(best)][0]
        hint = "every token is ruled out" if bad == -np.inf else "did the weights overflow their dtype?"
        raise LlamaError(
            "no token can be chosen",
            where=f"logits of new token {step + 1}",
            expected="numbers",
            found=f"{bad} ({hint})",
        )
