"""Which weights of a model are quantized, how, and what config.json says of it.

The matrices of attention and MLP are, nearly all of a large model's weights. Embedding table and output head stay as
they are, and so do norms and biases: Transformers keeps them, too. A quantized model's layers are dequantized one at a
time, each when its turn comes, as a streamed model's are widened (streamed_weights.py), so every block sees arrays.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from numpy_llama.blocks.quantization import quantize
from numpy_llama.blocks.quantized_weight import BITS, QuantizedWeight, check_settings
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig

METHOD = "numpy_llama"  # in config.json, where Transformers' methods have their names
NAMES = tuple(f"int{bits}" for bits in BITS)
MATRICES = tuple(
    f".{block}.{name}_proj.weight"
    for block, names in (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down")))
    for name in names
)


@dataclass(frozen=True)
class Quantization:
    """How weights are quantized.

    bits        4 or 8
    group_size  numbers of a row that share a scale: 32, 64 or 128
    symmetric   whether 0 stays 0; else a group has a zero of its own, which costs memory and gains precision
    raises      LlamaError for other values
    """

    bits: int
    group_size: int = 128
    symmetric: bool = False

    def __post_init__(self) -> None:
        check_settings(self.bits, self.group_size)
        if not isinstance(self.symmetric, bool):
            found = repr(self.symmetric)
            raise LlamaError("impossible value", where="symmetric", expected="True or False", found=found)

    def __call__(self, name: str, weight: np.ndarray) -> QuantizedWeight:
        """A matrix, quantized.

        raises  LlamaError naming it where it can't be
        """
        try:
            return quantize(weight, self.bits, self.group_size, self.symmetric)
        except LlamaError as error:
            raise LlamaError(error.what, where=name, expected=error.expected, found=error.found) from None

    def to_dict(self) -> dict[str, Any]:
        """What config.json says under `quantization_config`."""
        return {"quant_method": METHOD, **asdict(self)}


def is_quantizable(name: str) -> bool:
    """Whether a tensor of this name, in any of the five models, is one of the matrices that are quantized."""
    return name.endswith(MATRICES)


def quantization_asked_for(name: object, group_size: object = None, symmetric: object = None) -> Quantization | None:
    """What from_pretrained(quantization=…, group_size=…, symmetric=…) means.

    returns  None where no quantization is asked for
    raises   LlamaError for what can't be
    """
    if name is None:
        if group_size is not None or symmetric is not None:
            where = "group_size" if group_size is not None else "symmetric"
            raise LlamaError("nothing is quantized", where=where, expected="quantization='int4' or 'int8' with it")
        return None
    if not isinstance(name, str) or name not in NAMES:
        expected = "one of " + ", ".join(map(repr, NAMES))
        raise LlamaError("no such quantization", where="quantization", expected=expected, found=repr(name))
    given = {"group_size": group_size, "symmetric": symmetric}
    return Quantization(int(name[3:]), **{key: value for key, value in given.items() if value is not None})  # type: ignore


def quantization_in_config(settings: Mapping[str, Any]) -> Quantization | None:
    """What `quantization_config` of a config.json says; None where there is none.

    raises  LlamaError where it speaks of another method than ours, or of settings that can't be
    """
    said = settings.get("quantization_config")
    if said is None:
        return None
    where = "quantization_config"
    if not isinstance(said, Mapping):
        raise LlamaError("wrong type", where=where, expected="an object", found=type(said).__name__)
    method = said.get("quant_method")
    if method != METHOD:
        expected = f"{METHOD!r}: weights quantized in other ways aren't read"
        raise LlamaError("unknown method", where=f"{where}.quant_method", expected=expected, found=repr(method))
    try:
        return Quantization(**{name: value for name, value in said.items() if name != "quant_method"})
    except TypeError:
        expected = "bits, group_size and symmetric"
        raise LlamaError("wrong fields", where=where, expected=expected, found=", ".join(map(str, said))) from None
    except LlamaError as error:
        raise LlamaError(
            error.what, where=f"{where}.{error.where}", expected=error.expected, found=error.found
        ) from None


def config_saying(quantization: Quantization | None, config: LlamaConfig) -> LlamaConfig:
    """A config whose config.json says how its weights are quantized, or nothing of it where they aren't."""
    config = copy(config)
    config.extra = {name: value for name, value in config.extra.items() if name != "quantization_config"}
    if quantization is not None:
        config.extra["quantization_config"] = quantization.to_dict()
    return config


def quantization_of(tensors: Mapping[str, Any]) -> Quantization | None:
    """How a model's tensors are quantized; None where they aren't.

    raises  LlamaError where only some are, or not all in the same way
    """
    ways: dict[Quantization | None, str] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, QuantizedWeight):
            ways[Quantization(tensor.bits, tensor.group_size, tensor.zeros is None)] = name
        elif is_quantizable(name):
            ways[None] = name
    if len(ways) > 1:
        where = ", ".join(ways.values())
        raise LlamaError("quantized in different ways", where=where, expected="all matrices in one way, or none")
    return next(iter(ways), None)
