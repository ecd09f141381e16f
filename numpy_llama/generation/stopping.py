"""When a row ends: after an end token, at a stop string, when the time is up."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from numpy_llama.errors import LlamaError

if TYPE_CHECKING:
    from numpy_llama.generation.settings import GenerationSettings
    from numpy_llama.tokenizer import Tokenizer

StoppingRule = Callable[[np.ndarray], Sequence[bool]]  # ids so far (B, S) → B answers, whether a row has just ended


def stopping_rules(settings: "GenerationSettings", tokenizer: "Tokenizer | None") -> list[StoppingRule]:
    """What ends a row, the length aside.

    raises  LlamaError for stop strings without a tokenizer
    source  GenerationMixin._get_stopping_criteria of Transformers
    """
    rules: list[StoppingRule] = []
    if settings.max_time is not None:
        end = monotonic() + settings.max_time
        rules.append(lambda ids: [monotonic() > end] * len(ids))
    if settings.stop_strings is not None:
        if tokenizer is None or not hasattr(tokenizer, "convert_ids_to_tokens"):
            found = type(tokenizer).__name__
            expected = "the model's, to find stop_strings in the text"
            raise LlamaError("missing", where="tokenizer", expected=expected, found=found)
        strings = [settings.stop_strings] if isinstance(settings.stop_strings, str) else settings.stop_strings
        rules.append(StopStrings(strings, tokenizer))
    if settings.eos_token_ids:
        eos = set(settings.eos_token_ids)
        rules.append(lambda ids: [token_id in eos for token_id in ids[:, -1].tolist()])
    return rules


def has_ended(rules: Iterable[StoppingRule], ids: np.ndarray) -> list[bool]:
    """For each row of ids (B, S), whether any rule says so."""
    ended = [False] * len(ids)
    for rule in rules:
        ended = [before or now for before, now in zip(ended, rule(ids), strict=True)]
    return ended


class StopStrings:
    """Whether the newest token of a row completes one of the strings, or holds the last part of one.

        StopStrings(["stop"], tokenizer)(ids)      # True for … "st" "op", "sto" "pping", "nonstop"; not "stop" "!"

    A string may begin in the prompt. Texts are compared byte by byte, since a character may be spelled in several
    tokens; a token counts as it is written inside a text, special tokens included.

    source  StopStringCriteria of Transformers, which finds the same without making a text
    """

    def __init__(self, strings: Iterable[str], tokenizer: "Tokenizer"):
        self._strings = [string.encode() for string in strings]
        self._longest = max(len(string) for string in self._strings)
        self._bytes_of = cache(lambda token_id: _bytes_of(tokenizer, token_id))

    def __call__(self, ids: np.ndarray) -> list[bool]:
        return [self._ends(row) for row in ids[:, -self._longest - 1 :].tolist()]

    def _ends(self, row: list[int]) -> bool:
        newest = self._bytes_of(row[-1])
        before = b""
        for token_id in reversed(row[:-1]):
            if len(before) >= self._longest:
                break
            before = self._bytes_of(token_id) + before
        # As much of the past as can belong to a string that ends in the newest token.
        return any(string in before[max(len(before) - len(string) + 1, 0) :] + newest for string in self._strings)


def _bytes_of(tokenizer: "Tokenizer", token_id: int) -> bytes:
    """What a token adds to a text; nothing for a row that pads an embedding table."""
    if not 0 <= token_id < len(tokenizer):
        return b""
    return tokenizer.token_bytes(token_id)
