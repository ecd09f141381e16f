"""Mistakes of how fast RoPE turns: theta, scaling, the precision of angles and tables. Planted in the torch port."""

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort
from numpy_llama.reference.torch_ropes import powers


def _scaled(port: TorchPort) -> dict:
    if port.config.rope_parameters["rope_type"] == "default":
        raise NotHere("RoPE isn't scaled")
    return port.config.rope_parameters


def _factor(port: TorchPort) -> float:
    factor = _scaled(port).get("factor")
    if factor is None:
        raise NotHere("the config has no factor")
    return factor


def _theta(theta: int) -> None:
    @planted(f"rope-theta-{theta}")
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        port.config.rope_parameters["rope_theta"] = float(theta)
        return ""


for _value in (10_000, 500_000, 1_000_000):
    _theta(_value)


def _default_frequencies(port: TorchPort) -> Tensor:
    return powers(port, torch.arange(0, port.head_dim, 2) / port.head_dim)


@planted("rope-scaling-missing")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    kind = _scaled(port)["rope_type"]
    put(port, frequencies=lambda tokens: (_default_frequencies(port), 1.0))
    return str(kind)


@planted("rope-scaling-linear-instead")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    factor = _factor(port)
    if _scaled(port)["rope_type"] == "linear":
        raise NotHere("it is linear")
    return put(port, frequencies=lambda tokens: (_default_frequencies(port) / factor, 1.0))


@planted("rope-factor-inverted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    factor = _factor(port)
    if _scaled(port)["rope_type"] == "linear":
        return put(port, frequencies=lambda tokens: (_default_frequencies(port) * factor, 1.0))
    if _scaled(port)["rope_type"] != "llama3":
        raise NotHere("a factor below 1 means something else in this rope type")
    _scaled(port)["factor"] = 1 / factor
    return ""


@planted("rope-factor-of-another")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if _scaled(port)["rope_type"] != "llama3":
        raise NotHere("no Llama 3")
    _scaled(port)["factor"] = one_of(draw, [other for other in (8.0, 32.0) if other != _factor(port)])
    return f"{_factor(port):g}"


@planted("rope-llama3-smoothing-reversed")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    rope = _scaled(port)
    if rope["rope_type"] != "llama3":
        raise NotHere("no Llama 3")
    trained, low, high = (
        rope[name] for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )

    def frequencies(tokens: int) -> tuple[Tensor, float]:
        kept = _default_frequencies(port)
        turns = trained * kept / (2 * torch.pi)  # of each pair, in a text of the trained length
        smooth = ((turns - low) / (high - low)).clamp(0, 1)
        between = (turns > low) & (turns < high)
        smooth = torch.where(between, 1 - smooth, smooth)
        return kept * (smooth + (1 - smooth) / rope["factor"]), 1.0

    return put(port, frequencies=frequencies)


@planted("rope-attention-factor-missing")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if _scaled(port)["rope_type"] not in ("yarn", "longrope"):
        raise NotHere("cos and sin have no factor")
    plain = port.frequencies
    return put(port, frequencies=lambda tokens: (plain(tokens)[0], 1.0))


@planted("rope-frequencies-of-width")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if port.config.rope_parameters["rope_type"] != "default":
        raise NotHere("written for unscaled RoPE")
    width = port.width / port.heads
    return put(port, frequencies=lambda tokens: (powers(port, torch.arange(0, port.head_dim, 2) / width), 1.0))


@planted("rope-exponent-half")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if port.config.rope_parameters["rope_type"] != "default":
        raise NotHere("written for unscaled RoPE")
    pairs = torch.arange(port.head_dim // 2)
    return put(port, frequencies=lambda tokens: (powers(port, pairs / port.head_dim), 1.0))


@planted("rope-tables-in-half")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    ways = [name for name in ("bfloat16", "float16") if getattr(torch, name) != port.dtype]
    half = getattr(torch, one_of(draw, ways))
    plain = port.tables
    put(port, tables=lambda positions: tuple(table.to(half).to(port.dtype) for table in plain(positions)))
    return str(half)


@planted("rope-angles-in-half")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    half = getattr(torch, one_of(draw, ("bfloat16", "float16")))

    def angles(positions: Tensor, frequencies: Tensor) -> Tensor:
        return (positions[..., None].to(half) * frequencies.to(half)).float()

    put(port, angles=angles)
    return str(half)
