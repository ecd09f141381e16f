"""Mistakes of positions, planted in the torch port."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from numpy_llama.reference.torch_mistake import one_of, planted, put
from numpy_llama.reference.torch_port import TorchPort


def _positions(key: str, wrong: Callable[[Tensor, int], Tensor]) -> None:
    @planted(key)
    def plant(port: TorchPort, draw: np.random.Generator) -> str:
        plain = port.positions
        return put(port, positions=lambda given, past, T: wrong(plain(given, past, T), past))


def _counted(positions: Tensor, start: int) -> Tensor:
    return torch.arange(start, start + positions.shape[1])[None].expand(positions.shape)


_positions("positions-shifted", lambda positions, past: positions + 1)
_positions("decode-positions-late", lambda positions, past: positions + 1 if past else positions)
_positions("decode-positions-early", lambda positions, past: (positions - 1).clamp(min=0) if past else positions)
_positions("positions-from-zero", lambda positions, past: _counted(positions, 0) if past else positions)
_positions("positions-of-chunk", lambda positions, past: positions[:, :1].expand_as(positions) if past else positions)
_positions("positions-of-first-row", lambda positions, past: positions[:1].expand(positions.shape))


@planted("positions-ignore-padding")
def _(port: TorchPort, draw: np.random.Generator) -> str:
    """Everywhere, which padding on the left doesn't show; or in one kind of call, which it does."""
    way, plain = one_of(draw, ("in every call", "in the first call", "after the first call")), port.positions

    def positions(given: Tensor | None, past: int, T: int) -> Tensor:
        right = plain(given, past, T)
        here = way == "in every call" or (way == "in the first call") == (past == 0)
        return _counted(right, past) if here else right

    put(port, positions=positions)
    return way
