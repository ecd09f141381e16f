"""What code written for Transformers asks a model for because a model there is torch's: what to use here instead.

None of it is implemented. Somebody who brings such code reads in the error what takes its place.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy_llama.errors import LlamaError

_LOAD_IN_DTYPE = "load it so: from_pretrained(folder, dtype=…)"
_TENSORS = "weights are in model.tensors, a dict from name to array"
_NO_TRAINING = "this package doesn't train; leave it out"
_ONE_MEMORY = "arrays are in main memory and nowhere else; leave it out"

ATTRIBUTES = {
    **dict.fromkeys(("eval", "train", "training", "requires_grad_", "gradient_checkpointing_enable"), _NO_TRAINING),
    **dict.fromkeys(("to", "half", "float", "double", "bfloat16", "type"), _LOAD_IN_DTYPE),
    **dict.fromkeys(("device", "cuda", "cpu"), _ONE_MEMORY),
    **dict.fromkeys(("state_dict", "parameters", "named_parameters"), _TENSORS),
    "forward": "call the model itself: model(input_ids)",
    "get_input_embeddings": "it is the array model.embed_tokens: model.embed_tokens[input_ids] are embeddings",
    "get_output_embeddings": "it is the array model.lm_head",
}

_ONE_ATTENTION = "attention is computed in one way, as Transformers' eager does; leave it out"
_ON_DISK = "checkpoints are folders on this disk; leave it out"

ARGUMENTS = {
    "torch_dtype": "dtype=…, which means the same",
    "attn_implementation": _ONE_ATTENTION,
    **dict.fromkeys(("device", "device_map", "low_cpu_mem_usage"), _ONE_MEMORY),
    **dict.fromkeys(("trust_remote_code", "local_files_only", "cache_dir", "revision", "token"), _ON_DISK),
    "gguf_file": "the path of the file itself in the folder's place",
    "quantization_config": "quantization='int4' or 'int8', group_size=…, symmetric=…",
}


class WithoutTorch:
    """Base of the models: an attribute that torch's models have, and ours don't, is an error that says what to do."""

    if not TYPE_CHECKING:  # mypy would take this to mean that every attribute is there

        def __getattr__(self, name: str) -> Any:
            instead = f": {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{instead}")


def check_loading_arguments(arguments: Mapping[str, Any]) -> None:
    """raises  LlamaError for an argument that only Transformers' from_pretrained has, saying what to write instead"""
    for name in arguments:
        if name in ARGUMENTS:
            raise LlamaError("no such argument here", where=name, expected=ARGUMENTS[name])
