"""Mistakes of the norms, planted in the torch port."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort


def _eps(key: str, eps: float) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        if key in ("eps-1e-6", "eps-1e-5") and draw.random() < 0.3:
            return _first_norms_only(port, lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps))
        port.eps = eps
        return ""


for _key, _value in (("eps-1e-6", 1e-6), ("eps-1e-5", 1e-5), ("eps-1e-8", 1e-8), ("eps-left-out", 0.0)):
    _eps(_key, _value)


def _norm_with(port: TorchPort, normed: Callable[[Tensor], Tensor]) -> str:
    """Every norm computes `normed(x in float32)` and multiplies it, rounded, by its weight."""

    def norm(x: Tensor, name: str) -> Tensor:
        return port.weights[f"{name}.weight"] * normed(x.float()).to(x.dtype)

    return put(port, norm=norm)


def _first_norms_only(port: TorchPort, normed: Callable[[Tensor], Tensor]) -> str:
    """Each layer's first norm is another one, as where two functions were written for the two."""
    right = port.norm
    _norm_with(port, normed)
    wrong = port.norm
    put(port, norm=lambda x, name: (wrong if name.endswith("input_layernorm") else right)(x, name))
    return "input_layernorm"


@planted("eps-outside-root")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def normed(x: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True).sqrt() + port.eps)

    return _first_norms_only(port, normed) if draw.random() < 0.3 else _norm_with(port, normed)


@planted("norm-layernorm")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return _norm_with(port, lambda x: torch.nn.functional.layer_norm(x, x.shape[-1:], eps=port.eps))


@planted("norm-by-sum")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return _norm_with(port, lambda x: x * torch.rsqrt(x.square().sum(-1, keepdim=True) + port.eps))


@planted("norm-over-tokens")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return _norm_with(port, lambda x: x * torch.rsqrt(x.square().mean(1, keepdim=True) + port.eps))


@planted("norm-in-half")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if port.dtype == torch.float32:
        raise NotHere("the model computes in float32")

    def norm(x: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + port.eps)
        return port.weights[f"{name}.weight"] * (x * scale)

    return put(port, norm=norm)


@planted("norm-rounded-after-weight")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def norm(x: Tensor, name: str) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + port.eps)
        return (wide * port.weights[f"{name}.weight"].float()).to(x.dtype)

    return put(port, norm=norm)


@planted("final-norm-missing")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, final_norm=lambda hidden: hidden)


@planted("final-norm-twice")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, final_norm=lambda hidden: port.norm(port.norm(hidden, "model.norm"), "model.norm"))


def _weights_of_norms(port: TorchPort) -> list[str]:
    return [name for name in port.weights if name.endswith("norm.weight")]


@planted("norm-one-plus-weight")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    for name in _weights_of_norms(port):
        port.weights[name] = 1 + port.weights[name]
    return ""


@planted("norm-without-weight")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    for name in _weights_of_norms(port):
        port.weights[name] = torch.ones_like(port.weights[name])
    return ""


@planted("norms-swapped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    for layer in set(port.order):
        first, second = (f"model.layers.{layer}.{name}layernorm.weight" for name in ("input_", "post_attention_"))
        port.weights[first], port.weights[second] = port.weights[second], port.weights[first]
    return ""


@planted("norm-after-block")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    way = one_of(draw, ("the sum", "what is added"))

    def layer(place: int, name: str, hidden: Tensor, tables: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        for block, norm in (
            (lambda x: port.attention(place, f"{name}.self_attn", x, tables, bias), "input_layernorm"),
            (lambda x: port.mlp(f"{name}.mlp", x), "post_attention_layernorm"),
        ):
            added = block(hidden)
            if way == "the sum":
                hidden = port.norm(hidden + added, f"{name}.{norm}")
            else:
                hidden = hidden + port.norm(added, f"{name}.{norm}")
        return hidden

    put(port, layer=layer)
    return way
