"""Weights that lost bits on their way: kept in two bytes, cut off instead of rounded, quantized."""

from collections.abc import Callable

import numpy as np

from numpy_llama.mistakes.mistake import Mistake, Variants
from numpy_llama.mistakes.planting import with_weights
from numpy_llama.precision import DTYPES, widen
from numpy_llama.study.subject import Subject

Array = np.ndarray

GROUP = 32  # numbers of a row that share a scale in ggml's older formats


def kept_in(dtype: str) -> Callable[[Array], Array]:
    """Rounds to a dtype and comes back."""
    return lambda weight: weight.astype(DTYPES[dtype]).astype(weight.dtype)


def cut_to_bfloat16(weight: Array) -> Array:
    """The upper half of a float32's bits: rounded toward zero."""
    bits = weight.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(weight.dtype)


def q8_0(groups: Array) -> Array:
    """(N, 32) float32: whole numbers from −127 to 127, and one float16 scale for each group.

    source  ggml, quantize_row_q8_0
    """
    scale = np.abs(groups).max(axis=1, keepdims=True) / 127
    return _nearest(_divided(groups, scale)) * _as_stored(scale)


def q4_0(groups: Array) -> Array:
    """(N, 32) float32: whole numbers from −8 to 7; the largest, whatever its sign, is −8 times the scale.

    source  ggml, quantize_row_q4_0
    """
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=1, keepdims=True), axis=1)
    scale = largest / -8
    return (np.minimum(15, np.floor(_divided(groups, scale) + 8.5)) - 8) * _as_stored(scale)


def q4_1(groups: Array) -> Array:
    """(N, 32) float32: whole numbers from 0 to 15 over the least of the group.

    source  ggml, quantize_row_q4_1
    """
    least = groups.min(axis=1, keepdims=True)
    scale = (groups.max(axis=1, keepdims=True) - least) / 15
    codes = np.minimum(15, np.floor(_divided(groups - least, scale) + 0.5))
    return codes * _as_stored(scale) + _as_stored(least)


def _divided(numbers: Array, scale: Array) -> Array:
    """numbers / scale as ggml has it, times the reciprocal; 0 where the scale is."""
    reciprocal = np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0)
    return numbers * reciprocal


def _nearest(numbers: Array) -> Array:
    """Halves away from zero, as C's roundf."""
    return np.trunc(numbers + np.copysign(np.float32(0.5), numbers))


def _as_stored(numbers: Array) -> Array:
    return numbers.astype(np.float16).astype(np.float32)


def quantized(to_format: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Takes a matrix to a format of ggml and back."""

    def there_and_back(weight: Array) -> Array:
        groups = widen(weight).astype(np.float32, copy=False).reshape(-1, GROUP)
        return to_format(groups).reshape(weight.shape).astype(weight.dtype)

    return there_and_back


def weights_changed(
    changes: dict[str, Callable[[Array], Array]], matrices: bool = False
) -> Callable[[Subject], Variants]:
    """Plants weights that all went through one change or another; nothing where it changes none.

    matrices  whether only matrices are changed whose rows are whole groups: those of the layers, or all of them
    """

    def plant(subject: Subject) -> Variants:
        for label, change in changes.items():
            names = list(subject.weights)
            if matrices:
                names = [name for name in names if subject.weights[name].ndim == 2]
                names = [name for name in names if subject.weights[name].shape[1] % GROUP == 0]
                in_layers = [name for name in names if ".layers." in name]
                yield from _variant(subject, f"{label}, layers", in_layers, change)
                label = f"{label}, all matrices"
            yield from _variant(subject, label, names, change)

    return plant


def _variant(subject: Subject, label: str, names: list[str], change: Callable[[Array], Array]) -> Variants:
    with np.errstate(over="ignore"):  # what float16 can't hold is infinite there
        changed = {name: change(subject.weights[name]) for name in names}
    if any((new != subject.weights[name]).any() for name, new in changed.items()):
        yield label, with_weights(subject, changed)


MISTAKES: tuple[Mistake, ...] = (
    Mistake(
        key="weights-in-bfloat16",
        says="whose weights were rounded to bfloat16",
        looks_like="off by about one part in 256 from the first value on, growing with depth; the text is mostly the "
        "same",
        mend="load the checkpoint in its own dtype, or compare with a reference in bfloat16",
        wild=("https://github.com/meta-llama/llama/issues/634 (what it costs, for a float16 checkpoint)",),
        first="model.embed_tokens",
        plant=weights_changed({"": kept_in("bfloat16")}),
        exposed_by=("weights-finer-than-bfloat16",),
    ),
    Mistake(
        key="weights-in-float16",
        says="whose weights were rounded to float16",
        looks_like="off by about one part in 2,048 from the first value on; weights below 6e-8 are gone",
        mend="load the checkpoint in its own dtype, or compare with a reference in float16",
        wild=(
            "https://github.com/huggingface/transformers/issues/25446 (bfloat16 on its way to Hugging Face)",
            "https://github.com/google/saxml/issues/28 (Llama 3.1)",
        ),
        first="model.embed_tokens",
        plant=weights_changed({"": kept_in("float16")}),
        exposed_by=("weights-finer-than-float16",),
    ),
    Mistake(
        key="weights-bfloat16-truncated",
        says="whose weights were cut off to bfloat16, not rounded",
        looks_like="as weights in bfloat16, but twice as far off, and every weight nearer to zero",
        mend="round to nearest even before dropping the lower 16 bits",
        wild=(
            "https://github.com/tinygrad/tinygrad/pull/11848 (truncated)",
            "https://github.com/tenstorrent/tt-metal/pull/27171 (the bits above, nothing rounded)",
        ),
        first="model.embed_tokens",
        plant=weights_changed({"": cut_to_bfloat16}),
        exposed_by=("weights-finer-than-bfloat16",),
    ),
    Mistake(
        key="weights-quantized",
        says="whose matrices are quantized (Q8_0, Q4_0 or Q4_1 of GGUF)",
        looks_like="the embedding may be right; the first projection is off by half a percent (Q8_0) or by a tenth "
        "(Q4)",
        mend="no mistake, if it was meant: compare with the same quantized weights (--their-weights)",
        wild=(),
        first="model.layers.{i}.self_attn.q_proj",
        plant=weights_changed(
            {name: quantized(f) for name, f in (("Q8_0", q8_0), ("Q4_0", q4_0), ("Q4_1", q4_1))}, True
        ),
        exposed_by=("rows-of-32",),
    ),
)
