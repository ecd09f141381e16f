"""What somebody else's file says: which calls were made, which logits came of them, and how exact they can be.

A dump is rarely complete. Positions are left out, so is the length of the cache; logits are those of the last token
alone, or log-probabilities, or were written in fewer bits than they were computed in. What is missing is filled in by
the usual convention, and said (`assumptions`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.arguments import check_input_ids
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import value_named
from numpy_llama.precision import DTYPES, float_dtype
from numpy_llama.study.compare.calls import check_config
from numpy_llama.study.compare.error_bars import half_last_bit
from numpy_llama.study.compare.their_dtype import computed_in
from numpy_llama.study.diagnose.numbers_written import READINGS, Reading, bits_of, log_softmax, reading_of
from numpy_llama.study.subject import Asked
from numpy_llama.study.trace.trace import LOGITS, Trace, TracedCall


@dataclass(frozen=True)
class Stranger:
    """Another implementation's calls and logits, understood.

    asked        the calls, one Asked each; by name of the convention where positions aren't given and texts are padded
    logits       of each call (B, n, V) float64, of its last n tokens; None where there are none. () where no call has
    judged       of each call (B, n), which of them count: not those of padding
    reading      what the numbers are: logits, log-probabilities or probabilities
    dtypes       that it may compute in, the likeliest first: one where somebody says so
    written      how far the writing alone moves each number, root mean square: 0 for the digits of the dtype itself
    assumptions  what was filled in, a sentence each
    """

    asked: dict[str, tuple[Asked, ...]]
    logits: tuple[np.ndarray | None, ...]
    judged: tuple[np.ndarray | None, ...]
    reading: Reading
    dtypes: tuple[str, ...]
    written: float
    assumptions: tuple[str, ...]

    @property
    def positions(self) -> int:
        """How many logit vectors are judged."""
        return sum(int(judged.sum()) for judged in self.judged if judged is not None)


def understood(theirs: Trace, config: LlamaConfig, dtype: str | None = None) -> Stranger:
    """Read a trace that may be incomplete.

    dtype   that it computes in, where somebody says so; otherwise as the trace says, or as its numbers look
    raises  LlamaError where ids, or logits and all inner values, are missing, or are another model's, or aren't finite:
            which call, which place
    """
    if not theirs.calls:
        raise LlamaError("no calls", where=theirs.source, expected="input_ids and logits of at least one call")
    assumptions = [*theirs.notes, *check_config(theirs, config)]
    asked = _asked(theirs, config, assumptions)
    logits, judged = [], []
    for call, given in zip(theirs.calls, asked, strict=True):
        place = f"{theirs.source}: {call.name}"
        found = None if call.logits is None else _shaped(call.logits, given, config.vocab_size, place)
        counts = None if found is None else _judged(given, found.shape[1])
        if found is not None and counts is not None:
            _check_finite(found, counts, place)
        logits.append(found)
        judged.append(counts)
    seen = [one[counts] for one, counts in zip(logits, judged, strict=True) if one is not None and counts is not None]
    numbers = np.concatenate([np.zeros((0, config.vocab_size)), *seen])  # (judged, V)
    if not len(numbers) and any(one is not None for one in logits) and not has_inner_values(theirs):
        raise LlamaError("nothing but padding", where=theirs.source, expected="logits of a token that isn't padding")
    if not len(numbers) and not has_inner_values(theirs):
        raise LlamaError(
            "no logits", where=theirs.source, expected='a tensor "logits" or "lm_head" (…, vocabulary) for some call'
        )
    stated = dtype or (theirs.dtype if theirs.dtype in DTYPES else None)
    if not len(numbers):
        name = stated or computed_in(theirs) or "float32"
        return Stranger(_conventions(asked, assumptions), (), (), READINGS[0], (name,), 0.0, tuple(assumptions))
    name, written, sentence = bits_of(numbers, [call.logits for call in theirs.calls if call.logits is not None])
    dtypes = (float_dtype(stated).name,) if stated else tuple(dict.fromkeys(("float32", name)))
    computed_so = dtypes == (name,) and name in ("float16", "bfloat16")
    assumptions += [sentence] if sentence and not computed_so else []
    if (numbers == numbers[:, :1]).all():
        assumptions.append("All logits of a token are the same number: nothing can be told from them.")
    reading = reading_of(numbers)
    if reading.mistake:  # a softmax is rounded once more, and hides in how many bits the logits were
        rounding = half_last_bit(numbers, "float32")
        written = hypot(written, float(np.sqrt(np.mean(rounding**2))))
        dtypes = dtypes if stated else ("float32", "bfloat16", "float16")
    if reading.name == "log-probabilities":
        logits = [None if one is None else log_softmax(one) for one in logits]
    return Stranger(
        _conventions(asked, assumptions),
        tuple(logits),
        tuple(judged),
        reading,
        dtypes,
        written,
        tuple(assumptions),
    )


def has_inner_values(theirs: Trace) -> bool:
    """Whether there is any known value beside logits."""
    return any(name != LOGITS and value_named(name) is not None for call in theirs.calls for name in call.values)


def _asked(theirs: Trace, config: LlamaConfig, assumptions: list[str]) -> list[Asked]:
    asked: list[Asked] = []
    length, unsaid = 0, False
    for call in theirs.calls:
        place = f"{theirs.source}: {call.name}"
        if call.input_ids is None:
            raise LlamaError(
                "no input_ids", where=place, expected="the token ids of the call, (batch, tokens) integers"
            )
        try:
            ids = np.asarray(call.input_ids)
            ids = check_input_ids(ids[None] if ids.ndim == 1 else ids, config.vocab_size)
        except LlamaError as error:
            where = f"{place}: {error.where}"
            raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None
        past = call.past
        if past is None:
            past = _past(call, ids, asked, length)
            unsaid = unsaid or call.index > 0
        if past not in (0, length) or (past and len(ids) != len(asked[-1].input_ids)):
            expected = f"0, or the {length} tokens of the calls before, in as many rows"
            raise LlamaError("calls that don't follow each other", where=place, expected=expected, found=past)
        mask = None if call.attention_mask is None else np.asarray(call.attention_mask)
        mask = mask[None] if mask is not None and mask.ndim == 1 else mask
        if mask is not None and mask.ndim == 2 and mask.shape != (len(ids), past + ids.shape[1]):
            shape = (len(ids), past + ids.shape[1])
            raise LlamaError("wrong shape", where=f"{place}: attention_mask", expected=shape, found=mask.shape)
        positions = None if call.position_ids is None else np.asarray(call.position_ids)
        positions = positions[None] if positions is not None and positions.ndim == 1 else positions
        asked.append(Asked(ids, mask, positions, past))
        length = past + ids.shape[1]
    if unsaid:
        kinds = ", ".join("a new text" if one.past == 0 else f"after {one.past} tokens" for one in asked)
        assumptions.append(f"The file doesn't say how long the cache was; taken as: {kinds}.")
    return asked


def _past(call: TracedCall, ids: np.ndarray, before: Sequence[Asked], length: int) -> int:
    """How many tokens were in the cache: as the mask's width says, or the positions; else one token goes on."""
    if not before or len(ids) != len(before[-1].input_ids):
        return 0
    if call.attention_mask is not None and np.ndim(call.attention_mask) in (2, 4):
        return length if np.shape(call.attention_mask)[-1] == length + ids.shape[1] else 0
    if call.position_ids is not None:
        return length if np.min(call.position_ids) > 0 else 0
    return length if ids.shape[1] == 1 else 0


def _shaped(logits: np.ndarray, asked: Asked, vocabulary: int, place: str) -> np.ndarray:
    """(B, n, V) float64 of the last n tokens, from (B, n, V), or with B or n left out where it is 1."""
    array = np.asarray(logits)
    where = f"{place}: logits"
    B, T = asked.input_ids.shape
    if array.dtype.name not in DTYPES:
        raise LlamaError("wrong dtype", where=where, expected="one of " + ", ".join(DTYPES), found=array.dtype)
    if array.ndim == 0 or array.shape[-1] != vocabulary:
        expected = f"(…, {vocabulary}): one number for each token of the model's vocabulary"
        raise LlamaError("logits of another model", where=where, expected=expected, found=array.shape)
    if array.ndim == 1 and B == 1:
        array = array[None, None]
    elif array.ndim == 2 and (B == 1 or len(array) in (B, B * T)):
        array = array[None] if B == 1 else array.reshape(B, -1, vocabulary)
    # One more than there are ids is a port that puts a token before them; one less, one that drops the first.
    if array.ndim != 3 or len(array) != B or not 0 < array.shape[1] <= T + 1:
        expected = f"({B}, {T}, {vocabulary}), or of the last tokens alone"
        raise LlamaError("wrong shape", where=where, expected=expected, found=np.shape(logits))
    return array.astype(np.float64)


def _judged(asked: Asked, count: int) -> np.ndarray:
    """(B, n): False at padding, where every implementation may leave what it likes."""
    B, T = asked.input_ids.shape
    mask = asked.attention_mask
    real = np.ones((B, T), bool) if mask is None or mask.ndim != 2 else mask[:, -T:] != 0
    return np.pad(real, ((0, 0), (max(count - T, 0), 0)), constant_values=True)[:, -count:]


def _check_finite(logits: np.ndarray, judged: np.ndarray, place: str) -> None:
    wrong = ~np.isfinite(logits).all(axis=-1) & judged  # (B, n)
    if wrong.any():
        row, position = (int(index) for index in np.argwhere(wrong)[0])
        vector = logits[row, position]
        token = int(np.argmin(np.isfinite(vector)))
        raise LlamaError(
            "not a finite number",
            where=f"{place}: logits[{row}, {position}, {token}]",
            expected="finite logits at every token; look for the first value that isn't with `numpy-llama compare`",
            found=f"{vector[token]} there, and in {int(wrong.sum())} of {int(judged.sum())} positions",
        )


def _conventions(asked: Sequence[Asked], assumptions: list[str]) -> dict[str, tuple[Asked, ...]]:
    """The ways in which positions that aren't given may be meant: two where texts are padded, one otherwise."""
    if not any(one.position_ids is None and _is_padded(one) for one in asked):
        return {"": tuple(asked)}
    assumptions.append(
        "Texts are padded and no position_ids given: both conventions were tried, positions that skip padding (as "
        "generate makes them) and positions that count it (as a bare forward pass does)."
    )
    return {
        "with positions that skip padding": tuple(_skipping(one) for one in asked),
        "with positions that count padding": tuple(asked),
    }


def _is_padded(asked: Asked) -> bool:
    return asked.attention_mask is not None and asked.attention_mask.ndim == 2 and not asked.attention_mask.all()


def _skipping(asked: Asked) -> Asked:
    if asked.position_ids is not None or not _is_padded(asked):
        return asked
    assert asked.attention_mask is not None
    positions = np.maximum(np.cumsum(asked.attention_mask != 0, axis=1) - 1, 0)
    return replace(asked, position_ids=positions[:, -asked.input_ids.shape[1] :])
