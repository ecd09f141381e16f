"""The frequencies that a model turns by: chosen once, when it is built, and for two rope types again in a longer text.

The plain corridor knows frequencies alone. Which they are is a matter of `rope_parameters`: their fields are checked in
rope_parameters.py, the types themselves are in rope_types.py.
"""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.model.rope_types import ROPE_TYPES, RopeConfig, attention_scaling, trained_tokens


@dataclass(frozen=True, eq=False)
class ScaledRope:
    """The rope of one model.

    frequencies        (D/2,), float32 (float64 for float64): those of a text within the trained context
    attention_scaling  the factor on cos and sin
    trained            tokens past which the frequencies depend on the length of the text; infinite for most types
    of_length          the frequencies of a text of so many tokens; asked past `trained` alone

    Two types depend on the length of the text: dynamic and longrope. There the frequencies of a call follow from its
    largest position alone, and turn every token of the call; keys that are cached keep the rotation of the call that
    made them. Past `trained`, a text read in several calls therefore gives other logits than the same text read in one.
    That is how Transformers computes, too, call by call. Its dynamic module moreover remembers the longest text it has
    seen, until one shorter than the trained context comes: a second text may be read with the frequencies of the first.
    This object remembers nothing: every call gives what a fresh model of Transformers gives.
    """

    frequencies: np.ndarray
    attention_scaling: float
    trained: float
    of_length: Callable[[int], np.ndarray]

    def at(self, last_position: int) -> tuple[np.ndarray, float]:
        """Frequencies and attention scaling of a call whose largest position id, in any row, is last_position."""
        tokens = last_position + 1
        if tokens <= self.trained:
            return self.frequencies, self.attention_scaling
        return self.of_length(tokens), self.attention_scaling


def scaled_rope(rope_frequencies: Callable[..., np.ndarray], config: RopeConfig, dtype: np.dtype) -> ScaledRope:
    """The rope of a model with this config.

    rope_frequencies  the block: plain frequencies from a number of channels, theta and dtype
    config            a LlamaConfig, or whatever has its head_dim, max_position_embeddings and rope_parameters
    dtype             of the model
    raises            LlamaError where numbers so large or so small were given that a frequency isn't finite
    source            LlamaRotaryEmbedding, ROPE_INIT_FUNCTIONS and dynamic_rope_update of Transformers
    """
    of_length = partial(_frequencies, rope_frequencies, config, dtype)
    return ScaledRope(of_length(1), attention_scaling(config), trained_tokens(config), of_length)


def _frequencies(
    rope_frequencies: Callable[..., np.ndarray], config: RopeConfig, dtype: np.dtype, tokens: int
) -> np.ndarray:
    """(D/2,) for a text of so many tokens."""
    rope_type = ROPE_TYPES[config.rope_parameters["rope_type"]]
    with np.errstate(all="ignore"):  # what overflows becomes infinite, as in torch; what is then 0 · ∞ is found here
        frequencies = rope_type(lambda dim, theta: rope_frequencies(dim, theta, dtype), config, tokens)
    if not np.isfinite(frequencies).all():
        raise LlamaError(
            "impossible value",
            where="rope_parameters",
            expected=f"numbers that give finite frequencies, for {tokens} tokens of text",
            found=reprlib.repr(config.rope_parameters),
        )
    return frequencies
