"""The catalogue: every known mistake by its key.

for label, planted in CATALOGUE["rope-interleaved"].plant(subject):
    logits = planted.run()
"""

from numpy_llama.mistakes import (
    attention,
    cache,
    heads,
    ids,
    logits,
    mask,
    mlp,
    norm,
    norm_places,
    order,
    positions,
    residual,
    rope,
    rope_scaling,
    rope_speed,
    softmax,
    weight_order,
    weight_rounding,
    weights,
)
from numpy_llama.mistakes.mistake import Mistake

# Heading of a part of the catalogue → the files that hold it.
PARTS = {
    "Norms": (norm, norm_places),
    "RoPE": (rope, rope_speed, rope_scaling, positions),
    "Ids and embedding": (ids,),
    "Weights": (weights, weight_order, weight_rounding),
    "Attention": (attention, heads, softmax, mask, cache),
    "MLP": (mlp,),
    "Layers and residuals": (order, residual),
    "Logits": (logits,),
}

CATALOGUE: dict[str, Mistake] = {
    mistake.key: mistake for files in PARTS.values() for file in files for mistake in file.MISTAKES
}
