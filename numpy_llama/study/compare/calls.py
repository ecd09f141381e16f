"""What a stranger's calls were given: checked, and completed where a file leaves something to be understood."""

from dataclasses import replace

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.study.subject import Asked
from numpy_llama.study.trace.trace import Trace, TracedCall

# Fields of a config that change what is computed.
SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim",
)  # fmt: skip
SETTINGS = ("hidden_act", "rms_norm_eps", "rope_parameters", "attention_bias", "mlp_bias", "tie_word_embeddings")


def asked_again(theirs: Trace, ours: Trace | None = None) -> tuple[tuple[Asked, ...], list[int], list[str]]:
    """What each call was given, to ask our model the same.

    A call that goes on after tokens whose ids aren't known, since calls before it are left out, can't be asked again.

    ours     where theirs has no input_ids, those of this trace are taken
    returns  the calls that can be made; their places in the trace; notes on the others, and on what wasn't said and had
             to be understood. Where a later call was given other ids than ours (each went on with its own token), the
             calls before it
    raises   LlamaError where none can be made: naming the first, or the first ids that are others than ours
    """
    asked: list[Asked] = []
    places: list[int] = []
    notes: list[str] = []
    first_error: LlamaError | None = None
    held, known = 0, True  # tokens of the text so far, and whether all of them are known
    for place, call in enumerate(theirs.calls):
        mine = ours.calls[place] if ours is not None and place < len(ours.calls) else None
        ids = call.input_ids
        if ids is None and mine is not None and mine.input_ids is not None:
            ids = mine.input_ids
            notes.append(f"{call.name}: no input_ids in {theirs.source}; taken to be those of {ours.source}")  # type: ignore[union-attr]
        if ids is not None:
            ids = np.atleast_2d(ids)
            past = _past(call, ids, held) if call.past is None else call.past
            gap = call.index != (theirs.calls[place - 1].index + 1 if place else 0)
            rows = len(ids) if not asked else len(asked[-1].input_ids)
            known = past == 0 or (known and past == held and rows == len(ids) and (not gap or _says(call, ids, past)))
        if ids is None or not known:
            error = _cannot_be_asked(theirs, call, None if ids is None else past, held)
            first_error = first_error or error
            notes.append(f"{call.name}: not compared, {error.what}")
            known = False
            continue
        if mine is not None and mine.input_ids is not None:
            try:
                _same_ids(ids, np.atleast_2d(mine.input_ids), f"{theirs.source}: {call.name}/input_ids")
            except LlamaError as error:
                if not asked:
                    raise
                notes.append(f"compared up to here: {error}")
                break
        if call.past is None and past:
            notes.append(f"{call.name}: taken to go on after {past} cached tokens")
        mask = call.attention_mask if call.attention_mask is not None or mine is None else mine.attention_mask
        asked.append(Asked(ids, mask, call.position_ids, past))
        places.append(place)
        held = past + ids.shape[1]
    if not asked and first_error is not None:
        raise first_error
    return tuple(asked), places, notes


def _cannot_be_asked(theirs: Trace, call: TracedCall, past: int | None, held: int) -> LlamaError:
    where = f"{theirs.source}: {call.name}"
    if past is None:
        return LlamaError("no input_ids", where=where, expected=f"{call.name}/input_ids, the token ids of the call")
    found = f"it goes on after {past}, and not all of their ids are known"
    return LlamaError("calls before it are missing", where=where, expected=f"after {held} tokens", found=found)


def _says(call: TracedCall, ids: np.ndarray, past: int) -> bool:
    """Whether a call with others left out before it shows itself that so many tokens came before."""
    if call.position_ids is not None and call.attention_mask is None:
        return int(np.min(call.position_ids)) == past
    return _width(call) == past + ids.shape[1]


def lined_up(theirs: Trace, ours: Trace) -> tuple[Trace, Trace]:
    """Two traces with the same calls at the same places.

    Where theirs leaves calls out that ours has, they come in empty: what they were given is known, and others go on
    after them. Where the two are numbered in different ways, they stay as they are.
    """
    if not {call.name for call in theirs.calls} <= {call.name for call in ours.calls} or not theirs.calls:
        return theirs, ours
    last = max(call.index for call in theirs.calls)
    calls = [call for call in ours.calls if call.index <= last]
    every = [
        theirs.call(call.name)
        or TracedCall(call.index, call.past, call.input_ids, call.attention_mask, call.position_ids)
        for call in calls
    ]
    return replace(theirs, calls=every), replace(ours, calls=calls)


def _same_ids(theirs: np.ndarray, ours: np.ndarray, where: str) -> None:
    if theirs.shape != ours.shape:
        raise LlamaError("another prompt", where=where, expected=f"{ours.shape} ids, as ours", found=f"{theirs.shape}")
    apart = np.argwhere(theirs != ours)
    if len(apart):
        row, column = (int(i) for i in apart[0])
        found = f"{theirs[row, column]} ({len(apart)} of {ours.size} differ)"
        raise LlamaError(
            "another prompt", where=f"{where}[{row}, {column}]", expected=f"{ours[row, column]}, as ours", found=found
        )


def _past(call: TracedCall, ids: np.ndarray, held: int) -> int:
    """Cached tokens before a call whose file doesn't say: told by the width of what it holds."""
    new, width = ids.shape[1], _width(call)
    if width is not None:
        return held if width == held + new else 0
    if call.position_ids is not None:
        return held if int(np.min(call.position_ids)) > 0 else 0
    return held if new == 1 else 0


def _width(call: TracedCall) -> int | None:
    """Cached and new tokens of a call, where its mask or values show them."""
    if call.attention_mask is not None and call.attention_mask.ndim in (2, 4):
        return int(call.attention_mask.shape[-1])
    for name, value in call.values.items():
        leaf = name.rpartition(".")[2]
        if leaf in ("scores", "weights") and value.ndim >= 2:
            return int(value.shape[-1])
        if leaf == "keys" and value.ndim >= 3:
            return int(value.shape[-2])
    return None


def with_positions_that_skip_padding(theirs: Trace) -> Trace:
    """The trace with position_ids as generate makes them, where a call is padded and has none; itself where none is."""
    calls = [_skipping(call) for call in theirs.calls]
    return theirs if all(a is b for a, b in zip(calls, theirs.calls, strict=True)) else replace(theirs, calls=calls)


def _skipping(call: TracedCall) -> TracedCall:
    ids, mask = call.input_ids, call.attention_mask
    if ids is None or mask is None or call.position_ids is not None or mask.ndim != 2 or mask.all():
        return call
    positions = np.maximum(np.cumsum(mask != 0, axis=1) - 1, 0)
    return replace(call, position_ids=positions[:, -np.atleast_2d(ids).shape[1] :])


def check_config(theirs: Trace, config: LlamaConfig) -> list[str]:
    """Hold the config in their file, where there is one, to ours.

    returns  notes on settings that differ and change what is computed
    raises   LlamaError where the sizes are another model's
    """
    if theirs.config is None:
        return []
    ours = config.to_dict()
    for name in SIZES:
        if name in theirs.config and theirs.config[name] is not None and theirs.config[name] != ours[name]:
            where = f"{theirs.source}: config: {name}"
            raise LlamaError("a trace of another model", where=where, expected=ours[name], found=theirs.config[name])
    return [
        f"their config says {name} {theirs.config[name]!r}, ours {ours[name]!r}"
        for name in SETTINGS
        if name in theirs.config and theirs.config[name] != ours.get(name)
    ]
