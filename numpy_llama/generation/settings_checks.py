"""What a generation setting may be: one line for each, and the pairs that contradict each other."""

import math
import warnings
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.errors import LlamaError, LlamaWarning

if TYPE_CHECKING:
    from numpy_llama.generation.settings import GenerationSettings

Check = tuple[Callable[[Any], bool], str]  # whether a value can be, and what it should have been


def _count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def _number(value: Any, least: float, most: float) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return is_number and bool(least <= value <= most)


def _ids(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and all(map(_count, value))


def _strings(value: Any) -> bool:
    strings = [value] if isinstance(value, str) else value
    return isinstance(strings, list | tuple) and all(isinstance(s, str) and s for s in strings) and len(strings) > 0


def _sequences(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(_ids(ids) and len(ids) for ids in value)


def _biases(value: Any) -> bool:
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        return False
    return _sequences([ids for ids, _ in pairs]) and all(_number(bias, -math.inf, math.inf) for _, bias in pairs)


def _decay(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and _count(value[0]) and _number(value[1], 1e-30, 1e30)


POSITIVE: Check = (lambda value: _count(value, 1), "a positive integer")
COUNT: Check = (_count, "an integer, 0 or more")
FLAG: Check = (lambda value: isinstance(value, bool | np.bool_), "true or false")
# Further out, float32 logits overflow, and infinities become NaN.
FACTOR: Check = (lambda value: _number(value, 1e-30, 1e30), "a positive number, 1e-30 … 1e30")
SHARE: Check = (lambda value: _number(value, 0, 1), "a number in 0 … 1")
TOKEN: Check = (
    lambda value: isinstance(value, int | np.integer) and not isinstance(value, bool),
    "a token id, or None",
)
TOKENS: Check = (lambda value: TOKEN[0](value) or _all_tokens(value), "a token id, several, or None")
LIST: Check = (_ids, "a list of token ids")


def _all_tokens(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and all(map(TOKEN[0], value))


CHECKS: dict[str, Check] = {
    "max_new_tokens": POSITIVE,
    "max_length": POSITIVE,
    "min_new_tokens": COUNT,
    "min_length": COUNT,
    "eos_token_id": TOKENS,
    "stop_strings": (_strings, "a string that isn't empty, or a list of such"),
    "max_time": (lambda value: _number(value, 0, math.inf), "seconds, 0 or more"),
    "do_sample": FLAG,
    "num_beams": POSITIVE,
    "temperature": FACTOR,
    "top_k": (_count, "a positive integer, or 0 for off"),
    "top_p": SHARE,
    "min_p": SHARE,
    "typical_p": (lambda value: _number(value, 1e-30, 1), "a number above 0, at most 1"),
    "epsilon_cutoff": SHARE,
    "eta_cutoff": SHARE,
    "repetition_penalty": FACTOR,
    "encoder_repetition_penalty": FACTOR,
    "no_repeat_ngram_size": COUNT,
    "encoder_no_repeat_ngram_size": COUNT,
    "bad_words_ids": (_sequences, "a list of lists of token ids, none of them empty"),
    "suppress_tokens": LIST,
    "begin_suppress_tokens": LIST,
    "sequence_bias": (_biases, "a list of [token ids, number] pairs, or a dict {(token ids): number}"),
    "forced_bos_token_id": TOKEN,
    "forced_eos_token_id": TOKENS,
    "exponential_decay_length_penalty": (_decay, "(first token, factor above 0)"),
    "remove_invalid_values": FLAG,
    "renormalize_logits": FLAG,
    # length ** penalty has to stay a number for every length.
    "length_penalty": (lambda value: _number(value, -40, 40), "a number in −40 … 40"),
    "early_stopping": (lambda value: FLAG[0](value) or value == "never", "true, false or 'never'"),
    "num_return_sequences": POSITIVE,
    "pad_token_id": TOKEN,
    "bos_token_id": TOKEN,
    "use_cache": FLAG,
    "cache_implementation": (lambda value: value in ("dynamic", "static"), "'dynamic' or 'static'"),
    "max_cache_len": POSITIVE,
    "return_dict_in_generate": FLAG,
    "output_scores": FLAG,
    "output_logits": FLAG,
    "output_attentions": FLAG,
    "output_hidden_states": FLAG,
}


def check_settings(settings: "GenerationSettings", where: Callable[[str], str]) -> None:
    """raises  LlamaError for a value that can't be, or that contradicts another; `where` says who said it"""
    for name, (can_be, expected) in CHECKS.items():
        value = getattr(settings, name)
        if value is not None and not can_be(value):
            raise LlamaError("impossible value", where=where(name), expected=expected, found=repr(value))

    count, beams = settings.num_return_sequences, settings.num_beams
    if beams > 1 and count > beams:
        expected = f"at most num_beams ({beams})"
        raise LlamaError("more texts than beams", where=where("num_return_sequences"), expected=expected, found=count)
    if beams == 1 and count > 1 and not settings.do_sample:
        expected = "1, since greedy has one text only (or do_sample=True, or num_beams)"
        raise LlamaError("impossible value", where=where("num_return_sequences"), expected=expected, found=count)
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = getattr(settings, name)
        suppressed = np.ravel(() if settings.suppress_tokens is None else settings.suppress_tokens).tolist()
        if forced is not None and set(np.ravel(forced).tolist()) <= set(suppressed):
            raise LlamaError("also among suppress_tokens", where=where(name), found=repr(forced))


def check_lengths(settings: "GenerationSettings", prompt_length: int, new_tokens: int, said: Collection[str]) -> None:
    """raises  LlamaError where the caller wants a row longer than it may be

    said   the settings that the caller gave
    warns  LlamaWarning where a stored setting wants it; as in Transformers, the row ends where it has to
    """
    where, least, most = "min_new_tokens", settings.min_new_tokens, new_tokens
    if least is None:
        where, least, most = "min_length", settings.min_length, prompt_length + new_tokens
    if least > most:
        error = LlamaError("longer than a row may be", where=where, expected=f"at most {most}", found=least)
        if where in said:
            raise error
        warnings.warn(f"generation_config.json: {error}", LlamaWarning, stacklevel=5)


def check_token_ids(settings: "GenerationSettings", vocab_size: int, said: Collection[str]) -> None:
    """raises  LlamaError for a token id out of range that the caller gave, or that would have to be written

    said  the settings that the caller gave. A stored end token past the vocabulary is none that could be chosen, and
          harmless: checkpoints cut down for tests have such
    """
    for name in ("eos_token_id", "pad_token_id", "bos_token_id", "forced_bos_token_id", "forced_eos_token_id",
                 "suppress_tokens", "begin_suppress_tokens"):  # fmt: skip
        value = getattr(settings, name)
        used = name.startswith("forced") or name in said
        outside = [i for i in np.ravel(value).tolist() if not 0 <= i < vocab_size] if value is not None else []
        if used and outside:
            raise LlamaError("token id out of range", where=name, expected=f"0 … {vocab_size - 1}", found=outside[0])
    for name in ("bad_words_ids", "sequence_bias"):
        sequences = getattr(settings, name) or ()
        if name == "sequence_bias":
            sequences = [ids for ids, _ in bias_pairs(sequences)]
        outside = [i for ids in sequences for i in ids if i >= vocab_size]
        if outside:
            raise LlamaError("token id out of range", where=name, expected=f"0 … {vocab_size - 1}", found=outside[0])


def bias_pairs(sequence_bias: Any) -> list[tuple[tuple[int, ...], float]]:
    """(token ids, bias) pairs, from either spelling; of equal sequences the last counts."""
    pairs = sequence_bias.items() if isinstance(sequence_bias, dict) else sequence_bias
    return list({tuple(int(i) for i in ids): float(bias) for ids, bias in pairs}.items())
