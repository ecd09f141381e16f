"""numpy_llama: the Llama family in NumPy, to read, to step through and to check against.

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder

folder = embedded_model_folder()
tokenizer = LlamaTokenizer.from_pretrained(folder)
model = LlamaForCausalLM.from_pretrained(folder)
ids = model.generate([tokenizer.encode("Once upon a time")], max_new_tokens=200)
print(tokenizer.decode(ids[0], skip_special_tokens=True))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy_llama.blocks import Blocks, KVCache
from numpy_llama.checkpoints import embedded_model_folder
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.model import (
    DynamicCache,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    LlamaModel,
    StaticCache,
)
from numpy_llama.model.packing import packed_mask, packed_positions
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.probe import observe
from numpy_llama.tokenizer import LlamaTokenizer
from numpy_llama.version import __version__

LlamaTokenizerFast = LlamaTokenizer  # as in Transformers 5, where there is one Llama tokenizer under both names

if TYPE_CHECKING:
    from numpy_llama.checkpoints.auto import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )
    from numpy_llama.generation.pipeline import TextGenerationPipeline, pipeline
    from numpy_llama.study.attention_mask import AttentionMaskVisualizer
    from numpy_llama.study.trace.patching import patch
    from numpy_llama.study.trace.reading import read_trace
    from numpy_llama.study.trace.recording import trace
    from numpy_llama.study.trace.trace import Trace

# Names of the upper floors, imported when they are first asked for, so that `import numpy_llama` stays quick.
_LAZY = {
    "AttentionMaskVisualizer": "study.attention_mask",
    "AutoConfig": "checkpoints.auto",
    "AutoModel": "checkpoints.auto",
    "AutoModelForCausalLM": "checkpoints.auto",
    "AutoModelForQuestionAnswering": "checkpoints.auto",
    "AutoModelForSequenceClassification": "checkpoints.auto",
    "AutoModelForTokenClassification": "checkpoints.auto",
    "AutoTokenizer": "checkpoints.auto",
    "TextGenerationPipeline": "generation.pipeline",
    "Trace": "study.trace.trace",
    "patch": "study.trace.patching",
    "pipeline": "generation.pipeline",
    "read_trace": "study.trace.reading",
    "trace": "study.trace.recording",
}

__all__ = [
    "AttentionMaskVisualizer",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "Blocks",
    "DynamicCache",
    "GenerationConfig",
    "KVCache",
    "LlamaConfig",
    "LlamaError",
    "LlamaForCausalLM",
    "LlamaForQuestionAnswering",
    "LlamaForSequenceClassification",
    "LlamaForTokenClassification",
    "LlamaModel",
    "LlamaPreTrainedModel",
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "LlamaWarning",
    "StaticCache",
    "TextGenerationPipeline",
    "Trace",
    "__version__",
    "embedded_model_folder",
    "observe",
    "packed_mask",
    "packed_positions",
    "patch",
    "pipeline",
    "read_trace",
    "trace",
]


def __getattr__(name: str) -> Any:
    """A name of _LAZY, from the module where it lives; it is called where this module doesn't have the name yet."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
