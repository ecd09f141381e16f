"""Random models and random scripts of calls, small, and lively enough for every mistake to leave its mark."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numpy_llama.model.config import LlamaConfig
from numpy_llama.reference.case_draws import Draws, draw_weights
from numpy_llama.reference.torch_mistake import one_of
from numpy_llama.study.subject import Asked, Subject

BOS = 1


def draw_subject(draw: np.random.Generator, layers: int | None = None, texts: int | None = None) -> Subject:
    """A model with random sizes and settings, float32 weights, and random texts.

    layers  how many; two to four unless given
    texts   how many; two or three unless given
    """
    config = _config(draw, layers)
    weights = draw_weights("LlamaForCausalLM", config, Draws(f"trial {draw.integers(2**40)}"))
    calls = _calls(draw, config["vocab_size"], texts or one_of(draw, (2, 3)))
    return Subject(LlamaConfig.from_dict(config), weights, calls)


def _config(draw: np.random.Generator, layers: int | None) -> dict[str, Any]:
    K = one_of(draw, (1, 2, 2, 3))
    H = K * one_of(draw, (1, 2, 3))
    D = one_of(draw, (6, 8, 8, 12, 16))
    E = H * D if draw.random() < 0.3 else H * int(draw.integers(-(-12 // H), 72 // H + 1))
    E = one_of(draw, (32, 64)) if H in (1, 2, 4) and draw.random() < 0.5 else E  # rows that can be quantized
    return {
        "model_type": "llama",
        "vocab_size": int(draw.integers(24, 60)),
        "hidden_size": E,
        "intermediate_size": 8 * one_of(draw, (3, 4, 5, 8)),
        "num_hidden_layers": layers or one_of(draw, (2, 2, 3, 4)),
        "num_attention_heads": H,
        "num_key_value_heads": K,
        "head_dim": D,
        "hidden_act": one_of(draw, ("silu", "silu", "silu", "gelu", "gelu_pytorch_tanh")),
        "rms_norm_eps": one_of(draw, (1e-6, 1e-5, 1e-3, 1e-2, 0.1)),
        "attention_bias": bool(draw.random() < 0.5),
        "mlp_bias": bool(draw.random() < 0.5),
        "tie_word_embeddings": bool(draw.random() < 0.3),
        "max_position_embeddings": one_of(draw, (8, 32)),  # texts go past the first: dynamic and longrope change then
        "bos_token_id": BOS,
        "rope_parameters": _rope(draw, D),
    }


def _rope(draw: np.random.Generator, head_dim: int) -> Mapping[str, Any]:
    rope: dict[str, Any] = {
        "rope_type": one_of(draw, ("default", "default", "linear", "dynamic", "llama3", "yarn", "longrope")),
        "rope_theta": one_of(draw, (100.0, 1_000.0, 10_000.0, 500_000.0)),
    }
    kind, pairs = rope["rope_type"], head_dim // 2
    if kind in ("linear", "dynamic", "llama3", "yarn"):
        rope["factor"] = one_of(draw, (2.0, 4.0, 8.0))
    if kind in ("llama3", "yarn", "longrope"):
        rope["original_max_position_embeddings"] = 8
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    if kind == "longrope":
        rope |= {
            "short_factor": (1 + draw.random(pairs)).round(2).tolist(),
            "long_factor": (2 + 4 * draw.random(pairs)).round(2).tolist(),
        }
    return rope


def _calls(draw: np.random.Generator, vocabulary: int, texts: int) -> tuple[Asked, ...]:
    begins = bool(draw.random() < 0.6)  # with the token that begins a text
    calls: list[Asked] = []
    for _ in range(texts):
        calls += _text(draw, vocabulary, begins)
    return tuple(calls)


def _text(draw: np.random.Generator, vocabulary: int, begins: bool) -> list[Asked]:
    """A prefill, and chunks or decode steps after it; in a batch, perhaps padded on one side."""
    rows, tokens = int(draw.integers(1, 4)), int(draw.integers(3, 9))
    side = one_of(draw, ("none", "left", "right"))
    mask = np.ones((rows, tokens), np.int64)
    if side != "none":
        for row in range(rows):
            padding = int(draw.integers(0, tokens - 1))
            mask[row, slice(0, padding) if side == "left" else slice(tokens - padding, None)] = 0
    places = bool(draw.random() < 0.8)  # whether positions skip padding, as generate's do
    calls, past = [], 0
    for new in (tokens, *(int(draw.choice((1, 1, 1, 2, 3))) for _ in range(int(draw.integers(0, 3))))):
        if past:
            mask = np.concatenate((mask, np.ones((rows, new), np.int64)), axis=1)
        ids = draw.integers(3, vocabulary, (rows, new))
        if begins and not past:
            ids[np.arange(rows), mask.argmax(axis=1)] = BOS
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, past:]
        padded = not mask.all()
        calls.append(Asked(ids, mask if padded else None, positions if padded and places else None, past))
        past += new
    return calls
