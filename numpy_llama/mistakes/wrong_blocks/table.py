"""All wrong blocks: each is planted by the tests, and must be caught by the properties of its block.

    wrong = WRONG_BLOCKS["eps outside the root"]
    port = wrong.planted(Port())

Whoever's numbers are those of one of them is told its name. A new one is a small function in the file of its block,
whose docstring is its name, and one line in the table at the end of that file.
"""

from numpy_llama.mistakes.wrong_blocks import (
    activation,
    attention,
    causal_mask,
    embedding,
    kv_cache,
    linear,
    mlp,
    rms_norm,
    rope,
    sampler,
    sampling_rules,
    softmax,
)
from numpy_llama.mistakes.wrong_blocks.wrong_block import WrongBlock

_FILES = (
    embedding,
    linear,
    rms_norm,
    rope,
    causal_mask,
    softmax,
    attention,
    activation,
    mlp,
    kv_cache,
    sampler,
    sampling_rules,
)

WRONG_BLOCKS: dict[str, WrongBlock] = {
    (wrong.__doc__ or ""): WrongBlock(wrong.__doc__ or "", field, wrong)
    for file in _FILES
    for field, row in file.WRONG.items()
    for wrong in row
}
