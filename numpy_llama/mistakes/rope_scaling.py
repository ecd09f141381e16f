"""Mistakes of scaled RoPE: no scaling, that of another type, the wrong way round, without its factor on attention."""

from typing import Any

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_config
from numpy_llama.mistakes.rope_speed import COS, with_rope
from numpy_llama.mistakes.wrong_blocks import rope as wrong
from numpy_llama.model.rope_types import context_factor
from numpy_llama.study.subject import Subject


def without_scaling(subject: Subject) -> Variants:
    """Takes the plain frequencies, whatever the rope type."""
    parameters = subject.config.rope_parameters
    if parameters["rope_type"] != "default":
        plain = {"rope_type": "default", "rope_theta": parameters["rope_theta"]}
        yield parameters["rope_type"], with_config(subject, rope_parameters=plain)


def linear_instead(subject: Subject) -> Variants:
    """Divides every frequency by the factor of another rope type."""
    parameters = subject.config.rope_parameters
    if parameters["rope_type"] in ("default", "linear"):
        return
    factor = context_factor(subject.config) if parameters["rope_type"] == "longrope" else parameters.get("factor")
    if factor is None and parameters["rope_type"] == "yarn":
        factor = context_factor(subject.config)
    if factor not in (None, 1):
        linear = {"rope_type": "linear", "rope_theta": parameters["rope_theta"], "factor": float(factor)}
        yield parameters["rope_type"], with_config(subject, rope_parameters=linear)


def factor_inverted(subject: Subject) -> Variants:
    """Multiplies where it should divide."""
    parameters = subject.config.rope_parameters
    inverted: dict[str, Any] = {
        name: [1 / divisor for divisor in parameters[name]]
        for name in ("short_factor", "long_factor")
        if name in parameters
    }
    if not inverted and parameters["rope_type"] != "default" and parameters.get("factor"):
        inverted = {"factor": 1 / parameters["factor"]}
    if inverted:
        yield parameters["rope_type"], with_rope(subject, **inverted)


def other_factor(subject: Subject) -> Variants:
    """Takes the factor of another model: 8 is that of Llama 3.1, 32 that of the small Llama 3.2."""
    parameters = subject.config.rope_parameters
    if parameters["rope_type"] == "llama3":
        for factor in (8.0, 32.0):
            if parameters["factor"] != factor:
                yield f"factor {factor:g}", with_rope(subject, factor=factor)


def smoothing_reversed(subject: Subject) -> Variants:
    """Blends llama3's frequencies the other way round: what should be kept is slowed, as much as it should be kept."""
    parameters, blocks = subject.config.rope_parameters, subject.blocks
    if parameters["rope_type"] != "llama3":
        return

    def rope_tables(
        positions: np.ndarray, frequencies: np.ndarray, dtype: np.dtype, scaling: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        kept = blocks.rope_frequencies(subject.config.head_dim, parameters["rope_theta"], dtype)
        slowed = kept / parameters["factor"]
        at_an_end = np.isclose(frequencies, kept, rtol=1e-6) | np.isclose(frequencies, slowed, rtol=1e-6)
        reversed_blend = (kept + slowed - frequencies).astype(frequencies.dtype)
        return blocks.rope_tables(positions, np.where(at_an_end, frequencies, reversed_blend), dtype, scaling)

    yield "", with_blocks(subject, rope_tables=rope_tables)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="rope-scaling-missing",
        says="whose RoPE isn't scaled, though the config has a rope type that is",
        looks_like="right in short texts, or nearly; wrong in long ones, which is what the scaling is for",
        mend="read rope_scaling (rope_parameters since Transformers 5), and refuse a rope type that you don't know",
        wild=(
            "https://github.com/felafax/felafax/issues/59 (Llama 3.1)",
            "https://github.com/Blaizzy/mlx-vlm/pull/1710 (ten models that read it and did not use it)",
        ),
        first=COS,
        plant=without_scaling,
        exposed_by=("several-keys", "scaled-rope"),
    ),
    Mistake(
        key="rope-scaling-linear-instead",
        says="whose RoPE divides every frequency by the factor, whatever the rope type",
        looks_like="wrong from the second token on: fast pairs, which most types keep, turn several times too slowly",
        mend="llama3, yarn and longrope change each frequency in its own way; linear alone divides all by one number",
        wild=(),
        first=COS,
        plant=linear_instead,
        exposed_by=("several-keys", "scaled-rope", "rope-factor", "rope-not-linear"),
    ),
    Mistake(
        key="rope-factor-inverted",
        says="whose RoPE multiplies by the scaling's factor where it should divide",
        looks_like="wrong from the second token on; distances are stretched instead of squeezed",
        mend="a factor of 8 makes a pair turn 8 times slower; llama.cpp's rope-freq-scale is its reciprocal",
        wild=("https://github.com/ml-explore/mlx/pull/261 (asked in a review: multiply or divide?)",),
        first=COS,
        plant=factor_inverted,
        exposed_by=("several-keys", "scaled-rope", "rope-factor"),
    ),
    Mistake(
        key="rope-factor-of-another",
        says="whose RoPE is scaled by another Llama's factor (8 of Llama 3.1, 32 of the small Llama 3.2)",
        looks_like="right in short texts; wrong in texts of tens of thousands of tokens",
        mend="read the factor from the config: the two have the same rope type, and nothing else tells them apart",
        wild=(
            "https://github.com/meta-llama/llama-models/issues/241 (8 for all models)",
            "https://github.com/TransformerLensOrg/TransformerLens/pull/910 (wrong factors for Llama 3)",
        ),
        first=COS,
        plant=other_factor,
        exposed_by=("several-keys", "scaled-rope", "rope-llama3"),
    ),
    Mistake(
        key="rope-llama3-smoothing-reversed",
        says="whose RoPE, of type llama3, blends slowed and kept frequencies the wrong way round",
        looks_like="right in short texts, nearly: the few pairs between the kept and the slowed ones turn at a wrong "
        "speed",
        mend="(1 − smooth) · frequency / factor + smooth · frequency, where smooth is 1 at the short wavelengths",
        wild=(),
        first=COS,
        plant=smoothing_reversed,
        exposed_by=("several-keys", "scaled-rope", "rope-llama3-blend"),
    ),
    Mistake(
        key="rope-attention-factor-missing",
        says="whose cos and sin lack the factor that yarn and longrope put on them",
        looks_like="attention is a little too even, from the second token on",
        mend="multiply cos and sin by the attention factor: 0.1 ln(factor) + 1 for yarn, unless the config gives one",
        wild=(
            "https://github.com/turboderp-org/exllamav3/issues/259 (it became 1)",
            "https://github.com/ml-explore/mlx-lm/pull/1507 (that of the config not read)",
        ),
        first=COS,
        plant=lambda subject: [("", with_blocks(subject, rope_tables=wrong.tables_without_scaling))],
        exposed_by=("several-keys", "rope-attention-factor"),
    ),
)
