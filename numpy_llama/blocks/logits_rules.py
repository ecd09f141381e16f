"""Rules over logits beside those of sampler.py: what may not come next, what would be a repetition, what is untypical.

Each takes (B, V) logits, float32 or float64, and returns as many of the same dtype, −∞ where a token is ruled out.
"""

from collections.abc import Sequence

import numpy as np

from numpy_llama.blocks.softmax import softmax


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities: the same choice, and numbers that add up to the log-probability of a text.

        x[i] − max(x) − log Σ_j exp(x[j] − max(x))

    source   torch.nn.functional.log_softmax; LogitNormalization
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def entropy(log_probabilities: np.ndarray) -> np.ndarray:
    """How undecided each row is: −Σ p log p, where a token without probability adds nothing.

    log_probabilities  (B, V)
    returns            (B, 1), nats
    """
    probabilities = np.exp(log_probabilities)
    surprise = np.where(probabilities > 0, log_probabilities, 0)
    return -(probabilities * surprise).sum(axis=-1, keepdims=True)


def keep_typical(logits: np.ndarray, typical_p: float, at_least: int = 1) -> np.ndarray:
    """Keep the tokens whose surprise is nearest to what the distribution leads one to expect, with typical_p of it.

        |−log p[i] − entropy|, smallest first, until the probabilities sum to typical_p

    source   Meister et al. 2022 (locally typical sampling); TypicalLogitsWarper
    """
    log_probabilities = log_softmax(logits)
    distance = np.abs(-log_probabilities - entropy(log_probabilities))  # (B, V)
    order = distance.argsort(axis=-1, kind="stable")  # most typical first
    sums = softmax(np.take_along_axis(logits, order, axis=-1)).cumsum(axis=-1, dtype=np.float64)
    needed = (sums.astype(logits.dtype) < typical_p).sum(axis=-1, keepdims=True)  # (B, 1)
    last = np.take_along_axis(order, np.minimum(needed, logits.shape[-1] - 1), axis=-1)
    removed = distance > np.take_along_axis(distance, last, axis=-1)  # what is as typical as the last one stays
    np.put_along_axis(removed, order[:, :at_least], False, axis=-1)
    return _ruled_out(logits, removed)


def keep_probable(logits: np.ndarray, least: float | np.ndarray, at_least: int = 1) -> np.ndarray:
    """Keep tokens of probability `least` or more, and the likeliest `at_least` with any that equals the last of them.

    least    a number, or (B, 1)
    source   Hewitt et al. 2022, epsilon sampling; EpsilonLogitsWarper
    """
    k = min(at_least, logits.shape[-1])
    kth = np.partition(logits, -k, axis=-1)[:, -k, None]  # (B, 1)
    return _ruled_out(logits, (softmax(logits) < least) & (logits < kth))


def keep_eta(logits: np.ndarray, eta_cutoff: float, at_least: int = 1) -> np.ndarray:
    """The same with a threshold that sinks where many tokens are plausible.

        min(ε, √ε · exp(−entropy))

    source   Hewitt et al. 2022, eta sampling; EtaLogitsWarper
    """
    epsilon = logits.dtype.type(eta_cutoff)
    threshold = np.minimum(epsilon, np.sqrt(epsilon) * np.exp(-entropy(log_softmax(logits))))  # (B, 1)
    return keep_probable(logits, threshold, at_least)


def forbid_tokens(logits: np.ndarray, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Rule tokens out; an id past the vocabulary is none that could come.

    source   SuppressTokensLogitsProcessor; MinNewTokensLengthLogitsProcessor
    """
    return _ruled_out(logits, np.isin(np.arange(logits.shape[-1]), token_ids))


def force_tokens(logits: np.ndarray, token_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Rule all others out; the forced ones are equally likely.

    source   ForcedEOSTokenLogitsProcessor
    """
    forced = np.full_like(logits, -np.inf)
    forced[:, token_ids] = 0
    return forced


def forbid_repeated_ngrams(
    logits: np.ndarray, ids: np.ndarray, size: int, seen: np.ndarray | None = None
) -> np.ndarray:
    """Rule out every token that would end an n-gram which is in `seen` already.

    ids      (B, S), the tokens so far
    size     n; 1 rules out every token of seen
    seen     (B, S′), where n-grams are looked for; ids unless given
    source   Paulus et al. 2017, section 2.5; NoRepeatNGramLogitsProcessor
    """
    seen = ids if seen is None else seen
    if seen.shape[1] < size or ids.shape[1] < size - 1:
        return logits
    windows = np.lib.stride_tricks.sliding_window_view(seen, size, axis=1)  # (B, S′ − n + 1, n)
    prefix = ids[:, ids.shape[1] + 1 - size :]  # (B, n − 1), what an n-gram would have to begin with
    rows, places = np.nonzero((windows[:, :, :-1] == prefix[:, None]).all(axis=-1))
    removed = np.zeros(logits.shape, bool)
    removed[rows, windows[rows, places, -1]] = True
    return _ruled_out(logits, removed)


def add_sequence_bias(logits: np.ndarray, ids: np.ndarray, biases: Sequence[tuple[Sequence[int], float]]) -> np.ndarray:
    """Make the last token of each sequence likelier or less likely, where the tokens before it are just there.

    ids      (B, S), the tokens so far
    biases   (token ids, what is added to the logit of the last one); −∞ rules it out
    source   SequenceBiasLogitsProcessor; NoBadWordsLogitsProcessor
    """
    bias = np.zeros_like(logits)
    for sequence, value in biases:
        before = np.asarray(sequence[:-1], np.int64)
        if len(before) <= ids.shape[1]:
            matches = (ids[:, ids.shape[1] - len(before) :] == before).all(axis=-1)  # (B,)
            bias[matches, sequence[-1]] += value
    return logits + bias


def _ruled_out(logits: np.ndarray, removed: np.ndarray) -> np.ndarray:
    return np.where(removed, -np.inf, logits).astype(logits.dtype, copy=False)
