"""A LlamaModel with something on top: what the four heads have in common."""

from typing import Any

from numpy_llama.blocks.record import Blocks
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.llama import LlamaModel
from numpy_llama.model.outputs import BaseModelOutputWithPast
from numpy_llama.model.pretrained import LlamaPreTrainedModel
from numpy_llama.model.weights import Tensors
from numpy_llama.probe import scope


class LlamaWithHead(LlamaPreTrainedModel):
    """Holds a LlamaModel as `model` and shares its weights, blocks and dtype."""

    model: LlamaModel

    def _build(self, config: LlamaConfig, tensors: Tensors, blocks: Blocks) -> None:
        prefix = self.base_model_prefix
        inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        self.model = LlamaModel(config, inside, blocks=blocks, source=None)
        self.blocks = self.model.blocks
        self.embed_tokens = self.model.embed_tokens
        # The body may have packed its weights, so its tensors count, not those that it was given.
        body = {prefix + name: tensor for name, tensor in self.model.tensors.items()}
        self.tensors = body | {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}

    def _run_body(self, *arguments: Any, **options: Any) -> BaseModelOutputWithPast:
        with scope(self.base_model_prefix.removesuffix(".")):
            return self.model(*arguments, **options, return_dict=True)
