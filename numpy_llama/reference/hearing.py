"""Hear every named intermediate of a Transformers Llama as it passes, under the names of model/values.py.

A module's output has the module's name. What lies between two modules is heard where it passes: at the input of the
next module, or in the two functions of attention that are no modules.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaModel, LlamaRMSNorm

EAGER = (modeling_llama, "eager_attention_forward")
Tell = Callable[[str, Tensor], None]
AttentionFunction = Callable[..., tuple[Tensor, Tensor]]


@contextmanager
def hear_values(model: nn.Module, tell: Tell, attention: Sequence[tuple[ModuleType, str]] = (EAGER,)) -> Iterator[None]:
    """While this lasts, `tell(name, value)` is called with every named value, as soon as it is there.

    model      a LlamaModel, or a head that holds one; its attention is one of the functions below
    tell       the mask is told in every layer; it is what is added to the scores. Values may be changed in place later
    attention  where the functions stand that the model's attention may be computed with: (module, name)
    """
    bodies = [name for name, module in model.named_modules() if isinstance(module, LlamaModel)]
    inside = f"{bodies[0]}." if bodies and bodies[0] else ""
    layer = {"name": ""}  # whose attention is at work; another model's values are none of ours

    def enter(name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if name.endswith("post_attention_layernorm"):
            tell(name.replace("post_attention_layernorm", "after_attention"), inputs[0])
        elif name.endswith("mlp.down_proj"):
            tell(name.replace("down_proj", "gated"), inputs[0])

    def enter_attention(name: str, *_: Any) -> None:
        layer["name"] = name

    def leave(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if name.endswith("self_attn"):
            layer["name"] = ""
        if name.endswith("rotary_emb"):
            tell(f"{name}.cos", output[0])
            tell(f"{name}.sin", output[1])
            return
        if isinstance(module, LlamaRMSNorm):
            tell(f"{name}.normed", _without_weight(module, inputs[0]))
        tell(name, output[0] if isinstance(output, tuple) else output)

    def rope(plain: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
        def heard(*arguments: Any, **keywords: Any) -> tuple[Tensor, Tensor]:
            query, key = plain(*arguments, **keywords)
            if layer["name"]:
                tell(f"{layer['name']}.query_rotated", query)
                tell(f"{layer['name']}.key_rotated", key)
            return query, key

        return heard

    def attending(plain: AttentionFunction) -> AttentionFunction:
        def heard(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Tensor | None,
            scaling: float,
            **rest: Any,
        ) -> tuple[Tensor, Tensor]:
            context, weights = plain(module, query, key, value, attention_mask, scaling, **rest)
            at = layer["name"]
            if at:
                if attention_mask is not None:
                    tell(f"{inside}causal_mask", attention_mask)
                tell(f"{at}.keys", key)
                tell(f"{at}.values", value)
                tell(f"{at}.scores", _scores(module, query, key, attention_mask, scaling))
                tell(f"{at}.weights", weights)
                tell(f"{at}.context", context.transpose(1, 2))  # (B, H, T, D)
            return context, weights

        return heard

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name in ("", inside.removesuffix(".")):
                continue
            stack.callback(module.register_forward_pre_hook(partial(enter, name)).remove)
            stack.callback(module.register_forward_hook(partial(leave, name)).remove)
            if name.endswith("self_attn"):  # all its arguments have names, and a plain hook is given none of them
                handle = module.register_forward_pre_hook(partial(enter_attention, name), with_kwargs=True)
                stack.callback(handle.remove)
        plain_rope = modeling_llama.apply_rotary_pos_emb
        stack.enter_context(mock.patch.object(modeling_llama, "apply_rotary_pos_emb", rope(plain_rope)))
        for place, function in attention:
            stack.enter_context(mock.patch.object(place, function, attending(getattr(place, function))))
        yield


@torch.no_grad()
def _scores(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """(B, H, T, S): what the softmax is given, each operation rounded as eager attention rounds it."""
    every_head = key.repeat_interleave(module.num_key_value_groups, dim=1)  # (B, H, S, D)
    scores = torch.matmul(query, every_head.transpose(2, 3)) * scaling
    return scores if mask is None else scores + mask[..., : key.shape[2]]


@torch.no_grad()
def _without_weight(module: LlamaRMSNorm, hidden: Tensor) -> Tensor:
    """What the norm multiplies by its weight: its output with a weight of 1."""
    weight = module.weight.data
    module.weight.data = torch.ones_like(weight)
    try:
        return module.forward(hidden)
    finally:
        module.weight.data = weight
