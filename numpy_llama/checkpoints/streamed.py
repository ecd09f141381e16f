"""Weights that stay on disk: what `from_pretrained(…, weights="stream")` makes of a checkpoint's tensors."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from numpy_llama.checkpoints.reader import CheckpointReader, StoredTensor
from numpy_llama.errors import LlamaError
from numpy_llama.model.streamed_tensor import StoredMatrix, StreamedTensor

WAYS = ("load", "stream")


def check_way(weights: object) -> None:
    """raises  LlamaError where `weights` is none of the ways there are"""
    if not isinstance(weights, str) or weights not in WAYS:
        expected = " or ".join(map(repr, WAYS))
        raise LlamaError("no such way to hold weights", where="weights", expected=expected, found=repr(weights))


def streamed_tensors(
    reader: CheckpointReader, found: Mapping[str, StoredTensor], dtype: np.dtype
) -> dict[str, np.ndarray | StreamedTensor]:
    """Tensors of a model, matrices to be read when they are used; norms and biases, a millionth of the whole, now.

    found    the reader's tensors, under the names that they have in the model, held to the config already
    dtype    that the model computes in
    returns  under the model's names; each behaves as an array of `dtype`
    raises   LlamaError where a norm or a bias is no finite number; a matrix is checked when it is first used
    """
    tensors: dict[str, np.ndarray | StreamedTensor] = {}
    for name, one in found.items():
        matrix = StoredMatrix(partial(reader.read, one.name), one.shape, f"{reader.path}: {one.name}")
        if len(one.shape) == 1:
            vector = np.empty(one.shape, dtype)
            matrix.widen_into(vector)
            tensors[name] = vector
        else:
            tensors[name] = StreamedTensor(matrix, dtype)
    return tensors
