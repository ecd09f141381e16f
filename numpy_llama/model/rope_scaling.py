"""Rope types: how the frequencies of RoPE are changed so that a model reads texts longer than it was trained on.

The plain corridor knows frequencies alone; which they are is decided here, once, when a model is built.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError

RopeParameters = Mapping[str, Any]

REQUIRED = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
NOT_YET = ("dynamic", "yarn", "longrope", "proportional")  # Transformers has them for Llama; we don't yet


def standard_rope_parameters(parameters: RopeParameters | None, max_position_embeddings: int) -> dict[str, Any]:
    """rope_parameters with a rope_type and a rope_theta in every case, as Transformers standardises them."""
    parameters = dict(parameters or {})
    older_name = parameters.pop("type", None)
    parameters.setdefault("rope_type", older_name or "default")
    parameters.setdefault("rope_theta", 10000.0)
    if parameters["rope_type"] in ("llama3", "yarn", "longrope"):
        parameters.setdefault("original_max_position_embeddings", max_position_embeddings)
    return parameters


def check_rope_parameters(parameters: RopeParameters) -> None:
    """raises  LlamaError for an unknown rope type, a missing number, or one that can't be."""
    rope_type = parameters["rope_type"]
    if not isinstance(rope_type, str):
        raise LlamaError(
            "impossible value", where="rope_parameters.rope_type", expected="a string", found=repr(rope_type)
        )
    if rope_type in NOT_YET:
        raise LlamaError(
            "rope type not supported yet",
            where="rope_parameters.rope_type",
            expected="one of " + ", ".join(REQUIRED),
            found=repr(rope_type),
        )
    if rope_type not in REQUIRED:
        raise LlamaError(
            "unknown rope type",
            where="rope_parameters.rope_type",
            expected="one of " + ", ".join([*REQUIRED, *NOT_YET]),
            found=repr(rope_type),
        )
    for name in ("rope_theta", *REQUIRED[rope_type]):
        value = parameters.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1e38:
            raise LlamaError(
                "impossible value",
                where=f"rope_parameters.{name}",
                expected="a positive number",
                found=repr(value),
            )
    if rope_type == "llama3" and parameters["low_freq_factor"] == parameters["high_freq_factor"]:
        raise LlamaError(
            "impossible value",
            where="rope_parameters.high_freq_factor",
            expected="other than low_freq_factor",
            found=repr(parameters["high_freq_factor"]),
        )
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise LlamaError(
            "impossible value",
            where="rope_parameters.partial_rotary_factor",
            expected=f"1.0 with rope type {rope_type}",
            found=repr(parameters["partial_rotary_factor"]),
        )


def scaled_frequencies(
    rope_frequencies: Callable[..., np.ndarray], head_dim: int, parameters: RopeParameters, dtype: np.dtype
) -> np.ndarray:
    """The frequencies that a model with these rope_parameters turns by.

    rope_frequencies  the block: plain frequencies from head_dim, theta and dtype
    returns           (D/2,), float32 (float64 for float64)
    source            ROPE_INIT_FUNCTIONS of Transformers
    """
    frequencies = rope_frequencies(head_dim, parameters["rope_theta"], dtype)
    if parameters["rope_type"] == "linear":
        return frequencies / frequencies.dtype.type(parameters["factor"])
    if parameters["rope_type"] == "llama3":
        return _llama3(frequencies, parameters)
    return frequencies


def _llama3(frequencies: np.ndarray, parameters: RopeParameters) -> np.ndarray:
    """Slow pairs (wavelength past the trained context) are slowed by `factor`, fast ones kept, between them a blend.

    source  Llama 3.1; _compute_llama3_parameters
    """
    real = frequencies.dtype.type
    factor, low, high = (real(parameters[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    trained = real(parameters["original_max_position_embeddings"])
    wavelength = real(2 * math.pi) / frequencies
    slowed = np.where(wavelength > trained / low, frequencies / factor, frequencies)
    blend = (trained / wavelength - low) / (high - low)
    blended = (1 - blend) * slowed / factor + blend * slowed
    between = (wavelength >= trained / high) & (wavelength <= trained / low)
    return np.where(between, blended, slowed)
