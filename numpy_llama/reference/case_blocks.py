"""The block cases: what each building block is given. No torch; publish_blocks.py runs them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpy_llama.reference.case import HIDDEN, ROPE_TYPES, Call, rope
from numpy_llama.reference.case_cover import ACTIVATIONS
from numpy_llama.reference.case_draws import Draws

NEAR, FAR = [0, 1, 5, 100, 1023], [1024, 4095, 4096, 6000]  # positions; the context is 4096 tokens, at first 1024
PAIRS = 6  # of channels that turn together


@dataclass(frozen=True)
class BlockCase:
    """A block and what it is given, once or several times, each time from fresh.

    name   of the file
    block  "rope_tables", "apply_rope", "rms_norm", "attention" or "mlp"
    """

    name: str
    about: str
    block: str
    calls: tuple[Call, ...]


def block_cases() -> Iterator[BlockCase]:
    """All of them, in a fixed order."""
    yield from _rope_cases()
    draws = Draws("blocks")

    cos_sin = {"cos": draws.evenly((2, 5, 8), 0.6), "sin": draws.evenly((2, 5, 8), 0.6)}
    yield BlockCase("apply_rope", "queries and keys turned by tables of cos and sin", "apply_rope", (
        Call({"query": draws.evenly((2, 4, 5, 8), 1.0), "key": draws.evenly((2, 2, 5, 8), 1.0), **cos_sin}),
    ))  # fmt: skip

    norm_weight = draws.evenly((16,), 0.3, middle=1.0)
    yield BlockCase("rms_norm", "vectors of ordinary, tiny and large numbers", "rms_norm", tuple(
        Call({"x": draws.evenly((2, 3, 16), size), "weight": norm_weight}, {"eps": eps})
        for size, eps in ((1.0, 1e-6), (2.0**-10, 1e-5), (2.0**9, 1e-5))
    ))  # fmt: skip

    causal = np.tril(np.ones((4, 6), bool), 2)  # 4 new tokens after 2
    padded = np.stack([causal, causal & (np.arange(6) > 0)])[:, None]
    yield BlockCase("attention", "multi-head, grouped-query with a mask, multi-query with padding", "attention", (
        _attention_call(draws, 4, 4, None),
        _attention_call(draws, 4, 2, causal[None, None]),
        _attention_call(draws, 4, 1, padded),
    ))  # fmt: skip

    weights = {
        "gate_proj": draws.evenly((10, 8), 0.9),  # gates reach from −8 to 8, where every activation shows its shape
        "up_proj": draws.evenly((10, 8), 0.4),
        "down_proj": draws.evenly((8, 10), 0.3),
    }
    biases = {f"{name}_bias": draws.evenly(weight.shape[:1], 0.4) for name, weight in weights.items()}
    x = {"x": draws.evenly((4, 8), 1.2)}
    yield BlockCase("mlp", "every activation; the last call has biases", "mlp", tuple(
        [Call({**x, **weights}, {"hidden_act": name}) for name in ACTIVATIONS]
        + [Call({**x, **weights, **biases}, {"hidden_act": "silu"})]
    ))  # fmt: skip


def _rope_cases() -> Iterator[BlockCase]:
    more: dict[str, tuple[dict[str, Any], ...]] = {
        "default": ({}, {"rope_theta": 500000.0}),
        "yarn": ({"beta_fast": None, "beta_slow": None}, {"truncate": False}, {"mscale": 1.4, "mscale_all_dim": 0.7},
                 {"attention_factor": 1.3}),
        "longrope": ({}, {"attention_factor": 1.2}, {"factor": 6.0}),
        "proportional": ({}, {"partial_rotary_factor": 1.0, "factor": None}),
    }  # fmt: skip
    for kind in ROPE_TYPES:
        calls = []
        for changes in more.get(kind, ({},)):
            parameters = {**rope(kind, 1024, PAIRS), "rope_theta": 10000.0, **changes}
            parameters = {name: value for name, value in parameters.items() if value is not None}
            arguments = {"head_dim": 2 * PAIRS, "max_position_embeddings": 4096, "rope_parameters": parameters}
            calls += [Call({"position_ids": np.array([positions])}, arguments) for positions in (NEAR, FAR)]
        about = f"cos and sin of {kind} rope, at positions inside the trained context and beyond it"
        yield BlockCase(f"rope_{kind}", about, "rope_tables", tuple(calls))


def _attention_call(draws: Draws, heads: int, key_value_heads: int, sees: np.ndarray | None) -> Call:
    inputs = {
        "query": draws.evenly((2, heads, 4, 8), 1.2),
        "key": draws.evenly((2, key_value_heads, 6, 8), 1.2),
        "value": draws.evenly((2, key_value_heads, 6, 8), 1.0),
    }
    if sees is not None:
        inputs["attention_mask"] = np.where(sees, np.float32(0), np.float32(HIDDEN))
    return Call(inputs, {"scaling": 8**-0.5})
