"""Quantize matrices with torchao, and write what comes back: data/published_quantization/int4.safetensors.

    pip install torchao==0.13.0
    python -m numpy_llama.reference.publish_quantization data/published_quantization

In this version Int4WeightOnlyConfig runs without a GPU. Its packed layout gives no codes away, so these come from the
functions that it calls itself, and must give the same numbers back as it does.
"""

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torchao.dtypes import Int4CPULayout
from torchao.quantization import Int4WeightOnlyConfig, quantize_
from torchao.quantization.quant_primitives import (
    MappingType,
    _choose_qparams_affine_tinygemm,
    _quantize_affine_tinygemm,
)

from numpy_llama.checkpoints.embedded import embedded_model_folder
from numpy_llama.checkpoints.safetensors_file import SafetensorsFile
from numpy_llama.reference.record import to_numpy

COMMAND = "python -m numpy_llama.reference.publish_quantization data/published_quantization"
GROUP_SIZES = (32, 64, 128)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}  # what torchao takes
SMALLEST_SCALE = 1e-6  # what Int4WeightOnlyConfig gives these functions


def weights() -> dict[str, np.ndarray]:
    """The matrices, in float32: of a trained model, and one whose rows are each hard in another way."""
    file = SafetensorsFile(embedded_model_folder() / "model.safetensors")
    generator = np.random.default_rng(0)
    hard = generator.standard_normal((16, 384), dtype=np.float32) * np.float32(0.05)
    hard[0] = 0
    hard[1] = 0.25
    hard[2] *= 1e-6  # finer than the smallest scale
    hard[3] *= 1000
    hard[4, ::50] *= 100  # outliers
    hard[5] = np.abs(hard[5])
    hard[6] = -np.abs(hard[6])
    hard[7] = np.round(hard[7] * 40) / 8  # few different values, many of them ties
    hard[8:] **= 3  # a few large numbers in each group; torchao wants sixteen rows or more
    return {
        "q_proj": file.read("model.layers.0.self_attn.q_proj.weight")[:16].astype(np.float32),
        "gate_proj": file.read("model.layers.3.mlp.gate_proj.weight")[:16].astype(np.float32),
        "hard": hard,
    }


def quantized(weight: torch.Tensor, group_size: int) -> dict[str, np.ndarray]:
    """What torchao makes of a matrix (O, I): dequantized (O, I), scales and zeros (O, I / group_size), codes (O, I)."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    layer.weight.data = weight.clone()
    quantize_(layer, Int4WeightOnlyConfig(group_size=group_size, layout=Int4CPULayout(), version=1))
    dequantized = layer.weight.dequantize()

    block = (1, group_size)
    scales, zeros = _choose_qparams_affine_tinygemm(
        weight, MappingType.ASYMMETRIC, block, torch.int32, 0, 15, SMALLEST_SCALE, zero_point_dtype=weight.dtype
    )
    scales, zeros = scales.reshape(len(weight), -1), zeros.reshape(len(weight), -1)  # of one group, too
    codes = _quantize_affine_tinygemm(weight, block, scales, zeros, torch.int32, 0, 15)
    again = (codes.reshape(*scales.shape, -1) - 8).to(weight.dtype) * scales[..., None] + zeros[..., None]
    if not torch.equal(again.reshape(weight.shape), dequantized):
        raise AssertionError(f"torchao's parts don't give what torchao gives: {weight.dtype}, groups of {group_size}")
    found = {"dequantized": dequantized, "scales": scales, "zeros": zeros, "codes": codes.to(torch.uint8)}
    return {name: to_numpy(tensor) for name, tensor in found.items()}


def publish(folder: Path) -> None:
    """Write the file."""
    tensors: dict[str, np.ndarray] = {}
    for name, weight in weights().items():
        tensors[f"{name}.weight"] = weight
        for dtype, torch_dtype in DTYPES.items():
            for group_size in GROUP_SIZES:
                if weight.shape[1] % group_size == 0:  # torchao leaves the others as they are
                    parts = quantized(torch.from_numpy(weight).to(torch_dtype), group_size)
                    tensors |= {f"{name}.{dtype}.{group_size}.{part}": array for part, array in parts.items()}
    packages = ("torchao", "torch", "numpy", "safetensors")
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
    made_by = {"command": COMMAND, "versions": versions}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "int4.safetensors"
    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()}, path, {"made_by": json.dumps(made_by)}
    )
    print(f"{path}: {path.stat().st_size:,} bytes, {len(tensors)} tensors")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    publish(parser.parse_args().folder)
