"""Mistakes of how RoPE turns channels, planted in the torch port."""

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort

Tables = tuple[Tensor, Tensor]


def powers(port: TorchPort, exponents: Tensor) -> Tensor:
    """θ to the minus each exponent, in float32."""
    return port.config.rope_parameters["rope_theta"] ** -exponents.float()


@planted("rope-interleaved")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def rotate(x: Tensor, tables: Tables) -> Tensor:
        cos, sin = (table[:, None, :, : port.head_dim // 2] for table in tables)
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)

    return put(port, rotate=rotate)


@planted("rope-neighbours-with-tables-of-halves")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def rotate(x: Tensor, tables: Tables) -> Tensor:
        cos, sin = (table[:, None] for table in tables)  # (B or 1, 1, T, D)
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return x * cos + torch.stack((-b, a), dim=-1).flatten(-2) * sin

    return put(port, rotate=rotate)


@planted("rope-reversed")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.rotate
    return put(port, rotate=lambda x, tables: plain(x, (tables[0], -tables[1])))


@planted("rope-cos-sin-swapped")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.rotate
    return put(port, rotate=lambda x, tables: plain(x, (tables[1], tables[0])))


@planted("rope-missing")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, rotate=lambda x, tables: x)


@planted("rope-twice")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.rotate
    return put(port, rotate=lambda x, tables: plain(plain(x, tables), tables))


@planted("rope-on-values")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, turned=lambda q, k, v, tables: tuple(port.rotate(x, tables) for x in (q, k, v)))


@planted("rope-queries-only")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, turned=lambda q, k, v, tables: (port.rotate(q, tables), k, v))


@planted("rope-keys-only")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    return put(port, turned=lambda q, k, v, tables: (q, port.rotate(k, tables), v))


@planted("rope-partial")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """The first half of each head turns, as a head of that width: with its frequencies, or with those of the whole."""
    half = port.head_dim // 2
    if half % 2:
        raise NotHere("half a head is no whole number of pairs")
    way = one_of(draw, ("own frequencies", "the head's first frequencies"))

    def frequencies(tokens: int) -> tuple[Tensor, float]:
        found, factor = plain_frequencies(tokens)
        return (powers(port, torch.arange(0, half, 2) / half), 1.0) if own else (found[: half // 2], factor)

    def rotate(x: Tensor, tables: Tables) -> Tensor:
        return torch.cat((plain_rotate(x[..., :half], tables), x[..., half:]), dim=-1)

    plain_frequencies, plain_rotate = port.frequencies, port.rotate
    own = way == "own frequencies" and port.config.rope_parameters["rope_type"] == "default"
    put(port, frequencies=frequencies, rotate=rotate)
    return way if own else "the head's first frequencies"


@planted("rope-by-head")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Head h turns as the token at position h would, with the frequencies of the call."""
    plain_tables, plain_rotate, plain_frequencies = port.tables, port.rotate, port.frequencies
    heads = torch.arange(port.heads)[None]

    def tables(positions: Tensor) -> Tables:
        tokens = int(positions.max()) + 1  # on which dynamic and longrope frequencies depend
        put(port, frequencies=lambda _: plain_frequencies(tokens))
        return plain_tables(heads)  # (1, H, D) twice

    def rotate(x: Tensor, tables: Tables) -> Tensor:
        of_heads = (tables[0][:, : x.shape[1]], tables[1][:, : x.shape[1]])
        return plain_rotate(x.transpose(1, 2), of_heads).transpose(1, 2)

    return put(port, tables=tables, rotate=rotate)
