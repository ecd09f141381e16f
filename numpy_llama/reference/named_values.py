"""Every named intermediate of a forward pass of Transformers' LlamaForCausalLM, under the names of model/values.py.

A module's output has the module's name. What lies between two modules is heard where it passes: at the input of the
next module, or in the two functions of attention that are no modules.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from numpy_llama.reference import lifted as lifting


@contextmanager
def hear_named_values(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While this lasts, the dictionary fills with the values of the last call. Enter it before `lifted`.

    model   LlamaForCausalLM with eager attention, any dtype
    yields  name → value; `model.causal_mask` is boolean, true where a token may look
    """
    found: dict[str, Tensor] = {}
    layer = {"name": ""}  # whose attention is at work

    def enter(name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if name.endswith("post_attention_layernorm"):
            found[name.replace("post_attention_layernorm", "after_attention")] = inputs[0]
        elif name.endswith("mlp.down_proj"):
            found[name.replace("down_proj", "gated")] = inputs[0]

    def enter_attention(name: str, *_: Any) -> None:
        layer["name"] = name

    def leave(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if name.endswith("rotary_emb"):
            found[f"{name}.cos"], found[f"{name}.sin"] = output
            return
        found[name] = output[0] if isinstance(output, tuple) else output
        if isinstance(module, LlamaRMSNorm):
            found[f"{name}.normed"] = _without_weight(module, inputs[0])

    plain_rope = modeling_llama.apply_rotary_pos_emb

    def rope(*arguments: Any) -> tuple[Tensor, Tensor]:
        query, key = plain_rope(*arguments)
        found[f"{layer['name']}.query_rotated"], found[f"{layer['name']}.key_rotated"] = query, key
        return query, key

    def attention(plain: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
        def heard(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, **rest: Any
        ) -> tuple[Tensor, Tensor]:
            context, weights = plain(module, query, key, value, mask, scaling, **rest)
            at = layer["name"]
            every_head = key.repeat_interleave(module.num_key_value_groups, dim=1)  # (B, H, S, D)
            found["model.causal_mask"] = mask == 0
            found[f"{at}.keys"], found[f"{at}.values"] = key, value
            found[f"{at}.scores"] = torch.matmul(query, every_head.transpose(2, 3)) * scaling + mask
            found[f"{at}.weights"] = weights
            found[f"{at}.context"] = context.transpose(1, 2)  # (B, H, T, D)
            return context, weights

        return heard

    handles = []
    for name, module in model.named_modules():
        if name in ("", "model"):
            continue
        handles.append(module.register_forward_pre_hook(partial(enter, name)))
        handles.append(module.register_forward_hook(partial(leave, name)))
        if name.endswith("self_attn"):  # all its arguments have names, and a plain hook is given none of them
            handles.append(module.register_forward_pre_hook(partial(enter_attention, name), with_kwargs=True))
    try:
        with (
            mock.patch.object(modeling_llama, "apply_rotary_pos_emb", rope),
            mock.patch.object(
                modeling_llama, "eager_attention_forward", attention(modeling_llama.eager_attention_forward)
            ),
            mock.patch.object(lifting, "attention_in_float64", attention(lifting.attention_in_float64)),
        ):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def _without_weight(module: LlamaRMSNorm, hidden: Tensor) -> Tensor:
    """What the norm multiplies by its weight: its output with a weight of 1."""
    weight = module.weight.data
    module.weight.data = torch.ones_like(weight)
    try:
        return module.forward(hidden)
    finally:
        module.weight.data = weight
