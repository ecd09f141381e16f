"""The model: config and weights in, logits out."""

from numpy_llama.model.caches import DynamicCache, StaticCache
from numpy_llama.model.causal_lm import LlamaForCausalLM
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.generation_config import GenerationConfig
from numpy_llama.model.heads import (
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
)
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)

__all__ = [
    "BaseModelOutputWithPast",
    "CausalLMOutputWithPast",
    "DynamicCache",
    "GenerationConfig",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaModel",
    "QuestionAnsweringModelOutput",
    "SequenceClassifierOutputWithPast",
    "StaticCache",
    "TokenClassifierOutput",
]
