"""Which activation a config's hidden_act stands for."""

from functools import partial

from numpy_llama.blocks import gelu
from numpy_llama.blocks import other_activations as other
from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.mlp import mlp
from numpy_llama.blocks.other_activations import Activation
from numpy_llama.blocks.record import Blocks
from numpy_llama.errors import LlamaError

ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu.gelu,
    "gelu_10": gelu.gelu_10,
    "gelu_accurate": gelu.gelu_new,  # three names for the same operations, but for which of ½ and x comes first
    "gelu_fast": gelu.gelu_fast,
    "gelu_new": gelu.gelu_new,
    "gelu_python": gelu.gelu_python,
    "gelu_python_tanh": gelu.gelu_new,
    "gelu_pytorch_tanh": gelu.gelu_pytorch_tanh,
    "hardswish": other.hardswish,
    "laplace": other.laplace,
    "leaky_relu": other.leaky_relu,
    "linear": other.linear_activation,
    "mish": other.mish,
    "quick_gelu": gelu.quick_gelu,
    "relu": other.relu,
    "relu2": other.relu2,
    "relu6": other.relu6,
    "sigmoid": other.sigmoid,
    "silu": silu,
    "sqrtsoftplus": other.sqrtsoftplus,
    "swish": silu,
    "tanh": other.tanh,
}
TRAINED = ("prelu", "xielu")  # Transformers has these two as well; no Llama checkpoint has their parameters


def activation_named(activation: str | Activation) -> Activation:
    """The function that a config's hidden_act stands for; a function stands for itself.

    raises  LlamaError for a name that isn't in the table
    """
    if callable(activation):
        return activation
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    trained = isinstance(activation, str) and activation in TRAINED
    what = "activation with trained parameters" if trained else "unknown activation"
    expected = f"a function, or one of {', '.join(ACTIVATIONS)}"
    raise LlamaError(what, where="hidden_act", expected=expected, found=repr(activation))


def with_activation(blocks: Blocks, hidden_act: str | Activation) -> Blocks:
    """The record of blocks for a model with this hidden_act: its function stands in place of SiLU, inside the MLP, too.

    An activation or an mlp that somebody else has put into the record is left as it is.

    returns  `blocks` itself where hidden_act is SiLU
    raises   LlamaError for a name that isn't in the table
    """
    activation = activation_named(hidden_act)
    whole_mlp = blocks.mlp.func if isinstance(blocks.mlp, partial) else blocks.mlp
    if activation is silu or blocks.activation is not silu or whole_mlp is not mlp:
        return blocks
    return blocks.swap(activation=activation)
