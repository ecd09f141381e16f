"""Mistakes of the KV cache, planted in the torch port."""

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import NotHere, one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort


@planted("cache-overwrites-last")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """The new tokens are written one place too low; what is read is as long as it should be, or one shorter."""

    def remember(place: int, key: Tensor, value: Tensor, tables: object) -> tuple[Tensor, Tensor]:
        if place in port.cache:
            shape = key.shape[:2] + (port.seen + key.shape[2], key.shape[3])
            kept = []
            for old, new in zip(port.cache[place], (key, value), strict=True):
                buffer = torch.zeros(shape, dtype=new.dtype)
                buffer[:, :, : old.shape[2]] = old
                buffer[:, :, port.seen - 1 : port.seen - 1 + new.shape[2]] = new
                kept.append(buffer)
            key, value = kept
        port.cache[place] = key, value
        return key, value

    return put(port, remember=remember)


@planted("cache-newest-first")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    def remember(place: int, key: Tensor, value: Tensor, tables: object) -> tuple[Tensor, Tensor]:
        if place in port.cache:
            keys, values = port.cache[place]
            key, value = torch.cat((key, keys), dim=2), torch.cat((value, values), dim=2)
        port.cache[place] = key, value
        return key, value

    return put(port, remember=remember)


@planted("cache-shared")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    if len(port.order) < 2:
        raise NotHere("one layer")

    def remember(place: int, key: Tensor, value: Tensor, tables: object) -> tuple[Tensor, Tensor]:
        if port.seen:
            keys, values = (past[:, :, : port.seen] for past in port.cache[0])
            key, value = torch.cat((keys, key), dim=2), torch.cat((values, value), dim=2)
        port.cache[0] = key, value
        return key, value

    return put(port, remember=remember)


@planted("cache-forgotten")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain = port.mix
    put(port, remember=lambda place, key, value, tables: (key, value))
    return put(port, mix=lambda query, keys, values, bias: plain(query, keys, values, bias[..., -keys.shape[2] :]))


@planted("cache-keys-before-rotation")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    plain_turned, plain_remember = port.turned, port.remember
    unrotated: dict[str, Tensor] = {}

    def turned(query: Tensor, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        unrotated["key"] = key
        return plain_turned(query, key, value, tables)

    def remember(place: int, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        keys, values = plain_remember(place, unrotated["key"], value, tables)
        return torch.cat((keys[:, :, : -key.shape[2]], key), dim=2), values

    return put(port, turned=turned, remember=remember)


@planted("cache-stale-row")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Each row reads the past of the row before: of what is stored, or the rows are moved for good in every call."""
    way, plain = one_of(draw, ("read", "moved")), port.remember

    def remember(place: int, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        stored = plain(place, key, value, tables)
        past = port.seen
        mixed = tuple(torch.cat((x[:, :, :past].roll(1, 0), x[:, :, past:]), dim=2) for x in stored)
        if way == "moved":
            port.cache[place] = mixed[0], mixed[1]
        return mixed[0], mixed[1]

    put(port, remember=remember)
    return way


@planted("cache-in-half")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    ways = [dtype for dtype in (torch.bfloat16, torch.float16) if dtype != port.dtype]
    half, plain = one_of(draw, ways), port.remember
    if one_of(draw, ("all", "the past")) == "the past":

        def remember(place: int, key: Tensor, value: Tensor, tables: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            """What is stored is rounded afterwards, so that later calls alone find it rounded."""
            stored = plain(place, key, value, tables)
            port.cache[place] = (stored[0].to(half).to(key.dtype), stored[1].to(half).to(value.dtype))
            return stored

        put(port, remember=remember)
        return f"{half}, the past"
    put(
        port,
        remember=lambda place, key, value, tables: plain(
            place, key.to(half).to(key.dtype), value.to(half).to(value.dtype), tables
        ),
    )
    return str(half)
