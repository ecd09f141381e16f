"""From multi-head to grouped-query attention: fewer key and value heads, made of those of a trained checkpoint.

A cache with a quarter of the heads takes a quarter of the memory. The converted model is not the old one: it is where
further training starts, a better place than random heads or a choice among the old ones (figure 4 of the paper).
"""

import copy
from dataclasses import replace

import numpy as np

from numpy_llama.blocks.quantized_weight import QuantizedWeight
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.weights import Tensors

POOLED = tuple(f"self_attn.{name}.{kind}" for name in ("k_proj", "v_proj") for kind in ("weight", "bias"))


def mean_pool_key_value_heads(
    config: LlamaConfig, tensors: Tensors, num_key_value_heads: int
) -> tuple[LlamaConfig, dict[str, np.ndarray]]:
    """Put one key and one value head, their mean, in the place of each group of neighbours.

        new head j = mean of old heads j·K/N … (j + 1)·K/N − 1,   for weights and biases

    These are the heads that the query heads of group j have been reading, so queries stay as they are.

    tensors              of any of the models, under any prefix: those that end in self_attn.k_proj.weight and so on
                         are pooled, (K·D, E) to (N·D, E), the others handed on
    num_key_value_heads  N, a divisor of K; 1 gives multi-query attention
    returns              a new config and new tensors; mean in float64, rounded once to the dtype of the tensor
    raises               LlamaError where K isn't a multiple of N
    source               Ainslie et al. 2023 (GQA), section 2.1; num_key_value_heads in Transformers' LlamaConfig
    """
    old = config.num_key_value_heads
    count = num_key_value_heads
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1 or old % count:
        expected = f"a divisor of {old}, the number of key/value heads there are"
        raise LlamaError("heads can't be pooled evenly", where="num_key_value_heads", expected=expected, found=count)
    pooled = {
        name: _mean_of_groups(tensor, old, int(count)) if name.endswith(POOLED) else tensor
        for name, tensor in tensors.items()
    }
    return replace(copy.deepcopy(config), num_key_value_heads=int(count)), pooled


def _mean_of_groups(tensor: np.ndarray, old: int, new: int) -> np.ndarray:
    """(K·D, …) to (N·D, …)."""
    if isinstance(tensor, QuantizedWeight):
        raise LlamaError("quantized", where="k_proj, v_proj", expected="a model loaded without quantization")
    rest = tensor.shape[1:]
    grouped = tensor.reshape(new, old // new, -1, *rest)  # (N, K/N, D, …)
    return grouped.mean(axis=1, dtype=np.float64).astype(tensor.dtype).reshape(-1, *rest)  # (N·D, …)
