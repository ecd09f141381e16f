"""A small picture of a value: a line for each token or head, a mark for each number, or for several.

                0         5
    0 <s>       O . - @ =
    1 ▁Once     . o - - #

The sign is in the colour, or in the mark: what is round is positive, what is straight is negative.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from numpy_llama.study.step.text import Screen, fitted, number, wrapped
from numpy_llama.study.step.watching import Look

MOST_ROWS, LABEL, FOLDED_LABEL = 16, 16, 6
WITH_NUMBERS = 9  # columns of a mark that has its number beside it
POSITIVE, NEGATIVE, NOTHING, MASKED, BROKEN = ".oO@", "-~=#", " ", "/", "!"
BLOCKS, HIDDEN_BLOCK = "░▒▓█", "·"
# Of the 256 colours; blue and orange stand apart for the colour-blind, too, and show on black and on white.
WARM, COLD, ALARM = (94, 130, 166, 172, 208, 214), (24, 25, 31, 32, 33, 39), 196


@dataclass(frozen=True)
class Grid:
    """Numbers to be drawn, and what stands beside them.

    numbers  (rows, columns)
    hidden   (rows, columns), True where a mask hides the number
    labels   of the rows
    first    which is the first column: 0, or the first token shown
    across   what the columns are: "tokens looked at"
    note     what of the value is not in the picture
    """

    numbers: np.ndarray
    hidden: np.ndarray
    labels: list[str]
    across: str
    first: int = 0
    note: str = ""


def grid_of(look: Look, token: Callable[[int, int], str], past: int) -> Grid | None:
    """The two axes of a value that say most, of one head and one row of the batch; None for an array of no numbers.

    token  (row of the batch, place in the text) → what to call a token
    """
    if not look.numbers.size or look.numbers.ndim == 0:
        return None
    numbers, hidden, axes, starts = look.numbers, look.hidden, list(look.axes), list(look.starts)
    notes = []
    heads = next((axes.index(letter) for letter in "HK" if letter in axes), None)
    rows = next((axes.index(letter) for letter in "TS" if letter in axes[:-1]), numbers.ndim - 2)
    if heads is not None and numbers.shape[rows] == 1 < numbers.shape[heads]:
        rows = heads
    batch = starts[axes.index("B")] if "B" in axes else 0
    for axis in range(numbers.ndim - 2, -1, -1):  # all axes but two are cut down to one place
        if axis == rows:
            continue
        if numbers.shape[axis] > 1:
            word = {"B": "row", "H": "head", "K": "key/value head"}.get(axes[axis], f"axis {axis},")
            how = {"B": "batch", "H": "head"}.get(axes[axis])
            notes.append(f"{word} 0 of {numbers.shape[axis]}" + (f" (`watch {how} 1` for the next)" if how else ""))
        numbers, hidden = numbers.take(0, axis=axis), hidden.take(0, axis=axis)
        del axes[axis], starts[axis]
    if numbers.ndim == 1:
        numbers, hidden, axes, starts = numbers[None], hidden[None], ["", *axes], [0, *starts]
    across = {"S": "tokens looked at", "V": "vocabulary"}.get(axes[1], "channels")
    if axes[0] in ("T", "S"):
        begin = starts[0] + (past if axes[0] == "T" else 0)
        labels = [f"{begin + i:>3} {token(batch, begin + i)}" for i in range(len(numbers))]
    elif axes[0] in ("H", "K"):
        labels = [f"{'head' if axes[0] == 'H' else 'kv head'} {starts[0] + i}" for i in range(len(numbers))]
    else:
        labels = [f"{i}" if len(numbers) > 1 else "" for i in range(len(numbers))]
    if len(numbers) > MOST_ROWS:
        notes.append(f"the last {MOST_ROWS} of {len(numbers)} rows")
        numbers, hidden, labels = numbers[-MOST_ROWS:], hidden[-MOST_ROWS:], labels[-MOST_ROWS:]
    return Grid(numbers, hidden, labels, across, note="; ".join(notes))


def picture(grid: Grid, screen: Screen) -> list[str]:
    """The lines of a picture, its scale the last."""
    label = min(LABEL, max(len(text) for text in grid.labels))
    room = screen.columns - label - 5
    each = -(-grid.numbers.shape[1] // room)  # numbers a mark
    fold = len(grid.numbers) == 1 and each > 1 and grid.across == "channels"
    if fold:
        label, room = FOLDED_LABEL, (screen.columns - FOLDED_LABEL - 5) // 16 * 16
        each = -(-grid.numbers.shape[1] // (room * MOST_ROWS))
    grid = replace(grid, numbers=_binned(grid, each), hidden=np.asarray(_bins(grid.hidden, each, True).all(axis=-1)))
    if fold:
        grid = _folded(grid, room, each)
    wide = next(wide for wide in (WITH_NUMBERS, 2, 1) if wide * grid.numbers.shape[1] <= room or wide == 1)
    size = _scale(grid)
    lines = ["  " + " " * label + "  " + screen.dim(_ruler(grid, each, wide))]
    for text, row, hidden in zip(grid.labels, grid.numbers, grid.hidden, strict=True):
        marks = "".join(_mark(x, h, size, wide, screen) for x, h in zip(row.tolist(), hidden.tolist(), strict=True))
        lines.append(f"  {fitted(text, label)}  {marks}".rstrip())
    return [*lines, "", *_legend(grid, size, each, screen)]


def _folded(grid: Grid, wide: int, each: int) -> Grid:
    """One long row as several."""
    row = grid.numbers[0]
    lines = -(-len(row) // wide)
    padded = np.concatenate([row, np.zeros(lines * wide - len(row), row.dtype)]).reshape(lines, wide)
    labels = [str(index * wide * each) for index in range(lines)]
    return replace(grid, numbers=padded, hidden=np.zeros(padded.shape, bool), labels=labels)


def _bins(numbers: np.ndarray, each: int, fill: float) -> np.ndarray:
    """(R, C) → (R, bins, each), the last bin filled up."""
    missing = -numbers.shape[1] % each
    padded = np.pad(numbers, ((0, 0), (0, missing)), constant_values=fill)
    return padded.reshape(len(numbers), -1, each)


def _binned(grid: Grid, each: int) -> np.ndarray:
    """Of each bin the number farthest from 0; what is no number goes before all."""
    numbers, hidden = _bins(grid.numbers, each, 0), _bins(grid.hidden, each, True)
    far = np.where(np.isfinite(numbers), np.abs(numbers), np.inf)
    which = np.where(hidden, -1, far).argmax(axis=-1)
    return np.take_along_axis(numbers, which[..., None], axis=-1)[..., 0]


def _scale(grid: Grid) -> float:
    """What the strongest mark stands for: the largest number, or less where a few stand far above the rest."""
    far = np.abs(grid.numbers[~grid.hidden & np.isfinite(grid.numbers)])
    if not far.size or not far.max():
        return 1.0
    usual = float(np.percentile(far, 95))
    return float(far.max()) if far.max() <= 3 * usual or not usual else usual


def _mark(x: float, hidden: bool, size: float, wide: int, screen: Screen) -> str:
    blocks = screen.unicode and screen.color
    if wide == WITH_NUMBERS:
        beside = "" if hidden else _short_number(x)
        return _mark(x, hidden, size, 1, screen) + f" {beside:<{WITH_NUMBERS - 2}}"
    if hidden:
        return screen.paint((HIDDEN_BLOCK if blocks else MASKED).ljust(wide), 240)
    if not np.isfinite(x):
        return screen.paint(BROKEN * wide if blocks else BROKEN.ljust(wide), ALARM)
    share = min(abs(x) / size, 1.0)
    if share < 1 / 16:
        return NOTHING * wide
    step = min(int(share * 4), 3)
    shade = (WARM if x > 0 else COLD)[min(int(share * 6), 5)]
    text = BLOCKS[step] * wide if blocks else (POSITIVE if x > 0 else NEGATIVE)[step].ljust(wide)
    return screen.paint(text, shade)


def _short_number(x: float) -> str:
    return f"{x:.3f}" if abs(x) < 100 else f"{x:.1f}" if abs(x) < 10000 else f"{x:.0e}"


def _ruler(grid: Grid, each: int, wide: int) -> str:
    """Numbers of columns, as many as have room."""
    count = grid.numbers.shape[1]
    longest = len(str(grid.first + count * each)) + 1
    steps = [step for step in (1, 2, 4, 5, 8, 10, 16, 32, 64, 100, 128) if step * wide >= longest]
    wanted = next((step for step in steps if step >= 4 or count * wide < 24 or wide == WITH_NUMBERS), 128)
    line = ""
    for column in range(0, count, wanted):
        line = line.ljust(column * wide) + str(grid.first + column * each)
    return line


def _legend(grid: Grid, size: float, each: int, screen: Screen) -> list[str]:
    blocks = screen.unicode and screen.color
    warm = "".join(_mark(size * part, False, size, 1, screen) for part in (0.2, 0.4, 0.6, 1))
    cold = "".join(_mark(-size * part, False, size, 1, screen) for part in (0.2, 0.4, 0.6, 1))
    seen = grid.numbers[~grid.hidden]
    parts = []
    if (seen > 0).any():
        parts.append(f"{warm} positive")
    if (seen < 0).any():
        parts.append(f"{cold} negative")
    if parts:
        beyond = np.max(np.abs(seen[np.isfinite(seen)]), initial=0) > size
        parts.append(f"strongest {'from' if beyond else 'at'} {number(size)}")
    others = []
    if grid.hidden.any():
        others.append(f"{screen.paint(HIDDEN_BLOCK if blocks else MASKED, 240)} hidden by the mask")
    if not np.isfinite(seen).all():
        others.append(f"{screen.paint(BROKEN, ALARM)} NaN or infinite")
    columns = f"across: {grid.across}" + (f", the largest of each {each}" if each > 1 else "")
    remarks = [columns, *grid.note.split("; ")] if grid.note else [columns]
    lines = wrapped([*(f"{remark};" for remark in remarks[:-1]), remarks[-1]], screen.columns, "  ", " ")
    lines = ["  " + "   ".join(marks) for marks in (parts, others) if marks] + lines
    return [screen.dim(line) if not screen.color else line for line in lines]
