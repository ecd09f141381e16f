"""What the sub-commands share in talking to a person: notes on stderr, tables on stdout, texts from stdin."""

import sys
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy_llama.errors import LlamaError, LlamaWarning

NAME = "numpy-llama"


def note(text: str) -> None:
    """One line on stderr."""
    print(f"{NAME}: {visible(' '.join(text.split()))}", file=sys.stderr, flush=True)


def visible(text: str) -> str:
    """Text with what can't be printed escaped, so that it can't break a line or steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """While this lasts, each LlamaWarning is one note, rather than Python's two lines with a path in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", LlamaWarning)
        plain = warnings.showwarning

        def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
            if issubclass(category, LlamaWarning):
                note(f"warning: {message}")
            else:
                plain(message, category, *place, **more)

        warnings.showwarning = show
        yield


@contextmanager
def warnings_held() -> Iterator[None]:
    """Warnings that come up meanwhile are shown at the end, not in the middle of a line of text."""
    with warnings.catch_warnings(record=True) as held:
        yield
    for warning in held:
        warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def read_text(argument: str | None) -> str:
    """The text that a sub-command works on: its argument, or what is piped in where that is missing or "-".

    One line end at the end of a piped text isn't part of it: `echo` and editors put it there.

    raises  LlamaError where there is nothing to read, or it isn't UTF-8
    """
    if argument is not None and argument != "-":
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _not_utf8("TEXT on the command line", error.start, argument[error.start]) from None
        return argument
    if sys.stdin is None or (argument is None and sys.stdin.isatty()):
        raise LlamaError("no text", expected='one in quotes ("Once upon a time"), or piped in')
    piped = sys.stdin.buffer.read()
    try:
        text = piped.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8("stdin", error.start, piped[error.start]) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise LlamaError("no text", where="stdin", expected='at least one character (give "" to begin from nothing)')
    return text


def _not_utf8(where: str, position: int, found: str | int) -> LlamaError:
    """found  the byte, or the lone surrogate that Python keeps in its place"""
    code = found if isinstance(found, int) else ord(found)
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    unit = "byte" if isinstance(found, int) else "character"
    return LlamaError("not valid UTF-8", where=f"{where}, {unit} {position}", found=f"0x{byte:02x}")


def table(rows: Sequence[Sequence[str]], align: str, indent: int = 2) -> str:
    """Rows as lines, columns padded to the same width on a terminal.

    align   one letter a column: l or r
    """
    widths = [max(width(row[column]) for row in rows) for column in range(len(align))]
    lines = []
    for row in rows:
        cells = [
            " " * (full - width(cell)) + cell if side == "r" else cell + " " * (full - width(cell))
            for cell, full, side in zip(row, widths, align, strict=True)
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def width(text: str) -> int:
    """Columns that a text takes on a terminal: two for a wide character, none for a combining one."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
