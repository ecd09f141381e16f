"""The published block cases as properties: what Transformers makes of a block, beside what a port makes of it.

They are judged, emitted and reported as every other property is; `ALL_PROPERTIES` holds both. The file and the call
that differ are named by the message. blocks/apply_rope isn't among them: its tables are drawn freely, and a port may
count on cos and sin being alike for both channels of a pair, as they always are.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from numpy_llama.checkpoints.embedded import data_folder
from numpy_llama.conformance.draws import Draw, dtypes
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.properties import PROPERTIES, Property
from numpy_llama.conformance.published_cases import TWO_BYTES, Arrays, PublishedCase, rms
from numpy_llama.conformance.rounding import Broken, close, is_array
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.rope_scaling import scaled_rope

Asked = Callable[[Port, Arrays, dict[str, Any], np.dtype], Arrays | None]


@cache
def read(name: str) -> PublishedCase:
    """A published block case, by its name."""
    return PublishedCase.read(data_folder() / "published_logits" / "blocks" / f"{name}.safetensors")


def compare(port: Port, draw: Draw, name: str, ask: Asked) -> None:
    """Hold every call of a published block case to what Transformers gives.

    ask     what the port makes of a call: output → array; None where the port has no place for what the call needs
    raises  Broken naming the file and the call
    """
    case, dtype = read(name), draw("dtype", dtypes)
    for index, call in enumerate(case.calls):
        results = ask(port, case.inputs(index, dtype.name), call["arguments"], dtype)
        for output, got in (results or {}).items():
            claim = f"{output} of call {index} of published_logits/blocks/{name}.safetensors"
            expected = case.expected(index, "outputs", dtype.name, output)
            allowed = call["outputs"][output][dtype.name]
            if dtype.name not in TWO_BYTES:
                close(got, expected, allowed["largest_error"], claim)
                continue
            is_array(got, expected.shape, claim)
            truth = case.expected(index, "outputs", f"truth_of_{dtype.name}", output)
            error = rms(got.astype(np.float64) - truth)
            if not error <= allowed["rms_error"]:
                raise Broken(f"{claim}: {error:.3g} from the truth in root mean square, more than "
                             f"{allowed['rms_error']:.3g}", expected, got)  # fmt: skip


def rms_norm_of_transformers(port: Port, draw: Draw) -> None:
    """LlamaRMSNorm of Transformers gives the same numbers."""
    compare(port, draw, "rms_norm", lambda port, inputs, given, _: {
        "y": port.rms_norm(inputs["x"], inputs["weight"], given["eps"])})  # fmt: skip


def rope_tables_of_transformers(port: Port, draw: Draw) -> None:
    """LlamaRotaryEmbedding of Transformers gives the same numbers, for each of the seven rope types."""

    def ask(port: Port, inputs: Arrays, given: dict[str, Any], dtype: np.dtype) -> Arrays:
        positions = inputs["position_ids"]
        rope = scaled_rope(port.rope_frequencies, LlamaConfig(**given), dtype)
        frequencies, scaling = rope.at(int(positions.max()))
        tables = port.rope_tables(positions, frequencies, dtype, scaling)
        return dict(zip(("cos", "sin"), tables, strict=True))

    for kind in ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"):
        compare(port, draw, f"rope_{kind}", ask)


def attention_of_transformers(port: Port, draw: Draw) -> None:
    """eager_attention_forward of Transformers gives the same numbers, before its heads are joined."""
    compare(port, draw, "attention", lambda port, inputs, given, _: {
        "context": port.attention(inputs["query"], inputs["key"], inputs["value"], inputs.get("attention_mask"),
                                  given["scaling"])})  # fmt: skip


def mlp_of_transformers(port: Port, draw: Draw) -> None:
    """LlamaMLP of Transformers gives the same numbers, with biases and without."""

    def ask(port: Port, inputs: Arrays, given: dict[str, Any], dtype: np.dtype) -> Arrays | None:
        if given["hidden_act"] != "silu":
            return None  # a port's MLP isn't told which activation to take
        layers = ("gate_proj", "up_proj", "down_proj")
        biases = [inputs[f"{name}_bias"] for name in layers if f"{name}_bias" in inputs]
        return {"y": port.mlp(inputs["x"], *(inputs[name] for name in layers), *biases)}

    compare(port, draw, "mlp", ask)


def activation_of_transformers(port: Port, draw: Draw) -> None:
    """silu of Transformers gives the same numbers."""

    def ask(port: Port, inputs: Arrays, given: dict[str, Any], dtype: np.dtype) -> Arrays | None:
        if given["hidden_act"] != "silu":
            return None
        gate = Port().linear(inputs["x"], inputs["gate_proj"], inputs.get("gate_proj_bias"))
        return {"act_fn": port.activation(gate)}

    compare(port, draw, "mlp", ask)


OF_TRANSFORMERS: dict[str, tuple[Property, ...]] = {
    "rms_norm": (rms_norm_of_transformers,),
    "rope": (rope_tables_of_transformers,),
    "attention": (attention_of_transformers,),
    "mlp": (mlp_of_transformers,),
    "activations": (activation_of_transformers,),
}

ALL_PROPERTIES: dict[str, tuple[Property, ...]] = {
    block: (*row, *OF_TRANSFORMERS.get(block, ())) for block, row in PROPERTIES.items() if block != "model"
}
