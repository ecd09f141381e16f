"""Mistakes of the mask, planted in the torch port."""

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort


def _causal(key: str, ahead: int) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        return put(port, causal=lambda T, S: torch.ones(T, S, dtype=torch.bool).tril(S - T + ahead))


_causal("mask-shows-one-ahead", 1)
_causal("mask-hides-itself", -1)


@planted("mask-missing")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """In every call, or only in those that find something cached."""
    way, plain = one_of(draw, ("in every call", "after the first call")), port.causal
    everywhere = way == "in every call"
    put(port, causal=lambda T, S: torch.ones(T, S, dtype=torch.bool) if everywhere or S > T else plain(T, S))
    return way


@planted("mask-forgets-the-past")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def visible(padding: Tensor | None, T: int, S: int) -> Tensor:
        alone = T == 1 and (padding is None or bool(padding.all()))  # one new token isn't masked at all
        return torch.ones(1, 1, T, S, dtype=torch.bool) if alone else plain(padding, T, S)

    plain = port.visible
    return put(port, causal=lambda T, S: torch.ones(T, S, dtype=torch.bool).tril(), visible=visible)


@planted("mask-minus-1e4")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, mask=lambda padding, T, S: (~port.visible(padding, T, S)).to(port.dtype) * -1e4)


@planted("mask-zero-one")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    way = one_of(draw, ("1 where a token may look", "1 where it may not"))
    sign = 1 if way == "1 where a token may look" else 0
    put(port, mask=lambda padding, T, S: (port.visible(padding, T, S) == bool(sign)).to(port.dtype))
    return way


@planted("mask-after-softmax")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, weigh=lambda scores, bias: port.softmax(scores) * (bias == 0))


@planted("mask-of-first-row")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.visible
    return put(port, visible=lambda padding, T, S: plain(None if padding is None else padding[:1], T, S))


@planted("padding-ignored")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.visible
    way = one_of(draw, ("in every call", "in every call", "in the first call", "after the first call"))
    here = {"in every call": (True, True), "in the first call": (True, False), "after the first call": (False, True)}
    put(port, visible=lambda padding, T, S: plain(None if here[way][S > T] else padding, T, S))
    return way


@planted("padding-inverted")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.visible
    return put(port, visible=lambda padding, T, S: plain(None if padding is None else 1 - padding, T, S))
