"""What a chat looks like: on a terminal, a quiet page with room around the words; in a pipe, the words alone.

› What is a llama?

  A llama is a domesticated animal of the Andes, kept for its wool and to
  carry loads.

  24 tokens, 31 a second · 61 of 8,192 in the context
"""

import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress

from numpy_llama.cli.terminal import visible, width
from numpy_llama.errors import LlamaError

INDENT = "  "
WIDEST = 88  # columns, beyond which lines are hard to read


class Screen:
    """Where a chat is shown, and where its questions come from.

    is_terminal  whether a person sits there: stdin and stdout are both a terminal
    """

    def __init__(self) -> None:
        self.is_terminal = bool(sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty())
        self._styled = self.is_terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        self._prompt = "› " if encoding.lower().startswith("utf") else "> "
        if self.is_terminal:
            with suppress(ImportError):
                import readline  # noqa: F401  # which gives input() a history and keys that move

    def ask(self) -> str | None:
        """The next line; None where there is no more (Ctrl-D).

        raises  LlamaError where it isn't UTF-8
        """
        try:
            if not self.is_terminal:
                line = sys.stdin.buffer.readline() if sys.stdin else b""
                return line.decode("utf-8").rstrip("\r\n") if line else None
            return input(f"\001\033[1m\002{self._prompt}\001\033[0m\002" if self._styled else self._prompt)
        except EOFError:
            print()
            return None
        except UnicodeDecodeError as error:
            found = f"0x{error.object[error.start]:02x}"
            raise LlamaError("not valid UTF-8", where=f"stdin, byte {error.start} of a line", found=found) from None

    def say(self, pieces: Iterable[str]) -> None:
        """Show an answer as it comes."""
        if not self.is_terminal:
            for piece in pieces:
                print(_printable(piece), end="", flush=True)
            print(flush=True)
            return
        print()
        lines = self._lines()
        try:
            for piece in pieces:
                print(lines.push(_printable(piece)), end="", flush=True)
        finally:
            print(lines.finish(), flush=True)

    def remark(self, text: str) -> None:
        """A line about the chat, not of it; on a terminal alone."""
        if self.is_terminal:
            lines = self._lines()
            broken = lines.push(text) + lines.finish()
            print(f"\033[2m{broken}\033[0m\n" if self._styled else f"{broken}\n", flush=True)

    def _lines(self) -> "Lines":
        return Lines(min(shutil.get_terminal_size().columns, WIDEST) - 1)

    def space(self) -> None:
        """An empty line, on a terminal."""
        if self.is_terminal:
            print(flush=True)


class Lines:
    """Breaks a text that grows into lines of at most `columns`, between words, each with an indent.

    A word is held back until it is complete, since only then is it known whether it still fits.
    """

    def __init__(self, columns: int, indent: str = INDENT):
        self._columns, self._indent = max(columns, len(indent) + 8), indent
        self._column = 0
        self._word = ""
        self._spaces = ""

    def push(self, text: str) -> str:
        """What can be written by now."""
        written = ""
        for character in text:
            if character == "\n":
                written += self._flush() + "\n"
                self._column, self._spaces = 0, ""
            elif character in " \t":
                written += self._flush()
                self._spaces += " " if character == " " else "    "
            else:
                self._word += character
                wide = width(character) == 2  # Chinese and Japanese may break anywhere
                if wide or len(self._indent) + width(self._word) >= self._columns:
                    written += self._flush()
        return written

    def finish(self) -> str:
        """What was held back."""
        return self._flush()

    def _flush(self) -> str:
        """The word that is held, on this line or the next."""
        if not self._word:
            return ""
        before = self._spaces
        if self._column == 0:
            before = self._indent + before
        elif self._column + width(before) + width(self._word) > self._columns:
            before, self._column = "\n" + self._indent, 0
        self._column += width(before.removeprefix("\n")) + width(self._word)
        word, self._word, self._spaces = self._word, "", ""
        return before + word


def _printable(text: str) -> str:
    """Text that can't steer a terminal: everything but line ends and tabs that can't be printed is escaped."""
    return "".join(character if character in "\n\t" else visible(character) for character in text)
