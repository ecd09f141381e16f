"""numpy_llama: the Llama family in NumPy, to read, to step through and to check against.

from numpy_llama import LlamaForCausalLM, LlamaTokenizer, embedded_model_folder

folder = embedded_model_folder()
tokenizer = LlamaTokenizer.from_pretrained(folder)
model = LlamaForCausalLM.from_pretrained(folder)
ids = model.generate([tokenizer.encode("Once upon a time")], max_new_tokens=200)
print(tokenizer.decode(ids[0], skip_special_tokens=True))
"""

from numpy_llama.blocks import Blocks, KVCache
from numpy_llama.checkpoints import embedded_model_folder
from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.model import LlamaConfig, LlamaForCausalLM, LlamaModel
from numpy_llama.probe import observe
from numpy_llama.tokenizer import LlamaTokenizer
from numpy_llama.version import __version__

__all__ = [
    "Blocks",
    "KVCache",
    "LlamaConfig",
    "LlamaError",
    "LlamaForCausalLM",
    "LlamaModel",
    "LlamaTokenizer",
    "LlamaWarning",
    "__version__",
    "embedded_model_folder",
    "observe",
]
