"""Transformers' Llama in true float64.

Loaded with dtype=float64, Transformers still computes on three islands of float32: inside RMSNorm, for the frequencies,
angles and tables of RoPE, and in the softmax of eager attention. What comes out is right to seven digits, not to
sixteen, and no judge for a float64 implementation. `lifted` puts the same formulas in float64 in those three places,
and leaves everything else (the loop over the layers, masks, cache, projections, MLP) as it is.

    with lifted(torch_model):
        torch_model(input_ids)

The formulas are written anew from the papers, in torch and apart from our blocks, so that the two can disagree.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, LlamaForCausalLM
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, repeat_kv

_ATTENTION = "eager_in_float64"


@contextmanager
def lifted(model: LlamaForCausalLM) -> Iterator[LlamaForCausalLM]:
    """While this lasts, every operation of a float64 `model` is in float64.

    model   loaded with dtype=torch.float64; default, linear and llama3 rope types
    raises  ValueError for a model of another dtype, or another rope type
    """
    if model.dtype != torch.float64:
        raise ValueError(f"only a float64 model can be lifted to float64; this one is {model.dtype}")
    AttentionInterface.register(_ATTENTION, attention_in_float64)
    AttentionMaskInterface.register(_ATTENTION, eager_mask)
    before = model.config._attn_implementation
    patched: list[torch.nn.Module] = []

    def patch(module: torch.nn.Module, forward: Callable[..., Any]) -> None:
        module.forward = forward
        patched.append(module)

    try:
        for module in model.modules():
            if isinstance(module, LlamaRMSNorm):
                patch(module, _norm_of(module))
            elif isinstance(module, LlamaRotaryEmbedding):
                patch(module, _rope_of(model.config.head_dim, module.config.rope_parameters))
        model.config._attn_implementation = _ATTENTION
        yield model
    finally:
        model.config._attn_implementation = before
        for module in patched:
            del module.forward  # the method of the class shows again


def frequencies_in_float64(head_dim: int, rope_parameters: Mapping[str, Any]) -> Tensor:
    """(D/2,) radians per token, of a default, linear or llama3 rope.

    source  Su et al. 2021, eq. 15; Chen et al. 2023 (linear); Llama 3.1's apply_scaling (llama3)
    """
    theta, kind = rope_parameters["rope_theta"], rope_parameters["rope_type"]
    plain = [theta ** (-channel / head_dim) for channel in range(0, head_dim, 2)]
    if kind == "default":
        scaled = plain
    elif kind == "linear":
        scaled = [speed / rope_parameters["factor"] for speed in plain]
    elif kind == "llama3":
        scaled = [_llama3(speed, rope_parameters) for speed in plain]
    else:
        raise ValueError(f"no float64 frequencies for rope type {kind!r}")
    return torch.tensor(scaled, dtype=torch.float64)


def _llama3(speed: float, parameters: Mapping[str, Any]) -> float:
    """One pair at a time: how often it turns within the trained context decides how much it is slowed."""
    turns = parameters["original_max_position_embeddings"] * speed / (2 * math.pi)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    kept = min(max((turns - low) / (high - low), 0.0), 1.0)  # 1 for fast pairs, 0 for slow ones
    return kept * speed + (1 - kept) * speed / parameters["factor"]


def attention_in_float64(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Eager attention, softmax included, in the dtype of its inputs; arguments are those of eager_attention_forward."""
    key = repeat_kv(key, module.num_key_value_groups)  # (B, H, S, D)
    value = repeat_kv(value, module.num_key_value_groups)  # (B, H, S, D)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling  # (B, H, T, S)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    context = torch.matmul(weights, value)  # (B, H, T, D)
    return context.transpose(1, 2).contiguous(), weights  # (B, T, H, D)


def _norm_of(module: LlamaRMSNorm) -> Callable[[Tensor], Tensor]:
    def forward(hidden: Tensor) -> Tensor:
        mean_square = hidden.square().mean(-1, keepdim=True)  # (B, T, 1)
        return module.weight * (hidden / torch.sqrt(mean_square + module.variance_epsilon))  # (B, T, E)

    return forward


def _rope_of(head_dim: int, rope_parameters: Mapping[str, Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    frequencies = frequencies_in_float64(head_dim, rope_parameters)

    def forward(hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids[..., None].to(torch.float64) * frequencies  # (B, T, D/2)
        angles = torch.cat((angles, angles), dim=-1)  # (B, T, D)
        return angles.cos(), angles.sin()

    return forward
