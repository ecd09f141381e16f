"""What the published cases draw: weights and inputs, the same bytes on every machine and with every NumPy.

NumPy promises that the raw bits of a generator stay as they are, but not what its distributions make of them. So raw
bits are turned into numbers here. No torch: whoever has NumPy can make weights and inputs again.
"""

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

# The factor that gives numbers drawn evenly from −a … a a standard deviation of 1.
SPREAD = math.sqrt(3.0)


class Draws:
    """A row of random numbers that belongs to a name.

    name  of the case: another name, another row
    """

    def __init__(self, name: str):
        self._bits = np.random.PCG64(zlib.crc32(name.encode("utf-8")))

    def evenly(self, shape: tuple[int, ...], deviation: float, middle: float = 0.0) -> np.ndarray:
        """float32 numbers, spread evenly around `middle`, with this standard deviation.

        Each is a multiple of 2^-23 before one multiplication and one addition: nothing that a processor could round
        in its own way.
        """
        whole = (self._bits.random_raw(math.prod(shape)) >> np.uint64(40)).astype(np.float32)  # 24 bits: exact
        units = whole * np.float32(2.0**-23) - np.float32(1)  # in −1 … 1
        return (units * np.float32(SPREAD * deviation) + np.float32(middle)).reshape(shape)

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        """int64 numbers from low … high − 1."""
        raw = self._bits.random_raw(math.prod(shape)) % np.uint64(high - low)
        return (raw.astype(np.int64) + low).reshape(shape)


def draw_weights(class_name: str, config: Mapping[str, Any], draws: Draws) -> dict[str, np.ndarray]:
    """Every tensor of a model of this class, float32, lively: norm weights away from 1 and biases away from 0, scores
    of some units, and a residual stream that each half of a layer changes about as much as it carries on.

    config   fields of config.json; those used here must be there
    returns  tensors by the names that a checkpoint of this class has
    """
    E, F, V = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    D = config["head_dim"]
    queries, keys = config["num_attention_heads"] * D, config["num_key_value_heads"] * D
    weights: dict[str, np.ndarray] = {}

    def linear(name: str, outputs: int, inputs: int, gain: float, bias: bool) -> None:
        weights[f"{name}.weight"] = draws.evenly((outputs, inputs), gain / math.sqrt(inputs))
        if bias:
            weights[f"{name}.bias"] = draws.evenly((outputs,), 0.4)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = draws.evenly((E,), 0.3, middle=1.0)

    body = {"LlamaModel": "", "LlamaForQuestionAnswering": "transformer."}.get(class_name, "model.")
    weights[f"{body}embed_tokens.weight"] = draws.evenly((V, E), 1.0)
    for layer in range(config["num_hidden_layers"]):
        at = f"{body}layers.{layer}"
        norm(f"{at}.input_layernorm")
        linear(f"{at}.self_attn.q_proj", queries, E, 1.4, config["attention_bias"])
        linear(f"{at}.self_attn.k_proj", keys, E, 1.4, config["attention_bias"])
        linear(f"{at}.self_attn.v_proj", keys, E, 1.2, config["attention_bias"])
        linear(f"{at}.self_attn.o_proj", E, queries, 1.2, config["attention_bias"])
        norm(f"{at}.post_attention_layernorm")
        linear(f"{at}.mlp.gate_proj", F, E, 1.2, config["mlp_bias"])
        linear(f"{at}.mlp.up_proj", F, E, 1.0, config["mlp_bias"])
        linear(f"{at}.mlp.down_proj", E, F, 1.0, config["mlp_bias"])
    norm(f"{body}norm")
    labels = config.get("num_labels", len(config.get("id2label", (0, 1))))
    if class_name == "LlamaForCausalLM" and not config["tie_word_embeddings"]:
        linear("lm_head", V, E, 2.0, False)
    elif class_name == "LlamaForSequenceClassification":
        linear("score", labels, E, 2.0, False)
    elif class_name == "LlamaForTokenClassification":
        linear("score", labels, E, 2.0, True)
    elif class_name == "LlamaForQuestionAnswering":
        linear("qa_outputs", 2, E, 2.0, True)
    return weights
