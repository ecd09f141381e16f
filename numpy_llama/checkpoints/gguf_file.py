"""A GGUF file: weights as llama.cpp stores them, most of them in four to eight bits.

    checkpoint = open_gguf("SmolLM2-135M-Instruct.Q4_1.gguf")
    checkpoint.table()["model.layers.0.self_attn.q_proj.weight"]     # shape (576, 576), dtype Q4_1
    checkpoint.read("model.layers.0.self_attn.q_proj.weight")        # (576, 576) in float32

Three things differ from a Hugging Face folder.

Names. blk.0.attn_q.weight is model.layers.0.self_attn.q_proj.weight; the table below has them all.

Numbers. Along each row, a block of 32 (or 256) numbers is stored as small integers and one or two float16: in Q4_1,
number = scale · integer + minimum, with integers from 0 to 15. The `gguf` package knows each type's layout.

Rows of queries and keys. llama.cpp turns neighbouring channels as a pair, Hugging Face channels i and i + D/2. So
whoever converts a checkpoint to GGUF shuffles the rows of q_proj and k_proj within each head, and we shuffle them back;
rope_layout.py shows how. Values aren't turned, and stay as they are.
"""

import math
import os
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.gguf_config import ROPE_FREQS, ROPE_LONG, ROPE_SHORT, gguf_config
from numpy_llama.checkpoints.gguf_header import GGUFHeader, GGUFTensor, read_gguf_header
from numpy_llama.checkpoints.reader import StoredTensor
from numpy_llama.checkpoints.rope_layout import halves_from_neighbours
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.precision import DTYPES

SUFFIX = ".gguf"
WHOLE_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
IN_A_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Tensors that are no weights: what they say is in the config, or follows from it.
ROPE_TENSORS = (ROPE_FREQS, ROPE_SHORT, ROPE_LONG)
MOST_DIVISORS = 1 << 16  # in one of those
FLOATS = {"F32": DTYPES["float32"], "F16": DTYPES["float16"], "BF16": DTYPES["bfloat16"]}
WIDENED_AT_ONCE = 1 << 22  # numbers: so that a large matrix isn't there twice on the way


class GGUFFile:
    """A CheckpointReader of a GGUF file.

    path    of the file
    raises  LlamaError where its header can't be, or is no Llama's
    """

    format = "GGUF"

    def __init__(self, path: Path):
        self.path, self.files = path, (path,)
        self.header: GGUFHeader = read_gguf_header(path)
        rope = {name: self.header.tensors[name] for name in ROPE_TENSORS if name in self.header.tensors}
        for name, one in rope.items():
            if math.prod(one.shape) > MOST_DIVISORS:
                raise LlamaError("wrong shape", where=f"{path}: {name}", expected="(head_dim / 2,)", found=one.shape)
        self.config: LlamaConfig = gguf_config(self.header, {name: self._array(one) for name, one in rope.items()})
        self.generation_config: dict[str, Any] | None = None
        self._tensors: dict[str, GGUFTensor] = {}
        for name, one in self.header.tensors.items():
            ours = hugging_face_name(name)
            if ours in self._tensors:
                raise LlamaError("two tensors in one place", where=f"{path}: {self._tensors[ours].name}, {name}")
            if name not in rope:
                self._tensors[ours] = one

    def table(self) -> dict[str, StoredTensor]:
        """Every weight under Hugging Face's name; one that a Llama doesn't have keeps the file's."""
        return {name: StoredTensor(name, one.shape, one.type.name) for name, one in self._tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """One tensor, rows of queries and keys as Hugging Face has them.

        returns  in its stored dtype (F32, F16, BF16), a view of the mapped file where no row had to be moved; or in
                 float32 from a quantized type
        raises   LlamaError where the file has shrunk, rows can't be shared out among the heads, or the `gguf` package
                 is missing
        """
        array = self._array(self._tensors[name])
        for part, heads in (("q", self.config.num_attention_heads), ("k", self.config.num_key_value_heads)):
            if f".self_attn.{part}_proj." in name:
                if array.shape[0] % (2 * heads):
                    expected = f"{heads} heads of pairs"
                    raise LlamaError("wrong shape", where=f"{self.path}: {name}", expected=expected, found=array.shape)
                return halves_from_neighbours(array, heads)
        return array

    def _array(self, tensor: GGUFTensor) -> np.ndarray:
        """The numbers of a tensor in its shape, rows as the file has them."""
        if tensor.type.name not in FLOATS:
            return self._dequantized(tensor)
        part = self._mapped[tensor.start : tensor.start + tensor.nbytes]
        return part.view(FLOATS[tensor.type.name]).reshape(tensor.shape)

    @cached_property
    def _mapped(self) -> np.ndarray:
        """The bytes of the file, paged in as they are looked at."""
        mapped = np.memmap(self.path, np.uint8, mode="r")
        self._check_size(mapped.size)
        return mapped.view(np.ndarray)

    def _dequantized(self, tensor: GGUFTensor) -> np.ndarray:
        dequantize, types = _gguf_package(self.path)
        kind, columns = types[tensor.type.name], tensor.shape[-1]
        rows, at_once = math.prod(tensor.shape[:-1]), max(1, WIDENED_AT_ONCE // columns)
        widened = np.empty((rows, columns), np.float32)
        # Read and not mapped: pages of a mapped file would count as memory of this process, beside what they become.
        with self.path.open("rb") as file, np.errstate(all="ignore"):  # infinities are named when weights are checked
            self._check_size(file.seek(0, os.SEEK_END))
            file.seek(tensor.start)
            for first in range(0, rows, at_once):
                part = widened[first : first + at_once]
                stored = np.fromfile(file, np.uint8, len(part) * tensor.bytes_per_row)
                part[:] = dequantize(stored.reshape(len(part), tensor.bytes_per_row), kind)
        return widened.reshape(tensor.shape)

    def _check_size(self, size: int) -> None:
        """The header was held to the size that the file had then."""
        end = max(one.start + one.nbytes for one in self.header.tensors.values())
        if size < end:
            raise LlamaError("has become shorter", where=self.path, expected=f"{end} bytes", found=size)


def open_gguf(path: Path) -> GGUFFile:
    """Open a GGUF file, or the one in a folder.

    raises  LlamaError where there is none, or more than one, and as GGUFFile does
    """
    return GGUFFile(gguf_path(path))


def gguf_path(path: Path) -> Path:
    """The file itself, or the one in a folder.

    raises  LlamaError where there is none, or more than one
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"*{SUFFIX}"))
    if len(found) != 1:
        expected = f"one {SUFFIX} file; of several, name the one that is meant"
        names = ", ".join(one.name for one in found[:8]) or "none"
        raise LlamaError("no single checkpoint", where=path, expected=expected, found=names)
    return found[0]


def is_gguf(path: Path) -> bool:
    """Whether a path looks like a GGUF file, by its name, or is a folder with one."""
    return path.suffix == SUFFIX or (path.is_dir() and any(path.glob(f"*{SUFFIX}")))


def hugging_face_name(name: str) -> str:
    """The name of a tensor in a Hugging Face folder, from the one in a GGUF file; unknown names stay as they are."""
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if found and found.group(2) in IN_A_LAYER:
        return f"model.layers.{found.group(1)}.{IN_A_LAYER[found.group(2)]}.{found.group(3)}"
    return WHOLE_NAMES.get(name, name)


def _gguf_package(path: Path) -> tuple[Callable[..., np.ndarray], Any]:
    """gguf's dequantize, and its types by name.

    raises  LlamaError where the package is missing
    """
    try:
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError:
        expected = "the package gguf: pip install 'numpy_llama[gguf]'"
        raise LlamaError("quantized weights can't be read", where=path, expected=expected) from None
    return dequantize, GGMLQuantizationType
