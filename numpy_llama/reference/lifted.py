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
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, repeat_kv

_ATTENTION = "eager_in_float64"


@contextmanager
def lifted(model: LlamaForCausalLM) -> Iterator[LlamaForCausalLM]:
    """While this lasts, every operation of a float64 `model` is in float64.

    model   loaded with dtype=torch.float64; dynamic and longrope ropes are at each call those of a fresh model
    raises  ValueError for a model of another dtype
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
                patch(module, _rope_of(module.config))
        model.config._attn_implementation = _ATTENTION
        yield model
    finally:
        model.config._attn_implementation = before
        for module in patched:
            del module.forward  # the method of the class shows again


def frequencies_in_float64(config: LlamaConfig, tokens: int) -> tuple[Tensor, float]:
    """(D/2,) radians per token in a text of so many tokens, and the factor on cos and sin: the papers, pair by pair.

    source  Su et al. 2021, eq. 15; Chen et al. 2023, eq. 4 (linear); bloc97's and emozilla's NTK-aware scaling
            (dynamic); Peng et al. 2023 with the ramp of its code (yarn); Ding et al. 2024 (longrope); Llama 3.1's
            apply_scaling (llama3); Barbero et al. 2024 (proportional)
    """
    told = config.rope_parameters
    kind, theta = told["rope_type"], told["rope_theta"]
    turning = config.head_dim
    if kind not in ("default", "proportional"):
        turning = int(config.head_dim * told.get("partial_rotary_factor", 1.0))
    if kind == "dynamic" and tokens > config.max_position_embeddings:
        stretch = 1 + told["factor"] * (tokens / config.max_position_embeddings - 1)
        theta = theta * stretch ** (turning / (turning - 2))
    speeds = [theta ** (-channel / turning) for channel in range(0, turning, 2)]
    slowdown = 1.0
    if kind == "linear":
        speeds = [speed / told["factor"] for speed in speeds]
    elif kind == "llama3":
        speeds = [_llama3(speed, told) for speed in speeds]
    elif kind == "proportional":
        pairs = math.floor(told.get("partial_rotary_factor", 1.0) * config.head_dim / 2)
        speeds = [speed / told.get("factor", 1.0) * (pair < pairs) for pair, speed in enumerate(speeds)]
    elif kind in ("yarn", "longrope"):
        trained = told["original_max_position_embeddings"]
        slowdown = told.get("factor")
        slowdown = config.max_position_embeddings / trained if slowdown is None else slowdown
        if kind == "yarn":
            speeds = _yarn(speeds, theta, turning, slowdown, told)
        else:
            divisors = told["short_factor"] if tokens <= trained else told["long_factor"]
            speeds = [speed / divisor for speed, divisor in zip(speeds, divisors, strict=True)]
    return torch.tensor(speeds, dtype=torch.float64), _temperature(kind, slowdown, told)


def _llama3(speed: float, told: Mapping[str, Any]) -> float:
    """How often a pair turns within the trained context decides how much it is slowed."""
    turns = told["original_max_position_embeddings"] * speed / (2 * math.pi)
    low, high = told["low_freq_factor"], told["high_freq_factor"]
    kept = min(max((turns - low) / (high - low), 0.0), 1.0) if high > low else float(turns >= low)
    return kept * speed + (1 - kept) * speed / told["factor"]  # kept: 1 for fast pairs, 0 for slow ones


def _yarn(speeds: list[float], theta: float, turning: int, factor: float, told: Mapping[str, Any]) -> list[float]:
    """As _llama3, with the ramp over the pairs' numbers: between those that turn beta_fast and beta_slow times."""

    def number(turns: float) -> float:  # where θ^(−2 · number / turning) · trained = 2π · turns
        return turning / 2 * math.log(told["original_max_position_embeddings"] / (2 * math.pi * turns), theta)

    fast, slow = number(told.get("beta_fast") or 32), number(told.get("beta_slow") or 1)
    if told.get("truncate", True):
        fast, slow = math.floor(fast), math.ceil(slow)
    fast, slow = max(fast, 0), min(slow, turning - 1)
    width = slow - fast or 0.001
    slowed = [min(max((pair - fast) / width, 0.0), 1.0) for pair in range(turning // 2)]
    slowed = slowed * (len(speeds) // len(slowed))  # one ramp step for two pairs, where 3 of 4 channels turn
    return [(1 - part) * speed + part * speed / factor for part, speed in zip(slowed, speeds, strict=True)]


def _temperature(kind: str, factor: float, told: Mapping[str, Any]) -> float:
    """The factor on cos and sin; its square sharpens attention."""
    if kind not in ("yarn", "longrope"):
        return 1.0
    if told.get("attention_factor") is not None:
        return told["attention_factor"]
    growth = math.log(max(factor, 1.0))
    if kind == "longrope":
        return math.sqrt(1 + growth / math.log(told["original_max_position_embeddings"])) if growth else 1.0
    if told.get("mscale") and told.get("mscale_all_dim"):
        return (1 + growth * told["mscale"] / 10) / (1 + growth * told["mscale_all_dim"] / 10)
    return 1 + growth / 10


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


def _rope_of(config: LlamaConfig) -> Callable[..., tuple[Tensor, Tensor]]:
    def forward(hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        frequencies, factor = frequencies_in_float64(config, int(position_ids.max()) + 1)
        angles = position_ids[..., None].to(torch.float64) * frequencies  # (B, T, D/2)
        angles = torch.cat((angles, angles), dim=-1)  # (B, T, D)
        return angles.cos() * factor, angles.sin() * factor

    return forward
