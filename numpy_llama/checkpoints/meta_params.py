"""params.json of Meta's folders: what it says, what it leaves to be known, and the LlamaConfig that comes of both.

    {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "multiple_of": 1024,
     "ffn_dim_multiplier": 1.3, "norm_eps": 1e-05, "rope_theta": 500000.0, "use_scaled_rope": true}

F isn't in it: it is 4·E·2/3 (three matrices in the place of two, of the same size together), times ffn_dim_multiplier,
rounded up to a multiple of multiple_of. Nor are the length of context that the model was trained on and the special
tokens: they follow from what tells the generations of Llama apart.

source  llama3/args.py and model.py of https://github.com/meta-llama/llama-models; llama/model.py of
        https://github.com/meta-llama/llama
"""

import math
import reprlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.model.config import LlamaConfig
from numpy_llama.model.config_checks import MOST

Shapes = Mapping[str, tuple[int, ...]]

# The `apply_scaling` of Meta's code, where these numbers are written down, the same for every model. Hugging Face's
# configs of Llama 3.2's 1B and 3B say 32 in the place of 8; from_pretrained(…, rope_parameters=…) follows them.
SCALED_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA_3_VOCABULARY = 128256
LLAMA_3_BOS, LLAMA_3_EOS = 128000, 128001
LLAMA_3_ENDS = [128001, 128008, 128009]  # <|end_of_text|>, <|eom_id|>, <|eot_id|>: a base model writes the first alone
WITHOUT_EFFECT = {"max_batch_size", "max_seq_len"}  # of Meta's cache, not of the model
KNOWN = {
    "dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "vocab_size",
    "multiple_of",
    "ffn_dim_multiplier",
    "norm_eps",
    "rope_theta",
    "use_scaled_rope",
}


def config_from_params(
    params: Mapping[str, Any], shapes: Shapes, shards: int, where: Path
) -> tuple[LlamaConfig, dict[str, Any] | None]:
    """The config of a folder of Meta's, and its generation settings, if it has any.

    params  what params.json says
    shapes  of the tensors in the first file, under Meta's names: vocab_size is −1 in Llama 1 and 2
    shards  how many files there are
    where   params.json, for error messages
    raises  LlamaError naming the field that is missing or can't be
    warns   LlamaWarning for fields that no Llama of Meta's has
    """
    inner = params.get("model", params)  # as some folders have it
    given = _Fields(inner if isinstance(inner, dict) else params, where)
    surprising = sorted(str(name)[:80] for name in given.params.keys() - KNOWN - WITHOUT_EFFECT)
    if surprising:
        message = f"{where}: unknown fields are not used: {', '.join(surprising[:8])}"
        warnings.warn(message, LlamaWarning, stacklevel=2)

    E, heads = given.integer("dim"), given.integer("n_heads")
    is_tied = "output.weight" not in shapes
    vocabulary = given.integer("vocab_size", -1, least=-1)
    if vocabulary < 1:
        vocabulary = _vocabulary(shapes, shards, E, where)
    theta = given.number("rope_theta", 10000.0)
    epsilon = given.number("norm_eps", 1e-5)
    is_scaled = given.switch("use_scaled_rope")
    is_llama_3 = vocabulary >= LLAMA_3_VOCABULARY
    try:
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=E,
            intermediate_size=_intermediate_size(given, E),
            num_hidden_layers=given.integer("n_layers"),
            num_attention_heads=heads,
            num_key_value_heads=given.integer("n_kv_heads", heads),
            max_position_embeddings=_context(is_scaled, is_llama_3, theta, epsilon),
            rms_norm_eps=epsilon,
            bos_token_id=LLAMA_3_BOS if is_llama_3 else 1,
            eos_token_id=LLAMA_3_EOS if is_llama_3 else 2,
            tie_word_embeddings=is_tied,
            rope_parameters={**(SCALED_ROPE if is_scaled else {"rope_type": "default"}), "rope_theta": theta},
        )
    except LlamaError as error:
        said = f"{where}: {error.where}"
        raise LlamaError(error.what, where=said, expected=error.expected, found=error.found) from None
    ends = {"bos_token_id": LLAMA_3_BOS, "eos_token_id": list(LLAMA_3_ENDS)}
    return config, ends if is_llama_3 else None


def _intermediate_size(given: "_Fields", E: int) -> int:
    """F: of two thirds of 4·E, rounded down, times the multiplier, rounded down, up to a multiple."""
    multiple = given.integer("multiple_of", 256)
    size = int(2 * (4 * E) / 3)
    if given.params.get("ffn_dim_multiplier") is not None:
        size = int(given.number("ffn_dim_multiplier") * size)
    return multiple * -(-size // multiple)


def _vocabulary(shapes: Shapes, shards: int, E: int, where: Path) -> int:
    """V, where params.json leaves it to the tokenizer: from the rows of the head, or of the embedding."""
    for name in ("output.weight", "tok_embeddings.weight"):
        if len(shapes.get(name, ())) == 2:
            rows, width = shapes[name]
            return rows if name != "output.weight" and width * shards == E else rows * shards
    raise LlamaError("no vocabulary", where=where, expected="vocab_size, or a tensor output.weight that tells")


def _context(is_scaled: bool, is_llama_3: bool, theta: float, epsilon: float) -> int:
    """Tokens that the model was trained on, which params.json doesn't say."""
    if is_scaled:
        return 131072  # Llama 3.1 and later
    if is_llama_3:
        return 8192
    if theta > 10000:
        return 16384  # Code Llama
    return 4096 if epsilon > 1e-6 else 2048  # Llama 2; Llama 1


class _Fields:
    """Fields of params.json, each held to what it must be."""

    def __init__(self, params: Mapping[str, Any], where: Path):
        self.params, self._where = params, where

    def integer(self, name: str, default: int | None = None, least: int = 1) -> int:
        """raises  LlamaError where it is missing, no integer, or too large for any machine"""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
            raise self._error(name, f"an integer in {least} … {MOST}", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """raises  LlamaError where it is missing, or no positive number"""
        value = self._value(name, default)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12
        if not fits or not math.isfinite(value):
            raise self._error(name, "a positive number below 1e12", value)
        return float(value)

    def switch(self, name: str) -> bool:
        """raises  LlamaError where it is neither true nor false"""
        value = self._value(name, False)
        if not isinstance(value, bool):
            raise self._error(name, "true or false", value)
        return value

    def _value(self, name: str, default: Any) -> Any:
        value = self.params.get(name)
        return default if value is None else value

    def _error(self, name: str, expected: str, value: object) -> LlamaError:
        if value is None:
            return LlamaError("missing", where=f"{self._where}: {name}", expected=expected)
        return LlamaError(
            "impossible value", where=f"{self._where}: {name}", expected=expected, found=reprlib.repr(value)
        )
