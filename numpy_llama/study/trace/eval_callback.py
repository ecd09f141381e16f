"""What llama-eval-callback prints: every tensor of llama.cpp's graph, four decimals of some of its elements.

    ggml_debug:   attn_norm-0 = (f32)   MUL(norm-0{64, 5, 1, 1}, blk.0.attn_norm.weight{64, 1, 1, 1}}) = {64, 5, 1, 1}
                                     [
                                      [
                                       [     -0.1800,       0.2817, ...,      -0.0181,       0.0272],
                                       ...,
                                      ],
                                     ]
                                     sum = -1.528413

An axis longer than six shows its first three and its last three. So most elements stay unknown, and those that are
shown may be 0.00005 off. Newer versions begin the line with common_debug_cb_eval, and indent otherwise.

The sum is not used: versions differ in whether it is over all elements or over those shown.

source  github.com/ggml-org/llama.cpp, examples/eval-callback/eval-callback.cpp and common/debug.cpp
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpy_llama.errors import LlamaError

RESOLUTION = 0.00005
SHOWN_AT_ENDS = 3
LARGEST_TEXT = 1 << 31  # bytes
LARGEST_VALUE = 1 << 28  # elements: of one printed tensor, all of which get a place in memory
LARGEST_TOTAL = 1 << 28  # elements of all of them

_HEADER = re.compile(
    r"(?:ggml_debug|common_debug_cb_eval):\s+(?P<name>.+?) = \((?P<type>\w+)\)\s+(?P<op>\w+)\((?P<sources>.*)\)"
    r" = \{(?P<ne>\d+(?:, \d+){0,3})\}\s*$"
)
_NUMBER = re.compile(r"[-+]?(?:nan|inf|\d+\.\d+)(?:\([a-z0-9]*\))?|\.\.\.", re.IGNORECASE)
_FLOATS = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Printed:
    """One tensor that was printed.

    name     as llama.cpp has it, "attn_norm-0"
    op       the operation that made it, "MUL"
    sources  the names of its operands, with their sizes
    array    (ne3, ne2, ne1, ne0) float64, NaN where nothing was shown
    known    bool, of the same shape
    """

    name: str
    op: str
    sources: str
    array: np.ndarray
    known: np.ndarray


def is_eval_callback(path: Path) -> bool:
    """Whether a file looks like llama-eval-callback's text: such a line in its first megabyte."""
    with path.open("rb") as file:
        start = file.read(1 << 20)
    return b"ggml_debug: " in start or b"common_debug_cb_eval: " in start


def read_eval_callback(path: Path, wanted: re.Pattern[str]) -> Iterator[Printed]:
    """The tensors of a text, in order of computation.

    wanted  of the others nothing is kept but that they were there: their arrays are empty
    raises  LlamaError naming the line, where the text breaks off or isn't what its header says
    """
    if path.stat().st_size > LARGEST_TEXT:
        raise LlamaError("too large", where=path, expected=f"at most {LARGEST_TEXT} bytes", found=path.stat().st_size)
    total = 0
    header, header_line = None, 0
    rows: list[str] = []
    with path.open("r", encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if "ggml_debug" not in line and "common_debug_cb_eval" not in line:
                if header is not None and "[" in line:
                    rows.append(line)
                continue
            found = _HEADER.search(line.rstrip())
            if header is not None:
                yield _printed(header, rows, f"{path}, line {header_line}")
            header, header_line, rows = None, number, []
            if found is not None and found["type"] in _FLOATS and wanted.fullmatch(found["name"]):
                header = found
                total += _count(found, f"{path}, line {number}")
                if total > LARGEST_TOTAL:
                    expected = f"at most {LARGEST_TOTAL} in all: a shorter prompt"
                    raise LlamaError("too many elements", where=f"{path}, line {number}", expected=expected)
        if header is not None:
            yield _printed(header, rows, f"{path}, line {header_line}")


def _count(header: re.Match[str], where: str) -> int:
    sizes = [int(size) for size in header["ne"].split(", ")]
    count = 1
    for size in sizes:
        count *= size
    if not 0 < count <= LARGEST_VALUE:
        raise LlamaError("impossible size", where=where, expected=f"1 … {LARGEST_VALUE} elements", found=sizes)
    return count


def _printed(header: re.Match[str], rows: list[str], where: str) -> Printed:
    """Put what was shown where it belongs."""
    sizes = [int(size) for size in header["ne"].split(", ")]
    ne = sizes + [1] * (4 - len(sizes))
    array = np.full(ne[::-1], np.nan)
    known = np.zeros(ne[::-1], bool)
    shown = [_shown(size) for size in ne]
    numbers = [_row(line) for line in rows]
    numbers = [row for row in numbers if row]
    places = [(i3, i2, i1) for i3 in range(ne[3]) for i2 in shown[2] for i1 in shown[1]]
    if len(numbers) != len(places):
        raise LlamaError(
            "the text breaks off, or shows other elements than llama-eval-callback does",
            where=where,
            expected=f"{len(places)} rows of {header['name']}",
            found=len(numbers),
        )
    for (i3, i2, i1), row in zip(places, numbers, strict=True):
        columns = shown[0][: len(row) - 1] if row[-1] == "..." else shown[0]
        values = [float(re.sub(r"\(.*", "", number)) for number in row if number != "..."]
        if len(values) != len(columns):
            expected = f"{len(columns)} numbers in a row of {header['name']}"
            raise LlamaError("a row of another length", where=where, expected=expected, found=len(values))
        array[i3, i2, i1, columns] = values
        known[i3, i2, i1, columns] = True
    return Printed(header["name"], header["op"], header["sources"], array, known)


def _shown(size: int) -> list[int]:
    """Which places of an axis are shown."""
    ends = SHOWN_AT_ENDS
    return list(range(size)) if size <= 2 * ends else [*range(ends), *range(size - ends, size)]


def _row(line: str) -> list[str]:
    """The numbers of a row, "..." among them; nothing for a line of brackets, or where the row isn't closed."""
    inside = re.search(r"\[(.*)\]", line)
    found = [] if inside is None else _NUMBER.findall(inside[1])
    return [] if found in ([], ["..."]) else found
