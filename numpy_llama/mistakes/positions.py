"""Mistakes of positions: counted from another number, too far in a decode, past padding, from another row.

A rotation knows differences only. Positions that are all off by the same number, in every call of a text, change no
logits; so each of these shows where some tokens of a text are off and others aren't.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.rope_speed import COS
from numpy_llama.study.subject import Asked, Subject

Array = np.ndarray
Change = Callable[[Asked, Array], Array]  # a call and its positions (B or 1, T) → other positions


def positions_of(asked: Asked) -> Array:
    """(B or 1, T): those that a call asks for, or that follow from its past."""
    if asked.position_ids is not None:
        return asked.position_ids
    return np.arange(asked.past, asked.past + asked.input_ids.shape[1])[None]


def with_positions(subject: Subject, change: Change) -> Subject:
    """The subject with other positions in each call; the same subject where they are those that it has."""
    calls = [replace(asked, position_ids=change(asked, positions_of(asked))) for asked in subject.calls]
    same = all(
        bool((positions_of(new) == positions_of(old)).all()) for new, old in zip(calls, subject.calls, strict=True)
    )
    return subject if same else replace(subject, calls=tuple(calls))


def other_positions(changes: dict[str, Change]) -> Callable[[Subject], Variants]:
    """Plants positions that are changed in one way or another; nothing where a change changes none."""

    def plant(subject: Subject) -> Variants:
        for label, change in changes.items():
            planted = with_positions(subject, change)
            if planted is not subject:
                yield label, planted

    return plant


def shift_shows(subject: Subject, planted: Subject) -> bool:
    """Whether other positions show: whether in some row of some text they are shifted by several numbers."""
    shifts: list[set[int]] = []  # of each row of the text so far
    for asked, other in zip(subject.calls, planted.calls, strict=True):
        B, T = asked.input_ids.shape
        if asked.past == 0:
            shifts = [set() for _ in range(B)]
        mask = asked.attention_mask
        read = np.ones((B, T), bool) if mask is None or mask.ndim != 2 else mask[:, -T:] != 0
        shift = np.broadcast_to(positions_of(other) - positions_of(asked), (B, T))
        for seen, row, tokens in zip(shifts, shift, read, strict=True):
            seen.update(row[tokens].tolist())
        if any(len(seen) > 1 for seen in shifts):
            return True
    return False


def after_a_past(change: Change) -> Change:
    """The change in calls after cached tokens only."""
    return lambda asked, positions: change(asked, positions) if asked.past else positions


def before_a_past(change: Change) -> Change:
    """The change in the first call of a text only."""
    return lambda asked, positions: positions if asked.past else change(asked, positions)


def counted_by_place(asked: Asked, positions: Array) -> Array:
    """0, 1, 2, … over all that was put in, padding included."""
    return np.arange(asked.past, asked.past + asked.input_ids.shape[1])[None]


def from_zero(asked: Asked, positions: Array) -> Array:
    """0, 1, 2, … in each call."""
    return positions - positions[:, :1]


def of_first_token(asked: Asked, positions: Array) -> Array:
    """That of the call's first token, for all of them."""
    return np.broadcast_to(positions[:, :1], positions.shape)


def of_first_row(asked: Asked, positions: Array) -> Array:
    """The first row's, for all."""
    return positions[:1]


positions_counting_padding = other_positions(
    {
        "in every call": counted_by_place,
        "in calls after the first": after_a_past(counted_by_place),
        "in the first call": before_a_past(counted_by_place),
    }
)
positions_of_first_row = other_positions({"": of_first_row})


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="positions-shifted",
        says="whose positions are all one too high",
        looks_like="nothing: RoPE knows differences alone; it shows in cos and sin, and in queries and keys",
        mend="count positions from 0, so that inner values can be compared",
        wild=(),
        first=COS,
        plant=other_positions({"": lambda asked, positions: positions + 1}),
        exposed_by=(),
        invisible=True,
    ),
    Mistake(
        key="decode-positions-late",
        says="whose positions are one too high in each call after the first",
        looks_like="the prompt is right, and the first token after it; the text goes wrong soon or slowly",
        mend="the first new token's position is the number of tokens before it: past, not past + 1",
        wild=(
            "https://github.com/microsoft/onnxruntime-genai/pull/2354 (0, 10, 11, … after 9 tokens)",
            "https://github.com/fla-org/flash-linear-attention/issues/766 (in all layers but the first)",
        ),
        first=COS,
        plant=other_positions({"": after_a_past(lambda asked, positions: positions + 1)}),
        exposed_by=("a-past",),
    ),
    Mistake(
        key="decode-positions-early",
        says="whose positions are one too low in each call after the first",
        looks_like="the prompt is right, and the first token after it; then each new token stands where the last stood",
        mend="the first new token's position is the number of tokens before it: past, not past − 1",
        wild=(),
        first=COS,
        plant=other_positions({"": after_a_past(lambda asked, positions: np.maximum(positions - 1, 0))}),
        exposed_by=("a-past",),
    ),
    Mistake(
        key="positions-from-zero",
        says="whose positions start at 0 in every call",
        looks_like="the prompt is right, and the first token after it; every later token thinks that it begins the "
        "text",
        mend="go on from the number of cached tokens",
        wild=(
            "https://github.com/Blaizzy/mlx-vlm/issues/1983 (every generated token at 0)",
            "https://github.com/RobertCsordas/moeut/pull/6 (queries at 0, keys not)",
        ),
        first=COS,
        plant=other_positions({"": after_a_past(from_zero)}),
        exposed_by=("a-past",),
    ),
    Mistake(
        key="positions-of-chunk",
        says="whose tokens of a call after the first all stand at the position of the first of them",
        looks_like="the prompt is right, and text that is generated token by token; several tokens after cached ones, "
        "as in a chat's next turn or a prompt read in chunks, are wrong from the second on",
        mend="positions are past, past + 1, … past + T − 1: one for each new token",
        wild=(),
        first=COS,
        plant=other_positions({"": after_a_past(of_first_token)}),
        exposed_by=("chunk",),
    ),
    Mistake(
        key="positions-ignore-padding",
        says="whose positions count padding as if it were text",
        looks_like="rows without padding are right; the others are right in their first call, too, since a constant "
        "shift doesn't show, and wrong in the next: the two don't count in the same way",
        mend="positions = cumsum(attention_mask) − 1 in every call, prompt and decode alike",
        wild=(
            "https://github.com/huggingface/transformers/issues/33095 (unless generate works them out)",
            "https://github.com/Comfy-Org/ComfyUI/pull/15698 (decode counts the width of the batch)",
        ),
        first=COS,
        plant=positions_counting_padding,
        exposed_by=("positions-skip-padding",),
    ),
    Mistake(
        key="positions-of-first-row",
        says="whose rows all have the positions of the first row",
        looks_like="the first row is right; others are wrong where their padding is another",
        mend="positions are (B, T), and so are cos and sin: one row each",
        wild=(
            "https://github.com/unslothai/unsloth/pull/3795 (one row of positions for all)",
            "https://github.com/unslothai/unsloth/pull/4078 (the same, with its fix)",
        ),
        first=COS,
        plant=positions_of_first_row,
        exposed_by=("rows-at-other-positions",),
    ),
)
