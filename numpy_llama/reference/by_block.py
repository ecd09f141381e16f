"""Each building block of a Transformers model apart: what went in, what came out.

A whole forward pass can't tell where two implementations part, since the first different bit changes everything behind
it. Here each of our blocks is given exactly what Transformers' own block was given, and is judged alone.

    for block in record_blocks(torch_model, input_ids):
        block.kind, block.inputs, block.output        # "rms_norm", (x, weight, eps), array
        run_ours(block)                               # what our block of that kind makes of the same inputs
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, LlamaRotaryEmbedding

from numpy_llama import blocks as ours
from numpy_llama.blocks.activation_table import activation_named
from numpy_llama.precision import matmul, scale
from numpy_llama.reference.record import to_numpy, true_to_dtype


@dataclass(frozen=True)
class BlockCall:
    """One block at work.

    kind    "linear", "rms_norm", "rope_tables", "apply_rope", "scores", "softmax", "context", "activation", "mlp" or
            "attention"
    name    which one: the module's name in the model, or the operation's
    inputs  what run_ours hands to our block of that kind
    output  Transformers' own
    """

    kind: str
    name: str
    inputs: tuple[Any, ...]
    output: np.ndarray


def record_blocks(model: LlamaForCausalLM, input_ids: Any, **arguments: Any) -> list[BlockCall]:
    """Run a forward pass of a model loaded by `load`, and take down every block's inputs and output."""
    calls: list[BlockCall] = []
    with torch.no_grad(), _listening(model, calls):
        model(torch.as_tensor(np.asarray(input_ids)), **arguments)
    return calls


def run_ours(call: BlockCall) -> np.ndarray:
    """The output of our block for the same inputs."""
    with np.errstate(over="ignore"):  # a masked float16 score may overflow, as silently as in torch
        return _OURS[call.kind](*call.inputs)


def _rope_tables(position_ids: np.ndarray, frequencies: np.ndarray, dtype: np.dtype, factor: float) -> np.ndarray:
    return np.stack(ours.rope_tables(position_ids, frequencies, dtype, factor))


def _scores(query: np.ndarray, key: np.ndarray, scaling: float, mask: np.ndarray | None) -> np.ndarray:
    product = scale(matmul(query, key.swapaxes(-1, -2)), scaling)
    return product if mask is None else product + mask


def _activation(hidden_act: str, x: np.ndarray) -> np.ndarray:
    return activation_named(hidden_act)(x)


def _mlp(hidden_act: str, *inputs: Any) -> np.ndarray:
    return ours.mlp(*inputs, activation=activation_named(hidden_act))


_OURS: dict[str, Any] = {
    "linear": ours.linear,
    "rms_norm": ours.rms_norm,
    "rope_tables": _rope_tables,
    "apply_rope": ours.apply_rope,
    "scores": _scores,
    "softmax": ours.softmax,
    "context": matmul,
    "activation": _activation,
    "mlp": _mlp,
    "attention": ours.attention,
}


@contextmanager
def _listening(model: LlamaForCausalLM, calls: list[BlockCall]) -> Iterator[None]:
    def note(kind: str, name: str, inputs: tuple[Any, ...], output: Tensor) -> None:
        arrays = tuple(to_numpy(value) if isinstance(value, Tensor) else value for value in inputs)
        calls.append(BlockCall(kind, name, arrays, to_numpy(output)))

    def hear(name: str, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        if isinstance(module, nn.Linear):
            note("linear", name, (inputs[0], module.weight, module.bias), output)
        elif isinstance(module, LlamaRMSNorm):
            note("rms_norm", name, (inputs[0], module.weight, module.variance_epsilon), output)
        elif isinstance(module, LlamaRotaryEmbedding):
            dtype = to_numpy(inputs[0]).dtype
            told = (keywords["position_ids"], module.inv_freq, dtype, module.attention_scaling)
            note("rope_tables", name, told, torch.stack(output))
        elif isinstance(module, LlamaMLP):
            layers = (module.gate_proj, module.up_proj, module.down_proj)
            weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
            note("mlp", name, (model.config.hidden_act, inputs[0], *weights, *biases), output)
        elif name.endswith("act_fn"):
            note("activation", name, (model.config.hidden_act, *inputs), output)

    plain_rope, plain_attention = modeling_llama.apply_rotary_pos_emb, modeling_llama.eager_attention_forward

    def rope(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        rotated = plain_rope(query, key, cos, sin)
        for x, turned in zip((query, key), rotated, strict=True):
            note("apply_rope", "apply_rotary_pos_emb", (x, cos, sin), turned)
        return rotated

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float,
        **rest: Any,
    ) -> tuple[Tensor, Tensor]:
        context, weights = plain_attention(module, query, key, value, attention_mask, scaling, **rest)
        keys, values = (modeling_llama.repeat_kv(x, module.num_key_value_groups) for x in (key, value))
        scores = torch.matmul(query, keys.transpose(2, 3)) * scaling
        if attention_mask is not None:
            scores = scores + attention_mask
        by_head = context.transpose(1, 2)  # (B, H, T, D)
        note("scores", "scores", (query, keys, scaling, attention_mask), scores)
        note("softmax", "weights", (scores,), weights)
        note("context", "context", (weights, values), by_head)
        note("attention", "attention", (query, key, value, attention_mask, scaling), by_head)
        return context, weights

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_hook(partial(hear, name), with_kwargs=True))
    try:
        with (
            true_to_dtype(model),
            mock.patch.object(modeling_llama, "apply_rotary_pos_emb", rope),
            mock.patch.object(modeling_llama, "eager_attention_forward", attention),
        ):
            yield
    finally:
        for handle in handles:
            handle.remove()
