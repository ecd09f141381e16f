"""What a stranger's calls were given: checked, and completed where a file leaves something to be understood."""

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


def asked_again(theirs: Trace, ours: Trace | None = None) -> tuple[tuple[Asked, ...], list[str]]:
    """What each call was given, to ask our model the same.

    ours     where theirs has no input_ids, those of this trace are taken
    returns  the calls, and notes on what wasn't said and had to be understood. Where a later call was given other ids
             than ours (each went on with its own token), the calls before it
    raises   LlamaError naming the call that has no input_ids, or the first ids that are others than ours
    """
    asked: list[Asked] = []
    notes: list[str] = []
    held = 0
    for index, call in enumerate(theirs.calls):
        mine = ours.calls[index] if ours is not None and index < len(ours.calls) else None
        ids = call.input_ids
        if ids is None and mine is not None and mine.input_ids is not None:
            ids = mine.input_ids
            notes.append(f"{call.name}: no input_ids in {theirs.source}; taken to be those of {ours.source}")  # type: ignore[union-attr]
        if ids is None:
            expected = f"{call.name}/input_ids, the token ids of the call"
            raise LlamaError("no input_ids", where=f"{theirs.source}: {call.name}", expected=expected)
        ids = np.atleast_2d(ids)
        if mine is not None and mine.input_ids is not None:
            try:
                _same_ids(ids, np.atleast_2d(mine.input_ids), f"{theirs.source}: {call.name}/input_ids")
            except LlamaError as error:
                if not asked:
                    raise
                notes.append(f"compared up to here: {error}")
                break
        mask = call.attention_mask if call.attention_mask is not None or mine is None else mine.attention_mask
        past = call.past
        if past is None:
            past = _past(call, ids, held)
            if past:
                notes.append(f"{call.name}: taken to go on after {past} cached tokens")
        asked.append(Asked(ids, mask, call.position_ids, past))
        held = past + ids.shape[1]
    return tuple(asked), notes


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
    new = ids.shape[1]
    if call.attention_mask is not None and call.attention_mask.ndim in (2, 4):
        return held if call.attention_mask.shape[-1] == held + new else 0
    for name, value in call.values.items():
        leaf = name.rpartition(".")[2]
        if leaf in ("scores", "weights") and value.ndim >= 2:
            return held if value.shape[-1] == held + new else 0
        if leaf == "keys" and value.ndim >= 3:
            return held if value.shape[-2] == held + new else 0
    if call.position_ids is not None:
        return held if int(np.min(call.position_ids)) > 0 else 0
    return held if new == 1 else 0


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
