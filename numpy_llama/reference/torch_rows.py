"""Mistakes of how a matrix lies in its file: rows in another order, read by columns, fused and cut wrongly. Planted in
the torch port."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted
from numpy_llama.reference.torch_port import TorchPort
from numpy_llama.reference.torch_weights import edit_weights

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _to_neighbours(port: TorchPort) -> Callable[[Tensor], Tensor]:
    """Rows of each head 0, D/2, 1, D/2 + 1, …: as Meta's files have them."""
    half = port.head_dim // 2
    return lambda w: w.unflatten(0, (-1, 2, half)).transpose(1, 2).flatten(0, 2)


def _to_halves(port: TorchPort) -> Callable[[Tensor], Tensor]:
    half = port.head_dim // 2
    return lambda w: w.unflatten(0, (-1, half, 2)).transpose(1, 2).flatten(0, 2)


def _ends(*modules: str, bias: bool = True) -> tuple[str, ...]:
    return tuple(f"{module}.{part}" for module in modules for part in (("weight", "bias") if bias else ("weight",)))


@planted("qk-rows-permuted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return edit_weights(port, _ends("q_proj", "k_proj"), _to_neighbours(port))


@planted("qk-rows-unpermuted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return edit_weights(port, _ends("q_proj", "k_proj"), _to_halves(port))


@planted("k-rows-permuted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    way = one_of(draw, ("to neighbours", "to halves"))
    edit_weights(port, _ends("k_proj"), (_to_neighbours if way == "to neighbours" else _to_halves)(port))
    return way


@planted("qk-bias-unpermuted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """The file had neighbours: the weights were brought to halves, their biases were forgotten."""
    return edit_weights(port, ("q_proj.bias", "k_proj.bias"), _to_neighbours(port))


@planted("q-heads-permuted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Query heads in the order (G, K) where o_proj and the key/value heads have (K, G)."""
    groups = port.heads // port.kv_heads
    shape = (port.kv_heads, groups, port.head_dim)
    return edit_weights(port, _ends("q_proj"), lambda w: w.unflatten(0, shape).transpose(0, 1).flatten(0, 2))


@planted("weights-transposed")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    module = one_of(draw, MATRICES)
    edit_weights(port, (f"{module}.weight",), lambda w: w.reshape(w.shape[1], w.shape[0]).T)
    return module


@planted("k-v-swapped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    for name in [name for name in port.weights if ".k_proj." in name]:
        other = name.replace("k_proj", "v_proj")
        port.weights[name], port.weights[other] = port.weights[other], port.weights[name]
    return ""


@planted("qkv-split-wrong")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Put together group by group (its queries, its key, its value), cut as all queries, all keys, all values; or put
    together in a row and cut group by group."""
    way = one_of(draw, ("groups read as a row", "a row read as groups"))
    K, groups, D = port.kv_heads, port.heads // port.kv_heads, port.head_dim
    if K == 1:
        raise NotHere("one group is a row")
    sizes = [port.heads * D, K * D, K * D]
    for layer in set(port.order):
        for part in ("weight", "bias"):
            names = [f"model.layers.{layer}.self_attn.{name}_proj.{part}" for name in "qkv"]
            if names[0] not in port.weights:
                continue
            row = [port.weights[name] for name in names]
            if way == "groups read as a row":
                by_group = [w.unflatten(0, (K, -1)) for w in row]  # (K, G·D or D, …)
                cut = torch.cat(by_group, dim=1).flatten(0, 1).split(sizes)
            else:
                fused = torch.cat(row).unflatten(0, (K, (groups + 2) * D))
                cut = [w.flatten(0, 1) for w in fused.split([groups * D, D, D], dim=1)]
            port.weights.update((name, w.contiguous()) for name, w in zip(names, cut, strict=True))
    return way


@planted("gate-up-interleaved")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    for name in [name for name in port.weights if ".gate_proj." in name]:
        other = name.replace("gate_proj", "up_proj")
        fused = torch.cat((port.weights[name], port.weights[other]))
        port.weights[name], port.weights[other] = fused[0::2].contiguous(), fused[1::2].contiguous()
    return ""
