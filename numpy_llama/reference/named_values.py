"""Every named intermediate of a forward pass of Transformers' LlamaForCausalLM, in float64, too.

`lifted` brings its own attention; its values are heard under the same names.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from numpy_llama.reference import lifted as lifting
from numpy_llama.reference.hearing import EAGER, hear_values


@contextmanager
def hear_named_values(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While this lasts, the dictionary fills with the values of the last call. Enter it before `lifted`.

    model   LlamaForCausalLM with eager attention, any dtype
    yields  name → value; `model.causal_mask` is boolean, true where a token may look
    """
    found: dict[str, Tensor] = {}

    def tell(name: str, value: Tensor) -> None:
        found[name] = value == 0 if name == "model.causal_mask" else value

    with hear_values(model, tell, (EAGER, (lifting, "attention_in_float64"))):
        yield found
