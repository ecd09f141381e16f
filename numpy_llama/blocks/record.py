"""The record of blocks that a model computes through: the place where a student's function, or a mistake, is put in."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Self

import numpy as np

from numpy_llama.blocks.activations import silu
from numpy_llama.blocks.attention import attention
from numpy_llama.blocks.causal_mask import causal_mask
from numpy_llama.blocks.embedding import embedding
from numpy_llama.blocks.linear import linear
from numpy_llama.blocks.mlp import mlp
from numpy_llama.blocks.rms_norm import rms_norm
from numpy_llama.blocks.rope import apply_rope, rope_frequencies, rope_tables
from numpy_llama.blocks.softmax import softmax
from numpy_llama.errors import LlamaError

Block = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Blocks:
    """One function for each building block; ours unless another is given.

    model = LlamaForCausalLM.from_pretrained(folder, blocks=Blocks().swap(rms_norm=my_rms_norm))

    Each field is called exactly as our function of that name is; its docstring says with what.
    """

    embedding: Block = embedding
    linear: Block = linear
    rms_norm: Block = rms_norm
    rope_frequencies: Block = rope_frequencies
    rope_tables: Callable[..., tuple[np.ndarray, np.ndarray]] = rope_tables
    apply_rope: Block = apply_rope
    causal_mask: Block = causal_mask
    softmax: Block = softmax
    attention: Block = attention
    activation: Block = silu
    mlp: Block = mlp

    @property
    def swapped(self) -> list[str]:
        """Names of the blocks that aren't ours, or that have one inside that isn't."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not field.default]

    def swap(self, **functions: Callable) -> Self:
        """A record with other functions in some places.

        Two blocks have smaller ones inside: a new softmax is handed on to our attention, a new linear or activation to
        our mlp. An attention or mlp given in the same call is taken as it is.

        raises  LlamaError for a name that is no block
        """
        names = [field.name for field in fields(self)]
        for name in functions:
            if name not in names:
                raise LlamaError("no such block", where=f"Blocks.swap({name}=…)", expected="one of " + ", ".join(names))
        if "softmax" in functions and "attention" not in functions:
            functions["attention"] = partial(self.attention, softmax=functions["softmax"])
        inner = {name: functions[name] for name in ("linear", "activation") if name in functions}
        if inner and "mlp" not in functions:
            functions["mlp"] = partial(self.mlp, **inner)
        return replace(self, **functions)
