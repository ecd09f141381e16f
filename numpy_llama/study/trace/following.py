"""Whether the positions in a trace follow each other.

A port writes down the position_ids that it was given, or those that it made itself. The reference is asked with the
same ones, so a port whose positions are wrong is found to agree: with what it was told, it computes rightly. That is
worth a remark.
"""

from collections.abc import Sequence

import numpy as np

from numpy_llama.study.trace.trace import TracedCall


def positions_that_do_not_follow(calls: Sequence[TracedCall]) -> list[str]:
    """A remark for the first call whose positions don't go on from the call before, or don't begin at 0.

    Positions of padding don't count, nor those of texts packed in one row, which begin at 0 again, nor where calls are
    left out.
    """
    before: np.ndarray | None = None  # (B,), the position of each row's last token
    held: int | None = 0
    for call in calls:
        positions = call.position_ids
        if call.past != held:  # calls were left out
            before = None
        held = call.cache_length
        if positions is None or call.past is None:
            before = None
            continue
        real = _tokens_of(call, positions.shape)
        if real is None or not real.any(axis=1).all():
            before = None
            continue
        positions = np.broadcast_to(positions, real.shape)
        rows = np.arange(len(real))
        first = positions[rows, real.argmax(axis=1)]
        last = positions[rows, real.shape[1] - 1 - real[:, ::-1].argmax(axis=1)]
        if call.past > 0 and before is not None and len(before) in (1, len(first)) and (first != before + 1).any():
            row = int(np.argmax(first != before + 1))
            expected = int(np.broadcast_to(before, first.shape)[row]) + 1
            return [
                f"{call.name}: position_ids go on at {first[row]} where {expected} follows, and are taken as they are; "
                "if that implementation made them itself, this is its mistake"
            ]
        before = last
    return []


def _tokens_of(call: TracedCall, shape: tuple[int, ...]) -> np.ndarray | None:
    """(B, T), True for a token and False for padding; None where a 4-D mask doesn't say."""
    if call.attention_mask is None:
        rows = shape[0] if call.input_ids is None else len(call.input_ids)
        return np.ones((rows, shape[1]), bool)
    if call.attention_mask.ndim != 2 or call.attention_mask.shape[1] < shape[1]:
        return None
    return call.attention_mask[:, call.attention_mask.shape[1] - shape[1] :] != 0
