"""A drawing into a file: whole or not at all, under the very name that was given."""

from pathlib import Path
from typing import Any

from numpy_llama.cli.terminal import note
from numpy_llama.errors import LlamaError
from numpy_llama.files import write_atomically


def write_figure(figure: Any, name: str, option: str = "--figure") -> None:
    """Write a matplotlib figure, and say so on stderr.

    name    of the file; its ending says in which format
    option  of the command line that named it, for messages
    raises  LlamaError where the ending is none that matplotlib knows, or the file can't be written
    """
    kinds = figure.canvas.get_supported_filetypes()
    kind = Path(name).suffix.lower().removeprefix(".")
    if kind not in kinds:
        expected = "a name that ends in one of " + ", ".join(f".{one}" for one in sorted(kinds))
        raise LlamaError("no kind of picture", where=f"{option} {name}", expected=expected)
    if not Path(name).parent.is_dir():
        raise LlamaError("no such folder", where=f"{option} {name}")
    write_atomically(Path(name), lambda temporary: figure.savefig(temporary, dpi=150, format=kind))
    note(f"written: {name}")
