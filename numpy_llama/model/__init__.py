"""The model: config and weights in, logits out."""

from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

__all__ = [
    "BaseModelOutputWithPast",
    "CausalLMOutputWithPast",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaModel",
]
