"""The building blocks of a Llama: one a file, pure functions over arrays.

A block knows numpy, how dtypes round (precision), how values get names (probe), and the blocks it is made of.
"""

from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.attention import attention
from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.blocks.embedding import embedding
from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.blocks.linear import linear
from numpy_llama.blocks.mlp import mlp
from numpy_llama.blocks.record import Blocks
from numpy_llama.blocks.rms_norm import rms_norm
from numpy_llama.blocks.rope import apply_rope, rope_frequencies, rope_tables, rotate_half
from numpy_llama.blocks.sampler import sample
from numpy_llama.blocks.softmax import softmax

__all__ = [
    "Blocks",
    "KVCache",
    "apply_rope",
    "attention",
    "causal_mask",
    "embedding",
    "linear",
    "mlp",
    "rms_norm",
    "rope_frequencies",
    "rope_tables",
    "rotate_half",
    "sample",
    "silu",
    "softmax",
]
