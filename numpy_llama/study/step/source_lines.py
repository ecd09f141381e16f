"""Where in the code a value was made: the line that hands it through `probe`, with the lines before it."""

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import numpy_llama.probe
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.values import table_name
from numpy_llama.probe import Call, record

PACKAGE = Path(numpy_llama.probe.__file__).parent
LINES_BEFORE = 2


@dataclass(frozen=True)
class SourceLine:
    """A line of code.

    file      full path
    number    from 1
    function  that it stands in
    """

    file: str
    number: int
    function: str

    @property
    def short(self) -> str:
        """ "numpy_llama/blocks/attention.py:50"; only the file's own name outside the package."""
        path = Path(self.file)
        inside = path.is_relative_to(PACKAGE)
        return f"{path.relative_to(PACKAGE.parent).as_posix() if inside else path.name}:{self.number}"

    def code(self) -> list[tuple[int, str]]:
        """The line and up to two before it that belong to it, as (number, text), without the indent they share."""
        numbers = range(max(1, self.number - LINES_BEFORE), self.number + 1)
        lines = [(number, linecache.getline(self.file, number).rstrip()) for number in numbers]
        for index in range(len(lines) - 2, -1, -1):
            if not lines[index][1] or lines[index][1].endswith(('"""', "):")):  # what stands before is another matter
                lines = lines[index + 1 :]
                break
        indents = [len(text) - len(text.lstrip()) for _, text in lines]
        return [(number, text[min(indents) :]) for number, text in lines]


@contextmanager
def recorded_lines() -> Iterator[dict[str, SourceLine]]:
    """While this lasts, each value's line is noted under the name that the table of values has for it.

    A block that somebody has swapped in is noted as well as ours.
    """
    lines: dict[str, SourceLine] = {}

    def note(name: str, value: np.ndarray, call: Call) -> None:
        name = table_name(name)
        if name in lines:
            return
        frame = sys._getframe(1)
        while frame.f_code is not numpy_llama.probe.probe.__code__:
            assert frame.f_back is not None
            frame = frame.f_back
        if frame.f_back is not None:
            code = frame.f_back.f_code
            lines[name] = SourceLine(code.co_filename, frame.f_back.f_lineno, code.co_name)

    with record(note):
        yield lines


@cache
def own_lines() -> dict[str, SourceLine]:
    """Where our own code makes each value: a Llama of one layer is run to see."""
    sizes: dict[str, Any] = {"hidden_size": 4, "intermediate_size": 4, "vocab_size": 4, "num_hidden_layers": 1}
    config = LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, head_dim=2)
    tensors = {name: np.ones(shape, np.float32) for name, shape in LlamaForCausalLM.tensor_shapes(config).items()}
    with recorded_lines() as lines:
        LlamaForCausalLM(config, tensors)([[1, 2]])
    return lines
