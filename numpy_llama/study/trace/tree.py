"""A trace as a table, for a person at a terminal: values nested by name, with what is to be said of their numbers.

    call.0000  prefill, 3 tokens, float32
    ids 1 306 5
                             shape      min    max     mean    rms  nan
    model.embed_tokens     1×3×128    -0.61  0.532  0.00123  0.112    0
    model.layers.0         1×3×128    -3.27   2.94  0.00871  0.529    0
     input_layernorm       1×3×128    …

A value stands before those that it was made of. Unless a pattern asks for more, one layer is shown in full, and each of
the others as one line: the residual stream after it, which shows where numbers begin to grow, or NaN comes in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.values import computation_order, layer_of
from numpy_llama.study.trace.patterns import as_patterns
from numpy_llama.study.trace.trace import Partial, Trace, TracedCall

NARROWEST, WIDEST = 80, 160
ROOMY = 92  # columns from which numbers have three digits
LEAST_NAME = 16
MOST_IDS, MOST_ROWS = 12, 4
PIECE = 1 << 20  # elements that statistics are taken of at once


@dataclass(frozen=True)
class Numbers:
    """What can be said of an array's numbers in short.

    min, max, mean, rms   of those that are finite, known and not masked; NaN where there are none
    nan, inf              how many aren't numbers, how many are infinite
    masked                how many are the mask's: scores and masks hold the lowest number where nobody may look
    unknown               how many a file doesn't tell
    """

    min: float
    max: float
    mean: float
    rms: float
    nan: int = 0
    inf: int = 0
    masked: int = 0
    unknown: int = 0


def numbers_of(array: np.ndarray, name: str = "", partial: Partial | None = None) -> Numbers:
    """The statistics of an array, added up in float64.

    name     of the value: the masked elements of scores and masks are counted apart
    partial  which elements are known
    """
    masks = name.endswith((".scores", "causal_mask"))
    flat = array.reshape(-1) if partial is None else array[partial.known]
    low, high, total, squares, count = np.inf, -np.inf, 0.0, 0.0, 0
    nan = inf = masked = 0
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        lowest = np.finfo(piece.dtype).min / 2 if piece.dtype in (np.float16, np.float32, np.float64) else -1e38
        numbers = piece.astype(np.float64)
        nan += int(np.count_nonzero(np.isnan(numbers)))
        hidden = numbers <= float(lowest) if masks else np.zeros(numbers.shape, bool)
        inf += int(np.count_nonzero(np.isinf(numbers) & ~hidden))
        masked += int(np.count_nonzero(hidden))
        numbers = numbers[np.isfinite(numbers) & ~hidden]
        if numbers.size:
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
            with np.errstate(over="ignore"):
                total, squares = total + float(numbers.sum()), squares + float(np.square(numbers).sum())
            count += numbers.size
    unknown = array.size - flat.size
    if not count:
        return Numbers(np.nan, np.nan, np.nan, np.nan, nan, inf, masked, unknown)
    return Numbers(low, high, total / count, float(np.sqrt(squares / count)), nan, inf, masked, unknown)


def tree_text(trace: Trace, pattern: str | Sequence[str] | None, width: int) -> str:
    """The table; see Trace.tree."""
    if not isinstance(width, int) or not NARROWEST <= width <= WIDEST:
        raise LlamaError("impossible value", where="width", expected=f"{NARROWEST} … {WIDEST}", found=width)
    wanted = set(trace.names(*(() if pattern is None else as_patterns(pattern, "pattern"))))
    parts, folded = [], 0
    for place, call in enumerate(trace.calls):
        names = [name for name in sorted(call.values, key=computation_order) if f"{call.name}/{name}" in wanted]
        shown = _unfolded(names, place == 0) if pattern is None else names
        folded = max(folded, len(names) - len(shown))
        if names or pattern is None:
            parts.append("\n".join([*_heading(call, trace), *_table(trace, call, shown, width)]))
    if folded:
        parts.append('Of most layers only the end is shown; a pattern shows the rest: tree("model.layers.1.*")')
    parts += [f"note: {visible(note)}" for note in trace.notes]
    return "\n\n".join(parts) if parts else "no calls"


def _unfolded(names: list[str], first_call: bool) -> list[str]:
    """All names but those inside the layers; in the first call, those inside the first layer stay."""
    layers = [layer for name in names if (layer := layer_of(name)) is not None]
    kept = min(layers, default=None) if first_call else None
    return [name for name in names if layer_of(name) in (None, kept) or f"model.layers.{layer_of(name)}" not in names
            or name == f"model.layers.{layer_of(name)}"]  # fmt: skip


def _heading(call: TracedCall, trace: Trace) -> list[str]:
    """What the call is, and its token ids, a row of the batch a line."""
    new, past = call.new, call.past
    tokens = "an unknown number of tokens" if new is None else f"{new} token{'' if new == 1 else 's'}"
    ids = call.input_ids
    rows = "" if ids is None or len(ids) == 1 else f"{len(ids)} rows of "
    after = f" after {past}" if past else ""
    lines = [", ".join([f"{call.name}  {call.kind}", rows + tokens + after, *([trace.dtype] if trace.dtype else [])])]
    if ids is None:
        return lines
    mask = call.attention_mask
    real = np.ones(ids.shape, bool) if mask is None or mask.ndim != 2 else mask[:, -ids.shape[1] :] != 0
    for row, here in list(zip(ids, real, strict=True))[:MOST_ROWS]:
        shown = [str(token) if is_real else "·" for token, is_real in zip(row, here, strict=True)]
        more = f" … ({len(shown)} tokens)" if len(shown) > MOST_IDS else ""
        lines.append("ids " + " ".join(shown[:MOST_IDS]) + more)
    return [*lines, *(["…"] if len(ids) > MOST_ROWS else [])]


def _table(trace: Trace, call: TracedCall, names: list[str], width: int) -> list[str]:
    """A line a value."""
    if not names:
        return []
    digits = 3 if width >= ROOMY else 2
    rows = [["", "shape", "dtype", "min", "max", "mean", "rms", "nan", ""]]
    for name, label in _nested(names, 2 if width >= ROOMY else 1):
        array = call.values[name]
        n = numbers_of(array, name, trace.partial.get(f"{call.name}/{name}"))
        apart = [(n.inf, "inf"), (n.masked, "masked"), (n.unknown, "unknown")]
        remark = ", ".join(f"{count} {what}" for count, what in apart if count)
        shape = "×".join(map(str, array.shape)) or "one"
        four = [_number(number, digits) for number in (n.min, n.max, n.mean, n.rms)]
        rows.append([label, shape, array.dtype.name, *four, str(n.nan), remark])
    if len({row[2] for row in rows[1:]}) == 1 and rows[1][2] == trace.dtype:
        rows = [[*row[:2], *row[3:]] for row in rows]  # the heading says it for all
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = width - sum(widths[1:]) - len(widths) + (0 if widths[-1] else 1)
    widths[0] = min(widths[0], max(room, LEAST_NAME))
    return [_line(row, widths) for row in rows]


def _nested(names: list[str], step: int) -> Iterator[tuple[str, str]]:
    """(name, what to print) of each: below a value that its name goes on from, only what it adds, a step further in."""
    there = set(names)
    children: dict[str, list[str]] = {"": []}
    for name in names:
        parts = name.split(".")
        above = next((up for end in range(len(parts) - 1, 0, -1) if (up := ".".join(parts[:end])) in there), "")
        children.setdefault(above, []).append(name)

    def below(above: str, depth: int) -> Iterator[tuple[str, str]]:
        for name in children.get(above, []):
            yield name, " " * step * depth + visible(name[len(above) + 1 if above else 0 :])
            yield from below(name, depth + 1)

    return below("", 0)


def _line(cells: list[str], widths: list[int]) -> str:
    name, room = cells[0], widths[0]
    if len(name) > room:
        name = "…" + name[1 - room :]
    numbers = [f"{cell:>{room}}" for cell, room in zip(cells[1:-1], widths[1:-1], strict=True)]
    return " ".join([f"{name:<{widths[0]}}", *numbers, cells[-1]]).rstrip()


def _number(number: float, digits: int) -> str:
    """In few letters: 0.0123, -1.2e-5; a dash where there is none."""
    if np.isnan(number):
        return "-"
    if 100 <= abs(number) < 99999.5:
        return f"{number:.0f}"
    text = f"{number:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def visible(text: str) -> str:
    """Text with what can't be printed escaped: a file's names are anybody's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
