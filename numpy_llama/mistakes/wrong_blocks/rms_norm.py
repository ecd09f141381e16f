"""RMSNorm done wrong."""

import numpy as np

from numpy_llama.blocks.rms_norm import rms_norm
from numpy_llama.mistakes.wrong_blocks.wrong_block import Wrong
from numpy_llama.precision import widen
from numpy_llama.probe import probe

Array = np.ndarray


def norm_eps_outside_root(x: Array, weight: Array, eps: float) -> Array:
    """eps outside the root"""
    wide = widen(x)
    root = np.sqrt(np.square(wide).mean(axis=-1, keepdims=True))
    return weight * probe("normed", (wide / (root + wide.dtype.type(eps))).astype(x.dtype))


def norm_without_eps(x: Array, weight: Array, eps: float) -> Array:
    """eps left out"""
    return rms_norm(x, weight, 0.0)


def norm_eps_after_the_fact(x: Array, weight: Array, eps: float) -> Array:
    """eps added to the result"""
    return rms_norm(x, weight, 0.0) + x.dtype.type(eps)


def norm_eps_squared(x: Array, weight: Array, eps: float) -> Array:
    """eps squared"""
    return rms_norm(x, weight, eps * eps)


def norm_with_mean_taken_off(x: Array, weight: Array, eps: float) -> Array:
    """mean subtracted, as in LayerNorm"""
    wide = widen(x)
    return rms_norm((wide - wide.mean(axis=-1, keepdims=True)).astype(x.dtype), weight, eps)


def norm_without_weight(x: Array, weight: Array, eps: float) -> Array:
    """weight left out"""
    return rms_norm(x, np.ones_like(weight), eps)


def norm_with_one_plus_weight(x: Array, weight: Array, eps: float) -> Array:
    """1 + weight, as in Gemma"""
    return rms_norm(x, weight + weight.dtype.type(1), eps)  # Gemma stores its weights that way


def norm_with_weight_under_the_root(x: Array, weight: Array, eps: float) -> Array:
    """weight multiplied in before the norm"""
    return rms_norm(x * weight, np.ones_like(weight), eps)


def norm_by_sum(x: Array, weight: Array, eps: float) -> Array:
    """sum of squares instead of their mean"""
    wide = widen(x)
    total = np.square(wide).sum(axis=-1, keepdims=True)
    return weight * probe("normed", (wide / np.sqrt(total + wide.dtype.type(eps))).astype(x.dtype))


def norm_without_root(x: Array, weight: Array, eps: float) -> Array:
    """root left out"""
    wide = widen(x)
    return weight * probe(
        "normed", (wide / (np.square(wide).mean(axis=-1, keepdims=True) + wide.dtype.type(eps))).astype(x.dtype)
    )


def norm_by_mean_size(x: Array, weight: Array, eps: float) -> Array:
    """mean of |x| instead of root mean square"""
    wide = widen(x)
    return weight * probe(
        "normed", (wide / (np.abs(wide).mean(axis=-1, keepdims=True) + wide.dtype.type(eps))).astype(x.dtype)
    )


def norm_over_all_axes(x: Array, weight: Array, eps: float) -> Array:
    """mean over the whole array"""
    wide = widen(x)
    return weight * probe("normed", (wide / np.sqrt(np.square(wide).mean() + wide.dtype.type(eps))).astype(x.dtype))


def norm_over_tokens(x: Array, weight: Array, eps: float) -> Array:
    """mean over the tokens instead of the channels"""
    wide = widen(x)
    mean_square = np.square(wide).mean(axis=-2 if x.ndim > 1 else -1, keepdims=True)
    return weight * probe("normed", (wide / np.sqrt(mean_square + wide.dtype.type(eps))).astype(x.dtype))


def norm_multiplied_by_root(x: Array, weight: Array, eps: float) -> Array:
    """multiplied by the root instead of divided"""
    wide = widen(x)
    return weight * (wide * np.sqrt(np.square(wide).mean(axis=-1, keepdims=True) + wide.dtype.type(eps))).astype(
        x.dtype
    )


def norm_in_two_bytes(x: Array, weight: Array, eps: float) -> Array:
    """mean of squares taken in two bytes"""
    mean_square = widen(x * x).mean(axis=-1, keepdims=True).astype(x.dtype)  # each operation of torch rounded
    root = (1 / np.sqrt(widen((widen(mean_square) + float(eps)).astype(x.dtype)))).astype(x.dtype)
    return weight * probe("normed", x * root)


def norm_rounded_after_weight(x: Array, weight: Array, eps: float) -> Array:
    """rounded after the weight instead of before"""
    wide = widen(x)
    normed = wide * (1 / np.sqrt(np.square(wide).mean(axis=-1, keepdims=True) + float(eps)))
    probe("normed", normed.astype(x.dtype))  # for those who look; what is multiplied isn't rounded yet
    return (widen(weight) * normed).astype(x.dtype)


def norm_to_float64(x: Array, weight: Array, eps: float) -> Array:
    """norm promoted to float64"""
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + np.float64(eps)) * weight.astype(np.float64)


WRONG: Wrong = {
    "rms_norm": (
        norm_eps_outside_root,
        norm_without_eps,
        norm_eps_after_the_fact,
        norm_eps_squared,
        norm_with_mean_taken_off,
        norm_without_weight,
        norm_with_one_plus_weight,
        norm_with_weight_under_the_root,
        norm_by_sum,
        norm_without_root,
        norm_by_mean_size,
        norm_over_all_axes,
        norm_over_tokens,
        norm_multiplied_by_root,
        norm_in_two_bytes,
        norm_to_float64,
    ),
}
