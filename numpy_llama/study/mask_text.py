"""An attention mask as lines of text, for a terminal: a row for each token, a column for each that it may look at.

             0 1 2
    0 <s>    ◆ · ·
    1 ▁One   ■ ◆ ·
    2 ▁day   ■ ■ ◆

Every mark has its own shape, so that the picture says the same without colours.
"""

import os
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy_llama.study.attention_mask import AttentionMaskView

MOST_ROWS, MOST_TOKENS = 12, 100  # more make no picture
LONGEST_LABEL = 20  # columns
INDENT = 2

# By kind of cell, in the order of HIDDEN, EARLIER, ITSELF, LATER, PADDING. The colours, of the 256 that terminals have,
# stand apart for the colour-blind, too, and show on black and on white.
MARKS, ASCII_MARKS = "·■◆▲×", ".#@!x"
COLORS = (244, 33, 208, 199, 244)
MEANINGS = ("may not look", "may look at it", "itself", "looks ahead", "padding, hidden")
IN_LEGEND = (2, 1, 3, 0, 4)
EARLIER, OTHER_TEXT = 1, 36  # every other packed text has another colour
DIM = 244


def mask_text(view: "AttentionMaskView", *, color: bool, width: int | None, encoding: str) -> str:
    """The picture of a view; see AttentionMaskView.text for the arguments."""
    rows, total = view.padding.shape
    shown, gap = min(total, MOST_TOKENS), " "
    number = len(str(shown - 1))
    labels = [[_label(token, encoding) for token in row[:shown]] for row in view.tokens[:MOST_ROWS]]
    label = max(columns(text) for row in labels for text in row)
    before = INDENT + number + 1 + label + 2  # columns to the left of the first cell
    if width is not None and before + 2 * shown > width:
        gap = ""
        shown = max(1, min(shown, width - before))
    view = view.clipped(MOST_ROWS, shown)
    marks = MARKS if _can_say(MARKS, encoding) else ASCII_MARKS

    lines = [title(view, rows, total), ""]
    for row, kinds in enumerate(view.kinds):
        if rows > 1:
            lines.append(f"row {row}")
        lines += [" " * before + _paint(figures, DIM, color) for figures in _column_numbers(shown, number, gap)]
        for index, cells in enumerate(kinds.tolist()):
            place = _paint(f"{index:>{number}}", DIM, color)
            name = labels[row][index]
            name += " " * (label - columns(name))
            name = _paint(name, DIM, color and bool(view.padding[row, index]))
            odd = view.sequence[row, index] % 2
            colors = [OTHER_TEXT if kind == EARLIER and odd else COLORS[kind] for kind in cells]
            painted = [_paint(marks[kind], c, color) for kind, c in zip(cells, colors, strict=True)]
            lines.append(" " * INDENT + f"{place} {name}  " + gap.join(painted))
        lines.append("")
    parts = [f"{_paint(marks[kind], COLORS[kind], color)} {MEANINGS[kind]}" for kind in IN_LEGEND if kind in view.kinds]
    return "\n".join([*lines, " " * INDENT + "   ".join(parts), *(" " * INDENT + note for note in notes(view))])


def title(view: "AttentionMaskView", rows: int, tokens: int) -> str:
    """What the picture of a view shows and leaves out; rows and tokens as many as there were before it was clipped."""
    text = "Which token (row) may look at which (column)"
    if view.head is not None:
        text += f", head {view.head}"
    shown_rows, shown = view.padding.shape
    if shown_rows < rows:
        text += f", the first {shown_rows} of {rows} rows"
    if shown < tokens:
        text += f", the first {shown} of {tokens} tokens"
    return text


def notes(view: "AttentionMaskView") -> list[str]:
    """What the marks don't say by themselves."""
    lines = []
    texts = int(view.sequence.max()) + 1
    if texts > 1:
        lines.append(f"{texts} texts are packed in one row.")
    blind = ~view.visible.any(axis=-1)  # (B, S)
    if (blind & ~view.padding).any():
        lines.append("There is a token that may look at nothing.")
    elif blind.any():
        lines.append("Padding that may look at nothing does no harm: what it computes is never read.")
    return lines


def columns(text: str) -> int:
    """Columns that a text takes on a terminal: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def terminal_colors() -> bool:
    """Whether stdout is a terminal that shows colours, and nobody asked for none (no-color.org)."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is none."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else None


def terminal_encoding() -> str:
    """What stdout can say."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _label(token: str, encoding: str) -> str:
    """A token as one line can show it: what isn't printable is escaped, and what is too long is cut."""
    label = ""
    for character in token:
        # A variation selector would change the width of the character before it, in some terminals.
        plain = character.isprintable() and not "\ufe00" <= character <= "\ufe0f" and _can_say(character, encoding)
        label += character if plain else character.encode("unicode_escape").decode("ascii")
    if unicodedata.combining(label[:1] or " "):
        label = " " + label  # it would stand on the space before the label
    if columns(label) <= LONGEST_LABEL:
        return label
    while columns(label) > LONGEST_LABEL - 3:
        label = label[:-1]
    return label + "..."


def _can_say(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _column_numbers(count: int, digits: int, gap: str) -> list[str]:
    """The numbers of the columns, written downwards; tens only where they begin."""
    lines = []
    for unit in (10**place for place in reversed(range(digits))):
        figures = [str(i // unit % 10) if i % unit == 0 and (i >= unit or unit == 1) else " " for i in range(count)]
        lines.append(gap.join(figures).rstrip())
    return lines


def _paint(text: str, color: int, colors: bool) -> str:
    return f"\x1b[38;5;{color}m{text}\x1b[0m" if colors and text.strip() else text
