"""Our building blocks on the published block cases: data/published_logits/blocks/."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numpy_llama import blocks
from numpy_llama.blocks.activation_table import activation_named
from numpy_llama.conformance.published_cases import Arrays, PublishedCase, Results
from numpy_llama.model import LlamaConfig
from numpy_llama.model.rope_scaling import scaled_rope
from numpy_llama.precision import DTYPES
from numpy_llama.probe import Call, observe


def run_block(case: PublishedCase, dtype: str) -> Results:
    """What our block makes of every call of a case."""
    block = _OURS[case.description["block"]]
    return [
        {"outputs": block(case.inputs(index, dtype), call["arguments"], dtype), "named": {}}
        for index, call in enumerate(case.calls)
    ]


def _rope_tables(inputs: Arrays, arguments: Mapping[str, Any], dtype: str) -> Arrays:
    config = LlamaConfig(**arguments)
    positions = inputs["position_ids"]
    rope = scaled_rope(blocks.rope_frequencies, config, DTYPES[dtype])
    frequencies, attention_scaling = rope.at(int(positions.max()))
    cos, sin = blocks.rope_tables(positions, frequencies, DTYPES[dtype], attention_scaling)
    return {"cos": cos, "sin": sin}


def _apply_rope(inputs: Arrays, arguments: Mapping[str, Any], dtype: str) -> Arrays:
    tables = inputs["cos"], inputs["sin"]
    return {f"{which}_rotated": blocks.apply_rope(inputs[which], *tables) for which in ("query", "key")}


def _rms_norm(inputs: Arrays, arguments: Mapping[str, Any], dtype: str) -> Arrays:
    return {"y": blocks.rms_norm(inputs["x"], inputs["weight"], arguments["eps"])}


def _attention(inputs: Arrays, arguments: Mapping[str, Any], dtype: str) -> Arrays:
    given = (inputs["query"], inputs["key"], inputs["value"], inputs.get("attention_mask"), arguments["scaling"])
    context, named = _named(lambda: blocks.attention(*given))
    return {"context": context, "weights": named["weights"]}


def _mlp(inputs: Arrays, arguments: Mapping[str, Any], dtype: str) -> Arrays:
    layers = ("gate_proj", "up_proj", "down_proj")
    weights, biases = [inputs[name] for name in layers], [inputs.get(f"{name}_bias") for name in layers]
    activation = activation_named(arguments["hidden_act"])
    y, named = _named(lambda: blocks.mlp(inputs["x"], *weights, *biases, activation=activation))
    return {"act_fn": named["act_fn"], "y": y}


def _named(run: Callable[[], np.ndarray]) -> tuple[np.ndarray, Arrays]:
    """A block's result, and every value that it gave a name."""
    named: Arrays = {}

    def note(name: str, value: np.ndarray, _: Call) -> None:
        named[name] = value

    with observe(note):
        return run(), named


_OURS: dict[str, Callable[[Arrays, Mapping[str, Any], str], Arrays]] = {
    "rope_tables": _rope_tables,
    "apply_rope": _apply_rope,
    "rms_norm": _rms_norm,
    "attention": _attention,
    "mlp": _mlp,
}
