"""Mistakes of attention, its heads, its scaling and its softmax, planted in the torch port."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort


def _scaling(key: str, scaling: Callable[[TorchPort], float]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        port.scaling = scaling(port)
        return ""


_scaling("scale-missing", lambda port: 1.0)
_scaling("scale-by-width", lambda port: 1 / math.sqrt(port.width))
_scaling("scale-by-head-dim", lambda port: 1 / port.head_dim)
_scaling("scale-of-width-over-heads", lambda port: 1 / math.sqrt(port.width / port.heads))


@planted("scale-twice")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.scores
    return put(port, scores=lambda query, keys: plain(query / math.sqrt(port.head_dim), keys))


@planted("scores-soft-capped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    cap, plain = one_of(draw, (50.0, 30.0)), port.scores
    put(port, scores=lambda query, keys: torch.tanh(plain(query, keys) / cap) * cap)
    return f"at {cap:g}"


# -- heads -------------------------------------------------------------------------------------------------------------


@planted("kv-heads-tiled")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, spread=lambda x: x.repeat(1, port.heads // port.kv_heads, 1, 1))


@planted("query-heads-regrouped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    groups = port.heads // port.kv_heads

    def mix(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        grouped = query.unflatten(1, (groups, port.kv_heads))  # (B, G, K, T, D)
        scores = grouped @ keys[:, None].mT * port.scaling  # (B, G, K, T, S)
        weights = port.weigh(scores.flatten(1, 2), bias).unflatten(1, (groups, port.kv_heads))
        return (weights @ values[:, None]).flatten(1, 2)  # (B, H, T, D)

    return put(port, mix=mix)


@planted("kv-heads-first")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, spread=lambda x: x[:, :1].expand(-1, port.heads, -1, -1))


@planted("heads-joined-without-transpose")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def join(context: Tensor) -> Tensor:
        B, H, T, D = context.shape
        return context.contiguous().view(B, T, H * D)

    return put(port, join=join)


@planted("heads-joined-channels-first")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, join=lambda context: context.permute(0, 2, 3, 1).flatten(2))


@planted("keys-for-values")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.mix
    return put(port, mix=lambda query, keys, values, bias: plain(query, keys, keys, bias))


@planted("values-for-keys-and-keys-for-values")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.mix
    return put(port, mix=lambda query, keys, values, bias: plain(query, values, keys, bias))


# -- softmax -----------------------------------------------------------------------------------------------------------


@planted("softmax-over-queries")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, softmax=lambda scores: torch.softmax(scores.float(), dim=-2).to(scores.dtype))


@planted("softmax-over-heads")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, softmax=lambda scores: torch.softmax(scores.float(), dim=1).to(scores.dtype))


@planted("softmax-in-half")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """exp, sum and quotient each rounded."""
    ways = [port.dtype] if port.dtype != torch.float32 else [torch.bfloat16, torch.float16]
    half = one_of(draw, ways)

    def softmax(scores: Tensor) -> Tensor:
        narrow = scores.clamp(min=torch.finfo(half).min).to(half)
        powers = (narrow - narrow.amax(-1, keepdim=True)).exp()
        return (powers / powers.sum(-1, keepdim=True)).to(scores.dtype)

    put(port, softmax=softmax)
    return str(half)


@planted("softmax-plus-one")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def softmax(scores: Tensor) -> Tensor:
        one = torch.zeros_like(scores[..., :1]).float()  # exp(0), beside the others
        return torch.softmax(torch.cat((one, scores.float()), dim=-1), dim=-1)[..., 1:].to(scores.dtype)

    return put(port, softmax=softmax)
