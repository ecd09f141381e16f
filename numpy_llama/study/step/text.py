"""How numbers and names are written on a screen of some width, with or without colours."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NARROWEST, WIDEST = 60, 140  # columns: below, lines are broken by the terminal; above, they are hard to follow


@dataclass(frozen=True)
class Screen:
    """What a text is written for.

    width    columns; taken as 60 at least and 140 at most
    color    whether colours are shown
    unicode  whether ▒ and → can be said; otherwise what is said is ASCII, but for the formulas
    """

    width: int = 80
    color: bool = False
    unicode: bool = True

    @property
    def columns(self) -> int:
        """Columns to write in."""
        return min(max(self.width, NARROWEST), WIDEST)

    def paint(self, text: str, color: int) -> str:
        """In one of the 256 colours of terminals, where colours are shown."""
        return f"\x1b[38;5;{color}m{text}\x1b[0m" if self.color and text.strip() else text

    def bold(self, text: str) -> str:
        """Bold, where colours are shown."""
        return f"\x1b[1m{text}\x1b[0m" if self.color else text

    def dim(self, text: str) -> str:
        """Grey, where colours are shown."""
        return self.paint(text, 245)

    @property
    def dot(self) -> str:
        """What parts two facts on a line."""
        return " · " if self.unicode else ", "

    @property
    def here(self) -> str:
        """The mark of where one stands."""
        return "→" if self.unicode else ">"


def printable(text: str) -> str:
    """Text that can't steer a terminal or break a line: what can't be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def columns(text: str) -> int:
    """Columns that a text takes: two for a wide character, none for a combining one."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fitted(text: str, width: int, right: bool = False) -> str:
    """Text in exactly so many columns, cut or filled up."""
    if columns(text) > width:
        while columns(text) > width - 2:
            text = text[:-1]
        text += ".."
    space = " " * (width - columns(text))
    return space + text if right else text + space


def number(value: float) -> str:
    """Four digits: "0.01234", "-3.403e+38"."""
    return f"{value:.4g}"


def wrapped(parts: Sequence[str], width: int, indent: str, between: str = "   ") -> list[str]:
    """Parts on as many lines as they need, none broken.

    indent  before the first line; as many spaces before the others
    """
    lines, line = [], indent
    for part in parts:
        if line.strip() != indent.strip() and columns(line) + columns(part) > width:
            lines.append(line.rstrip())
            line = " " * columns(indent)
        line += part + between
    return [*lines, line.rstrip()]
