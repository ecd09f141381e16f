"""The token loop, one step at a time: a caller sees each token as soon as it is chosen."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.generation.loop import Step, follow
from numpy_llama.generation.settings import GenerationSettings
from numpy_llama.generation.start import prepare

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM


class TokenStream(Iterator[np.ndarray]):
    """The tokens of a loop, one step at a time: (R,) arrays. `settings` says what it follows."""

    def __init__(self, steps: Iterator[Step], settings: GenerationSettings):
        self.settings = settings
        self._steps = steps

    def __next__(self) -> np.ndarray:
        return next(self._steps).tokens


def stream(
    model: "LlamaForCausalLM", input_ids: Any = None, attention_mask: Any = None, **settings: Any
) -> TokenStream:
    """What `generate` does, one step at a time.

    returns  an iterator over (R,) arrays, the new token of each row; arguments are checked before the first step
    raises   LlamaError as generate does, and for num_beams above 1: no token is certain before beam search ends
    """
    start = prepare(model, input_ids, attention_mask, **settings)
    beams = start.settings.num_beams
    if beams > 1:
        raise LlamaError("beam search can't be streamed", where="num_beams", expected="1 for a stream", found=beams)
    return TokenStream(follow(start), start.settings)
