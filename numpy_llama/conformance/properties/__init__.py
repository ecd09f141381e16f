"""The properties of every block: PROPERTIES["rms_norm"] is a row of functions that raise Broken where one doesn't hold.

A property takes the record to judge and `draw`, which makes an example: draw("x", strategy). Its docstring is the
mathematics. The order is that of a report: what teaches most stands first.
"""

from collections.abc import Callable

from numpy_llama.conformance.draws import Draw
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import (
    activations,
    attention,
    causal_mask,
    embedding,
    kv_cache,
    linear,
    mlp,
    model,
    rms_norm,
    rope,
    sampler,
    softmax,
    whole_model,
)

Property = Callable[[Port, Draw], None]

PROPERTIES: dict[str, tuple[Property, ...]] = {
    "embedding": embedding.PROPERTIES,
    "linear": linear.PROPERTIES,
    "rms_norm": rms_norm.PROPERTIES,
    "rope": rope.PROPERTIES,
    "causal_mask": causal_mask.PROPERTIES,
    "softmax": softmax.PROPERTIES,
    "attention": attention.PROPERTIES,
    "activations": activations.PROPERTIES,
    "mlp": mlp.PROPERTIES,
    "kv_cache": kv_cache.PROPERTIES,
    "sampler": sampler.PROPERTIES,
    "model": (*model.PROPERTIES, *whole_model.PROPERTIES),
}

# Which properties judge a field of Port, where the two have different names.
_BLOCK_OF_FIELD = {
    "rope_frequencies": "rope",
    "rope_tables": "rope",
    "apply_rope": "rope",
    "activation": "activations",
    "greedy": "sampler",
    "sample": "sampler",
    "scale_temperature": "sampler",
    "keep_top_k": "sampler",
    "keep_top_p": "sampler",
    "keep_min_p": "sampler",
    "penalize_repetition": "sampler",
}


def block_of(field: str) -> str:
    """The block that a function of a Port belongs to: "rope" for apply_rope."""
    return _BLOCK_OF_FIELD.get(field, field)
