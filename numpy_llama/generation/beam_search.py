"""Beam search: at each step keep the num_beams likeliest texts, instead of one.

Of each prompt there are n running beams. Every one of them can be followed by every token; of these n · V texts the
likeliest K are candidates. Those that end are put among the finished ones, scored by length; the best n of the others
run on. K is large enough that n are left if the n likeliest all end.

In numbers, a text that is out of the question has a log-probability of −1e9: as in Transformers, whose choice among
such texts would be another with −∞.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from numpy_llama.blocks.logits_rules import log_softmax
from numpy_llama.errors import LlamaError
from numpy_llama.generation.outputs import GenerateBeamDecoderOnlyOutput, Record
from numpy_llama.generation.stopping import has_ended
from numpy_llama.precision import widen

if TYPE_CHECKING:
    from numpy_llama.generation.start import Start

OUT = 1e9


@dataclass
class Beams:
    """k texts for each of B prompts, best first.

    ids      (B, k, S)
    scores   (B, k), log-probability of the new tokens; of finished texts, divided by length
    origins  (B, k, N), the row that each new token was chosen in; −1 after the end
    ended    (B, k), whether it has
    """

    ids: np.ndarray
    scores: np.ndarray
    origins: np.ndarray
    ended: np.ndarray

    def pick(self, places: np.ndarray) -> "Beams":
        """The beams at places (B, k')."""
        deep = places[:, :, None]
        return Beams(
            np.take_along_axis(self.ids, deep, axis=1),
            np.take_along_axis(self.scores, places, axis=1),
            np.take_along_axis(self.origins, deep, axis=1),
            np.take_along_axis(self.ended, places, axis=1),
        )

    def grown(self, tokens: np.ndarray | int, origins: np.ndarray | int) -> "Beams":
        """Each beam with one more token; both arguments (B, k), or a number for all."""
        return Beams(_appended(self.ids, tokens), self.scores, _appended(self.origins, origins), self.ended)

    def beside(self, others: "Beams") -> "Beams":
        """These and others of the same prompts and length."""
        pairs = ((getattr(self, name), getattr(others, name)) for name in ("ids", "scores", "origins", "ended"))
        return Beams(*(np.concatenate(pair, axis=1) for pair in pairs))


def beam_search(start: "Start") -> np.ndarray | GenerateBeamDecoderOnlyOutput:
    """The num_return_sequences best texts of each prompt.

    start    what to begin from; R = B · num_beams rows
    returns  (B · num_return_sequences, T + N), best first for each prompt, shorter ones filled at the end; or an object
             that holds this and more
    source   GenerationMixin._beam_search of Transformers
    """
    settings = start.settings
    n = settings.num_beams
    K = n * min(max(2, 1 + len(settings.eos_token_ids)), start.feed.vocab_size)
    record = Record(settings)
    running, finished = _first_beams(start)
    improvable = np.ones((len(running.ids), 1), bool)  # (B, 1), whether the finished texts may be beaten

    for length in range(1, start.limit + 1):  # of the new tokens, this step's included
        ids = running.ids.reshape(len(start.prompt), running.ids.shape[2])  # (R, S)
        output = start.feed(ids)
        logits = widen(output.logits[:, -1])  # (R, V)
        scores = log_softmax(logits)
        for rule in start.rules:
            scores = rule(scores, ids)
        record.add(scores, logits, output)

        candidates = _candidates(running, scores, K, start.generator if settings.do_sample else None)  # (B, K)
        ended = has_ended(start.stopping, candidates.ids.reshape(-1, ids.shape[1] + 1))
        candidates.ended = np.reshape(ended, (-1, K)) | (length == start.limit)
        running = _run_on(candidates, n)
        finished = _finish(finished, candidates, improvable, length, start)

        improvable = improvable & _may_be_beaten(finished, running, length, start)
        full = _stops_when_full(start) and finished.ended.all()
        if full or not improvable.any() or candidates.ended.all():
            break
        start.feed.reorder(running.origins[:, :, -1].ravel())

    count = settings.num_return_sequences
    origins = finished.origins[:, :count].reshape(-1, length)  # (B · count, N)
    longest = int((origins >= 0).sum(axis=1).max())
    sequences = finished.ids[:, :count].reshape(len(origins), -1)[:, : start.prompt.shape[1] + longest]
    if not settings.return_dict_in_generate:
        return sequences
    return GenerateBeamDecoderOnlyOutput(
        sequences,
        sequences_scores=finished.scores[:, :count].ravel() if settings.output_scores else None,
        beam_indices=origins[:, :longest],
        past_key_values=start.feed.cache,
        **record.fields(),
    )


def _first_beams(start: "Start") -> tuple[Beams, Beams]:
    """Running and finished beams before the first step. The running ones are alike, so that all but one are out."""
    n, (rows, T) = start.settings.num_beams, start.prompt.shape
    dtype = np.float64 if start.feed.dtype == np.float64 else np.float32
    scores = np.full((rows // n, n), -OUT, dtype)
    ids, nothing = start.prompt.reshape(rows // n, n, T), np.zeros((rows // n, n, 0), np.int64)
    ended = np.zeros(scores.shape, bool)
    finished = Beams(ids, scores, nothing, ended)
    return Beams(ids, np.where(np.arange(n) == 0, dtype(0), scores), nothing, ended), finished


def _candidates(running: Beams, scores: np.ndarray, K: int, generator: np.random.Generator | None) -> Beams:
    """The K likeliest texts that are one token longer, or K draws from them without replacement.

    scores     (R, V), log-probabilities of the next token after all rules
    generator  of the draws; None for the likeliest
    returns    (B, K), best first, or in the order of the draws
    """
    B, n, _ = running.ids.shape
    V = scores.shape[-1]
    totals = (running.scores[:, :, None] + scores.reshape(B, n, V)).reshape(B, n * V)
    best = totals.max(axis=1)  # (B,)
    if not np.isfinite(best).all():
        found = f"{best[~np.isfinite(best)][0]} for all tokens of all beams"
        raise LlamaError("no token can be chosen", where="log-probabilities", expected="numbers", found=found)
    # The K largest of log p + Gumbel noise are K draws without replacement (Vieira 2014).
    keys = totals if generator is None else totals + generator.gumbel(size=totals.shape)
    chosen = _best(keys, K)  # (B, K), places among n · V
    beam, tokens = chosen // V, chosen % V
    candidates = running.pick(beam).grown(tokens, beam + n * np.arange(B)[:, None])
    candidates.scores = np.take_along_axis(totals, chosen, axis=1)
    return candidates


def _run_on(candidates: Beams, n: int) -> Beams:
    """The n best candidates, those that ended last."""
    scores = np.where(candidates.ended, candidates.scores - OUT, candidates.scores)
    places = _best(scores, n)
    running = candidates.pick(places)
    running.scores = np.take_along_axis(scores, places, axis=1)
    return running


def _finish(finished: Beams, candidates: Beams, improvable: np.ndarray, length: int, start: "Start") -> Beams:
    """The n best of the finished texts and of the candidates that ended.

    improvable  (B, 1); where it is False nothing is added any more
    """
    settings = start.settings
    n, dtype = settings.num_beams, candidates.scores.dtype
    # Only the n likeliest candidates count; the others are there to run on.
    ended = candidates.ended & (np.arange(candidates.ended.shape[1]) < n)  # (B, K)
    full = finished.ended.all(axis=1, keepdims=True) & _stops_when_full(start)  # (B, 1)
    scores = candidates.scores / _length_divisor(length, start, dtype)
    for out in (full, ~improvable, ~ended):
        scores = np.where(out, scores - OUT, scores)
    # What Transformers fills with: the first eos also where the padding is token 0; −1 where there is no end token.
    fill = (settings.pad_token_id or settings.eos_token_ids[0]) if settings.eos_token_ids else -1
    both = finished.grown(fill, -1).beside(Beams(candidates.ids, scores, candidates.origins, ended))
    return both.pick(_best(both.scores, n))


def _may_be_beaten(finished: Beams, running: Beams, length: int, start: "Start") -> np.ndarray:
    """(B, 1): whether the likeliest running text, were it to end, might be better than the worst finished one.

    Its log-probability only sinks; its score may still rise with its length. "never" takes the length that would be
    best for it, everything else the length of today, which is quicker and now and then wrong.
    """
    settings = start.settings
    hopeful = settings.early_stopping == "never" and settings.length_penalty > 0
    divisor = _length_divisor(start.limit if hopeful else length, start, running.scores.dtype)
    hoped = running.scores[:, :1] / divisor  # (B, 1)
    worst = np.where(finished.ended, finished.scores.min(axis=1, keepdims=True), -OUT)  # (B, n)
    return (hoped > worst).any(axis=1, keepdims=True)


def _stops_when_full(start: "Start") -> bool:
    return start.settings.early_stopping not in (False, "never")


def _length_divisor(length: int, start: "Start", dtype: np.dtype) -> np.generic:
    """length to the power length_penalty; infinite where that is past the dtype."""
    with np.errstate(over="ignore"):
        return dtype.type(float(length) ** start.settings.length_penalty)


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Places (B, k) of the k largest scores of each row, largest first; of equal ones the first."""
    some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    some.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _appended(values: np.ndarray, last: np.ndarray | int) -> np.ndarray:
    """values (B, k, S) with one more column: (B, k), or one number."""
    column = np.broadcast_to(np.asarray(last, values.dtype), values.shape[:2])
    return np.concatenate((values, column[:, :, None]), axis=2)
