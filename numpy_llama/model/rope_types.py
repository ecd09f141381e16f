"""The rope types: seven answers to "how fast shall each pair of channels turn?", so that a model reads longer texts.

A model that was trained on L tokens has never seen the angles of token L + 1. Each type but the first changes the
frequencies ω_i = θ^(−2i/D) so that angles past L look like angles before it:

    default       nothing is changed
    linear        every pair turns `factor` times slower: positions are squeezed
    dynamic       the base θ grows with the text, so that slow pairs slow down and fast ones hardly do
    yarn          fast pairs are kept, slow ones squeezed, with a ramp between the two
    longrope      each pair has a divisor of its own, found by search: one list for short texts, one for long ones
    llama3        as yarn, with the ramp over wavelengths
    proportional  only the first pairs turn; the others carry no position at all

Each function below is one type. `plain(dim, theta)` gives the unchanged frequencies, 1/θ^(2i/dim); `tokens` is the
length of the text so far. Float32 frequencies follow the order of operations of Transformers (ROPE_INIT_FUNCTIONS),
whose roundings are visible at large positions: among them that torch divides a number by an array as the array's
reciprocal, times the number.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from numpy_llama.blocks.rope import rope_powers


class RopeConfig(Protocol):
    """What a rope type reads of a LlamaConfig."""

    head_dim: int
    max_position_embeddings: int
    rope_parameters: dict[str, Any]


Plain = Callable[[int, float], np.ndarray]
RopeType = Callable[[Plain, RopeConfig, int], np.ndarray]


def default(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """The frequencies as they are; partial_rotary_factor has no effect here.

    returns  (D/2,), radians per token
    source   Su et al. 2021, eq. 15
    """
    return plain(config.head_dim, config.rope_parameters["rope_theta"])


def linear(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """Position interpolation: position m turns as far as m / factor did before.

    returns  (D/2,), ω_i / factor
    source   Chen et al. 2023, eq. 4
    """
    return _plain(plain, config) / float(config.rope_parameters["factor"])


def dynamic(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """NTK-aware scaling that follows the text: past the trained context L, the base grows with its length.

        θ' = θ · (factor · tokens / L − (factor − 1))^(D / (D − 2)),   1 in the brackets up to L tokens

    returns  (D/2,), 1 / θ'^(2i/D)
    source   "Dynamically Scaled RoPE", emozilla 2023, after bloc97's NTK-aware RoPE; Peng et al. 2023, section 3.3
    """
    dim, theta, factor = rotary_dim(config), config.rope_parameters["rope_theta"], config.rope_parameters["factor"]
    trained, power = config.max_position_embeddings, dim / (dim - 2)
    if tokens <= trained:  # Transformers takes this one at construction, in Python's own numbers
        stretch = (factor * trained / trained) - (factor - 1)
        base = theta * np.float64(stretch) ** power
    else:  # and this one during a call, in a tensor of one number, whose power torch takes in float64
        real = plain(dim, theta).dtype.type
        stretch = real(factor) * real(tokens) / real(trained) - real(factor - 1)
        base = real(theta) * real(np.float64(stretch) ** power)
    return plain(dim, float(base))


def yarn(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """Pairs that turn beta_fast times or more within the trained context are kept, those that turn beta_slow times or
    less are squeezed by `factor`; between the two, a ramp over the index of the pair.

    returns  (D/2,)
    source   Peng et al. 2023 (YaRN), section 3.2, with the ramp as in its authors' code
    """
    parameters = config.rope_parameters
    dim, theta = rotary_dim(config), parameters["rope_theta"]
    trained = parameters["original_max_position_embeddings"]
    powers = _powers(plain, dim, theta)  # (D/2,)
    kept = 1 / powers
    squeezed = 1 / (context_factor(config) * powers)

    def pair_that_turns(times: float) -> float:
        """The index i, not a whole number, whose pair turns so many times in `trained` tokens."""
        return (dim * math.log(trained / (times * 2 * math.pi))) / (2 * math.log(theta))

    first = pair_that_turns(parameters.get("beta_fast") or 32)
    last = pair_that_turns(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = float(max(first, 0)), float(min(last, dim - 1))  # D − 1, not D/2 − 1, in its authors' code as well
    if first == last:
        last += 0.001  # a step, without a division by zero
    ramp = np.clip((np.arange(dim // 2, dtype=powers.dtype) - first) / (last - first), 0, 1)  # 0 fast … 1 slow
    keep = 1 - ramp
    return squeezed * (1 - keep) + kept * keep


def longrope(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """Every pair is slowed by a divisor of its own: short_factor in the trained context, long_factor in longer texts.

    returns  (D/2,), ω_i / short_factor[i] or ω_i / long_factor[i]
    source   Ding et al. 2024 (LongRoPE)
    """
    parameters = config.rope_parameters
    longer = tokens > parameters["original_max_position_embeddings"]
    powers = _powers(plain, rotary_dim(config), parameters["rope_theta"])  # (D/2,)
    divisors = np.array(parameters["long_factor" if longer else "short_factor"], dtype=powers.dtype)  # (D/2,)
    return 1 / (divisors * powers)


def llama3(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """Pairs with a wavelength past trained / low_freq_factor are slowed by `factor`, those below
    trained / high_freq_factor kept; between the two, a blend.

    returns  (D/2,)
    source   Llama 3.1, apply_scaling in Meta's code
    """
    parameters = config.rope_parameters
    factor, low, high = (float(parameters[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    trained = float(parameters["original_max_position_embeddings"])
    frequencies = _plain(plain, config)  # (D/2,)
    wavelength = 1 / frequencies * (2 * math.pi)
    slowed = np.where(wavelength > trained / low, frequencies / factor, frequencies)
    blend = (1 / wavelength * trained - low) / (high - low)
    blended = (1 - blend) * slowed / factor + blend * slowed
    between = (wavelength >= trained / high) & (wavelength <= trained / low)
    return np.where(between, blended, slowed)


def proportional(plain: Plain, config: RopeConfig, tokens: int) -> np.ndarray:
    """The fastest pairs turn, partial_rotary_factor of them all; the others stand still, whatever the position.

    returns  (D/2,), ω_i / factor, then zeros
    source   Barbero et al. 2024 (p-RoPE)
    """
    frequencies = plain(config.head_dim, config.rope_parameters["rope_theta"]).copy()
    frequencies[turning_pairs(config) :] = 0
    return frequencies / float(config.rope_parameters.get("factor", 1))


ROPE_TYPES: Mapping[str, RopeType] = {
    "default": default,
    "linear": linear,
    "dynamic": dynamic,
    "yarn": yarn,
    "longrope": longrope,
    "llama3": llama3,
    "proportional": proportional,
}


def attention_scaling(config: RopeConfig) -> float:
    """The factor on cos and sin, so on queries and keys, that makes attention in long texts sharper; 1 for most types.

        yarn      0.1 ln(factor) + 1; with mscale and mscale_all_dim: (0.1 mscale ln(factor) + 1) over the same with
                  mscale_all_dim
        longrope  √(1 + ln(factor) / ln(trained))

    The field attention_factor goes first; no factor above 1, no sharpening.

    source  Peng et al. 2023, section 3.4; the code of Ding et al. 2024
    """
    parameters, rope_type = config.rope_parameters, config.rope_parameters["rope_type"]
    if rope_type not in ("yarn", "longrope"):
        return 1.0
    if parameters.get("attention_factor") is not None:
        return float(parameters["attention_factor"])
    factor = context_factor(config)
    if factor <= 1:
        return 1.0
    if rope_type == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(parameters["original_max_position_embeddings"]))
    above, below = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if above and below:
        return (0.1 * above * math.log(factor) + 1) / (0.1 * below * math.log(factor) + 1)
    return 0.1 * math.log(factor) + 1


def trained_tokens(config: RopeConfig) -> float:
    """The length of text past which dynamic and longrope choose other frequencies; infinite for the other types."""
    rope_type = config.rope_parameters["rope_type"]
    if rope_type == "dynamic":
        return config.max_position_embeddings
    if rope_type == "longrope":
        return config.rope_parameters["original_max_position_embeddings"]
    return math.inf


def context_factor(config: RopeConfig) -> float:
    """How many times longer the context is than the trained one, for yarn and longrope: `factor`, or the ratio of the
    two lengths where it is null."""
    factor = config.rope_parameters.get("factor")
    if factor is None:
        return config.max_position_embeddings / config.rope_parameters["original_max_position_embeddings"]
    return float(factor)


def rotary_dim(config: RopeConfig) -> int:
    """How many channels of a head take part by partial_rotary_factor: D unless given. Not for default, proportional."""
    return int(config.head_dim * config.rope_parameters.get("partial_rotary_factor", 1.0))


def turning_pairs(config: RopeConfig) -> int:
    """How many pairs turn in rope type proportional."""
    return int(config.rope_parameters.get("partial_rotary_factor", 1.0) * config.head_dim // 2)


def _plain(plain: Plain, config: RopeConfig) -> np.ndarray:
    return plain(rotary_dim(config), config.rope_parameters["rope_theta"])


def _powers(plain: Plain, dim: int, theta: float) -> np.ndarray:
    """θ^(2i/dim), which the plain frequencies are 1 over.

    A frequency has lost the last bit of the power that it comes from. Where the power, taken once more, gives this
    very frequency, it stands; where it doesn't (another rope_frequencies was swapped in), the frequency decides.
    """
    frequencies = plain(dim, theta)
    powers = rope_powers(dim, theta, frequencies.dtype)
    return np.where(1 / powers == frequencies, powers, 1 / frequencies)
