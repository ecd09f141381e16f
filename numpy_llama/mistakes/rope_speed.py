"""Mistakes of RoPE's angles: how fast each pair turns, and how precisely the angles are kept."""

from collections.abc import Callable

import numpy as np

from numpy_llama.blocks.rope import rope_powers
from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_blocks, with_config
from numpy_llama.mistakes.wrong_blocks import rope as wrong
from numpy_llama.precision import DTYPES, compute_dtype
from numpy_llama.probe import probe
from numpy_llama.study.subject import Subject

Array = np.ndarray

COS = "model.rotary_emb.cos"


def with_rope(subject: Subject, **fields: object) -> Subject:
    """The subject with other fields in its rope_parameters."""
    return with_config(subject, rope_parameters={**subject.config.rope_parameters, **fields})


def other_theta(theta: float) -> Callable[[Subject], Variants]:
    """Plants another base of the frequencies; nothing where it is the right one."""

    def plant(subject: Subject) -> Variants:
        if subject.config.rope_parameters["rope_theta"] != theta:
            yield "", with_rope(subject, rope_theta=theta)

    return plant


def frequencies_of_width(subject: Subject) -> Variants:
    """Takes D in the exponent as hidden_size / num_attention_heads."""
    config = subject.config
    dim = config.hidden_size // config.num_attention_heads
    if dim == config.head_dim:
        return

    def rope_frequencies(head_dim: int, theta: float, dtype: np.dtype) -> Array:
        return 1 / rope_powers(head_dim, theta ** (head_dim / dim), compute_dtype(dtype))  # θ^(−2i/dim), D/2 of them

    yield "", with_blocks(subject, rope_frequencies=rope_frequencies)


def _narrower(subject: Subject) -> list[np.dtype]:
    """The two-byte dtypes that the subject doesn't compute in itself."""
    own = next(iter(subject.weights.values())).dtype
    return [dtype for dtype in (DTYPES["bfloat16"], DTYPES["float16"]) if dtype != own]


def tables_in_half(subject: Subject) -> Variants:
    """Keeps cos and sin in a two-byte dtype, and widens them again."""
    for half in _narrower(subject):
        yield half.name, with_blocks(subject, rope_tables=_tables_kept_in(half, subject.blocks.rope_tables))


def _tables_kept_in(half: np.dtype, make: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
    def rope_tables(positions: Array, frequencies: Array, dtype: np.dtype, scaling: float = 1.0) -> tuple[Array, Array]:
        cos, sin = make(positions, frequencies, half, scaling)
        return cos.astype(dtype), sin.astype(dtype)

    return rope_tables


def angles_in_half(subject: Subject) -> Variants:
    """Multiplies positions by frequencies in a two-byte dtype, as a port does whose whole module was cast to it."""
    for half in (DTYPES["bfloat16"], DTYPES["float16"]):
        yield half.name, with_blocks(subject, rope_tables=_tables_of_angles_in(half))


def _tables_of_angles_in(half: np.dtype) -> Callable[..., tuple[Array, Array]]:
    def rope_tables(positions: Array, frequencies: Array, dtype: np.dtype, scaling: float = 1.0) -> tuple[Array, Array]:
        angles = positions[..., None].astype(half) * frequencies.astype(half)  # (B, T, D/2)
        angles = np.tile(angles.astype(frequencies.dtype), 2)
        cos, sin = ((f(angles) * scaling).astype(half).astype(dtype) for f in (np.cos, np.sin))
        return probe("cos", cos), probe("sin", sin)

    return rope_tables


def _theta(theta: int, others: str, *wild: str) -> Mistake:
    return Mistake(
        key=f"rope-theta-{theta}",
        says=f"whose RoPE has a theta of {theta:,}, whatever the config says",
        looks_like=f"right at the first token, nearly right in short texts, worse with every token; {others}",
        mend="read rope_theta from the config: at the top, in rope_scaling or in rope_parameters",
        wild=wild,
        first=COS,
        plant=other_theta(float(theta)),
        exposed_by=("several-keys", f"theta-other-than-{theta}"),
    )


MISTAKES: tuple[Mistake, ...] = (
    _theta(
        10000,
        "right for Llama 1 and 2, wrong for Code Llama and Llama 3",
        "https://github.com/karpathy/llama2.c/issues/356 (fixed in run.c; Code Llama)",
        "https://github.com/huggingface/nanotron/pull/173 (fixed; Llama 3)",
        "https://github.com/google-deepmind/penzai/pull/102 (fixed in a conversion)",
        "https://github.com/marin-community/levanter/pull/649 (fixed; Llama 3)",
    ),
    _theta(500000, "right for Llama 3, wrong for the older ones"),
    _theta(
        1000000,
        "right for Code Llama, wrong for the others",
        "https://github.com/vllm-project/vllm/pull/998 (a config that says what its model was not trained with)",
    ),
    Mistake(
        key="rope-frequencies-of-width",
        says="whose RoPE takes a head's width as hidden_size / num_attention_heads, not as head_dim",
        looks_like="as a wrong theta; most Llamas have the two alike, so it shows in the first that doesn't",
        mend="read head_dim from the config; fall back on the quotient only where it isn't there",
        wild=(
            "https://github.com/InternLM/lmdeploy/pull/2761 (Mistral Nemo)",
            "https://github.com/aws-neuron/neuronx-distributed-inference/pull/9 (head_dim not read)",
            "https://github.com/pytorch/executorch/pull/8846 (the same)",
        ),
        first=COS,
        plant=frequencies_of_width,
        exposed_by=("several-keys", "head-dim-apart", "several-pairs"),
    ),
    Mistake(
        key="rope-exponent-half",
        says="whose RoPE has frequencies θ^(−i/D), not θ^(−2i/D)",
        looks_like="as a theta that is far too small: pairs that should hardly turn turn fast",
        mend="the exponent is 2i / D for pair i: arange(0, D, 2) / D",
        wild=(
            "https://github.com/rasbt/LLMs-from-scratch/issues/410 (proposed; the tests said no)",
            "https://github.com/stanford-cs336/assignment1-basics/issues/22 (another wrong exponent, in a handout)",
        ),
        first=COS,
        plant=lambda subject: [
            ("", with_blocks(subject, rope_frequencies=wrong.frequencies_from_half_the_exponent)),
        ],
        exposed_by=("several-keys", "several-pairs"),
    ),
    Mistake(
        key="rope-tables-in-half",
        says="whose cos and sin are kept in a two-byte dtype",
        looks_like="off by about one part in 256 (bfloat16) or 2,048 (float16) wherever queries meet keys",
        mend="keep the tables in float32, or in the dtype that the model computes in",
        wild=(
            "https://github.com/KellerJordan/modded-nanogpt/issues/39 (cos and sin in bfloat16)",
            "https://github.com/vllm-project/vllm/issues/863 (tables in the dtype of the model)",
        ),
        first=COS,
        plant=tables_in_half,
        exposed_by=("several-keys",),
        rounding=True,
    ),
    Mistake(
        key="rope-angles-in-half",
        says="whose angles, position times frequency, are taken in a two-byte dtype",
        looks_like="fine in short texts; in bfloat16, positions past 256 fall together, and text past there falls "
        "apart",
        mend="take angles in float32, cast cos and sin afterwards, and keep inv_freq out of what model.to() casts",
        wild=(
            "https://github.com/huggingface/transformers/pull/29285 (autocast took the angles to bfloat16)",
            "https://github.com/huggingface/candle/pull/3520 (positions past 256 fall together)",
            "https://github.com/keras-team/keras-hub/pull/1497 (exponents in the dtype of the model)",
            "https://github.com/sgl-project/sglang-jax/issues/1472 (frequencies rounded first)",
        ),
        first=COS,
        plant=angles_in_half,
        exposed_by=("several-keys",),
        rounding=True,
    ),
)
