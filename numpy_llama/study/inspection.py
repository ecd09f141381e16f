"""Inspection: what can be said of a model without running it, or reading its weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.checkpoints.load import checked_table
from numpy_llama.checkpoints.reader import open_checkpoint
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import count_parameters, tensor_shapes
from numpy_llama.precision import DTYPES
from numpy_llama.study.operations import FLOPS_PER_MULTIPLY_ADD, multiply_adds


@dataclass(frozen=True)
class BlockParameters:
    """One line of the table of parameters.

    block   its name, that of a layer's tensor without the layer: "self_attn.q_proj"
    shape   of its weight
    each    numbers in it, a bias included
    copies  L for a block that every layer has, else 1
    """

    block: str
    shape: tuple[int, ...]
    each: int
    copies: int

    @property
    def total(self) -> int:
        """Numbers in all copies."""
        return self.each * self.copies


def parameters_by_block(config: LlamaConfig) -> list[BlockParameters]:
    """The table of parameters, in order of use. A tied head has no line: it is the embedding table."""
    return list(_parameters_by_block(config))


def _parameters_by_block(config: LlamaConfig) -> Iterator[BlockParameters]:
    first_layer = "model.layers.0."
    biases = {name: shape for name, shape in tensor_shapes(config) if name.endswith(".bias")}
    for name, shape in tensor_shapes(config):
        in_a_layer = name.startswith("model.layers.")
        if name in biases or (in_a_layer and not name.startswith(first_layer)):
            continue  # counted with its weight; counted with its first copy
        stem = name.removesuffix(".weight")
        bias = biases.get(f"{stem}.bias", (0,))
        each = int(np.prod(shape, dtype=object)) + bias[0]
        block = stem.removeprefix(first_layer).removeprefix("model.")
        yield BlockParameters(block, shape, each, config.num_hidden_layers if in_a_layer else 1)


def weight_bytes(config: LlamaConfig, dtype: str) -> int:
    """Bytes that the weights take in a dtype."""
    return count_parameters(config) * DTYPES[dtype].itemsize


def cache_bytes(config: LlamaConfig, tokens: int, dtype: str) -> int:
    """Bytes of keys and values that one text of so many tokens keeps.

    2 · L · K · D numbers for each token
    """
    numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return tokens * numbers * DTYPES[dtype].itemsize


@dataclass(frozen=True)
class CheckpointFacts:
    """What the config and the headers of a checkpoint's weights say.

    format         "Hugging Face", "GGUF", "llama2.c" or "Meta"
    files          that hold the weights
    stored_dtypes  {the format's name of a dtype: numbers stored in it}
    file_bytes     size of all the files
    """

    config: LlamaConfig
    format: str
    files: tuple[Path, ...]
    stored_dtypes: dict[str, int]
    file_bytes: int


def inspect_checkpoint(path: Path) -> CheckpointFacts:
    """Read config and headers of a checkpoint, and hold one to the other; no weight is read.

    raises  LlamaError where either is missing, damaged, or doesn't fit the other
    """
    checkpoint = open_checkpoint(path)
    stored: dict[str, int] = {}
    for tensor in checked_table(checkpoint).values():
        stored[tensor.dtype] = stored.get(tensor.dtype, 0) + int(np.prod(tensor.shape, dtype=object))
    files = checkpoint.files
    return CheckpointFacts(
        checkpoint.config, checkpoint.format, files, stored, sum(file.stat().st_size for file in files)
    )


def inspect_model(config: LlamaConfig, context: int | None = None) -> dict[str, Any]:
    """Everything that a config tells about a model, in plain dicts that JSON can hold.

    context  tokens of text that cache and operations are counted for; the trained context unless given
    returns  config, parameters (a list of blocks, and their total), memory (bytes by dtype), operations
             (of the last token of the context, in a decode step; by rule of thumb, every weight takes part in
             one multiply-add)
    """
    context = config.max_position_embeddings if context is None else context
    rows = parameters_by_block(config)
    counts = multiply_adds(config, context)
    return {
        "config": config.to_dict(),
        "parameters": {
            "total": count_parameters(config),
            "blocks": [
                {"block": r.block, "shape": r.shape, "each": r.each, "copies": r.copies, "total": r.total} for r in rows
            ],
        },
        "memory": {
            "context": context,
            "bytes": {
                dtype: {
                    "weights": weight_bytes(config, dtype),
                    "cache_per_token": cache_bytes(config, 1, dtype),
                    "cache": cache_bytes(config, context, dtype),
                }
                for dtype in DTYPES
            },
        },
        "operations": {
            "context": context,
            "multiply_adds": counts,
            "total_multiply_adds": sum(counts.values()),
            "flops": FLOPS_PER_MULTIPLY_ADD * sum(counts.values()),
            "rule_of_thumb": FLOPS_PER_MULTIPLY_ADD * count_parameters(config),
        },
    }
