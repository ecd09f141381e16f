"""Quantized weights in a Hugging Face folder: a layout of our own, which Transformers doesn't read.

    config.json                            "quantization_config": {"quant_method": "numpy_llama", "bits": 4,
                                                                   "group_size": 128, "symmetric": false}
    model.safetensors
      ….self_attn.q_proj.weight.codes      U8  (O, ⌈I · bits / 8⌉), two of 4 bits in a byte, the first in its lower half
      ….self_attn.q_proj.weight.scales     F32 (O, ⌈I / group_size⌉), or another of the four dtypes
      ….self_attn.q_proj.weight.zeros      as the scales; missing where symmetric is true

Each of the seven matrices of a layer is stored so; everything else as in any folder. A weight is
(code − 2ᵇ⁻¹) · scale + zero.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from numpy_llama.blocks.quantized_weight import QuantizedWeight, dequantize
from numpy_llama.checkpoints.folder import HuggingFaceFolder
from numpy_llama.checkpoints.reader import CheckpointReader, StoredTensor
from numpy_llama.checkpoints.safetensors_file import STORED_DTYPES, check_dtype
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.quantization import Quantization, is_quantizable, quantization_in_config
from numpy_llama.model.weights import body_shapes

PARTS = ("codes", "scales", "zeros")


def quantization_for(checkpoint: CheckpointReader, asked_for: Quantization | None) -> Quantization | None:
    """How a model's weights are to be quantized: as they are stored, or as it is asked for; None where neither.

    raises  LlamaError where they are stored in another way than asked for
    """
    stored = checkpoint.quantization if isinstance(checkpoint, QuantizedFolder) else None
    if asked_for is not None and stored is not None and asked_for != stored:
        raise LlamaError("quantized already", where=checkpoint.path, expected=asked_for, found=stored)
    return asked_for if stored is None else stored


def quantized_weight(
    checkpoint: CheckpointReader, name: str, dtype: np.dtype, quantization: Quantization
) -> QuantizedWeight:
    """A matrix of any checkpoint, quantized: as it is stored, or converted to the dtype and then quantized.

    raises  LlamaError naming file and matrix where its numbers aren't finite, or are too far apart
    """
    if isinstance(checkpoint, QuantizedFolder):
        return checkpoint.read_quantized(name).astype(dtype)
    with np.errstate(over="ignore"):  # what overflows is named by the next line
        weight = checkpoint.read(name).astype(dtype, copy=False)
    return quantization(f"{checkpoint.path}: {name}", weight)


def stored_parts(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What is written of a model's tensors: those that aren't quantized as they are, the parts of the others."""
    parts: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, QuantizedWeight):
            arrays = {f"{name}.{part}": getattr(tensor, part) for part in PARTS}
            parts |= {one: array for one, array in arrays.items() if array is not None}
        else:
            parts[name] = tensor
    return parts


class QuantizedFolder(HuggingFaceFolder):
    """A reader of such a folder; see CheckpointReader. It reads a weight in float32, or as it is stored."""

    @cached_property
    def quantization(self) -> Quantization:
        """What config.json says of it.

        raises  LlamaError where weights are quantized in another way than ours
        """
        path = self.folder / "config.json"
        try:
            quantization = quantization_in_config(self.config.extra)
        except LlamaError as error:
            where = f"{path}: {error.where}"
            raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None
        assert quantization is not None
        return quantization

    def table(self) -> dict[str, StoredTensor]:
        """See CheckpointReader; parts of a weight stand together as one of dtype "INT4" or "INT8".

        raises  LlamaError where a part is missing, or isn't of the shape or dtype that the config gives it
        """
        return self._table

    @cached_property
    def _table(self) -> dict[str, StoredTensor]:
        stored = {name: file.table[name] for name, file in self._homes.items()}
        table: dict[str, StoredTensor] = {}
        for name, tensor in stored.items():
            path = self._homes[name].path
            weight, _, part = name.rpartition(".")
            if is_quantizable(name):
                expected = f"{name}.codes and what belongs to it, as quantization_config in config.json says"
                raise LlamaError("not quantized", where=f"{path}: {name}", expected=expected)
            if part not in PARTS or not is_quantizable(weight):
                check_dtype(tensor, path)
                table[name] = tensor
            elif part == PARTS[0]:
                shape = _shape_in(self.config, weight)
                _check_parts(weight, shape, stored, self.quantization, path)
                table[weight] = StoredTensor(weight, shape, f"INT{self.quantization.bits}")
            elif f"{weight}.{PARTS[0]}" not in stored or name not in _part_names(weight, self.quantization):
                raise LlamaError("surplus tensor", where=f"{path}: {name}", expected="no such tensor")
        return table

    def read(self, name: str) -> np.ndarray:
        """See CheckpointReader."""
        if self._is_quantized(name):
            return dequantize(self.read_quantized(name)).astype(np.float32, copy=False)
        return super().read(name)

    def read_quantized(self, name: str) -> QuantizedWeight:
        """A weight as it is stored, in memory of its own.

        raises  LlamaError where it stands for infinite numbers
        """
        parts = {one.rpartition(".")[2]: self._part(one) for one in _part_names(name, self.quantization)}
        settings = (self.quantization.bits, self.quantization.group_size, _shape_in(self.config, name))
        try:
            return QuantizedWeight(parts["codes"], parts["scales"], parts.get("zeros"), *settings)
        except LlamaError as error:
            where = f"{self.path}: {name}: {error.where}"
            raise LlamaError(error.what, where=where, expected=error.expected, found=error.found) from None

    def _part(self, name: str) -> np.ndarray:
        with safe_open(self._homes[name].path, framework="np") as file:
            return file.get_tensor(name)

    def _is_quantized(self, name: str) -> bool:
        return self._table[name].dtype.startswith("INT")


def _part_names(name: str, quantization: Quantization) -> list[str]:
    """The names under which a weight's parts are stored."""
    return [f"{name}.{part}" for part in PARTS if part != "zeros" or not quantization.symmetric]


def _shape_in(config: LlamaConfig, name: str) -> tuple[int, int]:
    """(O, I) of a matrix of any layer, under the prefix of any of the five models."""
    kind = name.split(".")[-3:]  # self_attn, q_proj, weight
    rows, columns = next(shape for one, shape in body_shapes(config) if one.split(".")[-3:] == kind)
    return rows, columns


def _check_parts(
    name: str,
    shape: tuple[int, int],
    stored: Mapping[str, StoredTensor],
    quantization: Quantization,
    path: Path,
) -> None:
    """Hold the parts of a weight to its shape and to the settings, by the file's header."""
    rows, columns = shape
    groups = (rows, -(-columns // quantization.group_size))
    shapes = {"codes": (rows, -(-columns * quantization.bits // 8)), "scales": groups, "zeros": groups}
    for one in _part_names(name, quantization):
        part = one.rpartition(".")[2]
        if one not in stored:
            raise LlamaError("missing tensor", where=f"{path}: {one}", expected=shapes[part])
        if stored[one].shape != shapes[part]:
            raise LlamaError("wrong shape", where=f"{path}: {one}", expected=shapes[part], found=stored[one].shape)
        expected = ["U8"] if part == "codes" else list(STORED_DTYPES)
        if stored[one].dtype not in expected:
            expected_dtype = "one of " + ", ".join(expected) if len(expected) > 1 else expected[0]
            raise LlamaError("wrong dtype", where=f"{path}: {one}", expected=expected_dtype, found=stored[one].dtype)
