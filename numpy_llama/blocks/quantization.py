"""Weight-only quantization: every number of a matrix is rounded to the nearest of 16, or 256, that lie evenly.

Numbers side by side in a row are taken in groups, so that one large weight makes few others coarse. The levels of a
group lie a `scale` apart, from its smallest number to its largest: what comes back is never further from what was there
than scale / 2.
"""

import numpy as np

from numpy_llama.blocks.quantized_weight import QuantizedWeight, check_settings, groups
from numpy_llama.errors import LlamaError
from numpy_llama.precision import DTYPES

SMALLEST_SCALE = 1e-6  # of a group of equal numbers; torchao's


def quantize(weight: np.ndarray, bits: int, group_size: int, symmetric: bool = False) -> QuantizedWeight:
    """Choose every group's scale and zero, and for every number the code whose ŵ comes nearest to it.

        ŵ = (code − 2ᵇ⁻¹) · scale + zero
        asymmetric   scale = (max w − min w) / (2ᵇ − 1),   zero = min w + 2ᵇ⁻¹ · scale
        symmetric    scale = max |w| / (2ᵇ⁻¹ − 1),         zero = 0, so that 0 comes back as 0

    weight      (O, I), of any of the four dtypes; each operation is rounded to it
    bits        b, 4 or 8
    group_size  32, 64 or 128; the last group of a row may be shorter
    raises      LlamaError for other settings, and where the weight is no such matrix, isn't finite, or has numbers too
                far apart for its dtype
    source      asymmetric int4: torchao's Int4WeightOnlyConfig; symmetric int8: Dettmers et al. 2022, by group
    """
    check_settings(bits, group_size)
    if weight.ndim != 2 or 0 in weight.shape or weight.dtype not in DTYPES.values():
        found = f"{weight.shape} of {weight.dtype}"
        raise LlamaError("can't be quantized", where="weight", expected="a matrix of floats", found=found)
    if not np.isfinite(weight).all():
        raise LlamaError("can't be quantized", where="weight", expected="finite numbers")
    rows, columns = weight.shape
    number = weight.dtype.type  # Python's numbers would widen bfloat16
    middle, highest = number(1 << (bits - 1)), number((1 << bits) - 1)
    scales = np.empty((rows, -(-columns // group_size)), weight.dtype)
    zeros = np.zeros_like(scales)
    codes = np.empty((rows, columns), np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # QuantizedWeight says it where scales are infinite
        for which, group in groups(weight, group_size):  # (O, N, group_size)
            low, high = group.min(-1), group.max(-1)  # (O, N)
            scale = np.maximum(-low, high) / (middle - number(1)) if symmetric else (high - low) / highest
            scales[:, which] = scale = np.maximum(scale, number(SMALLEST_SCALE))
            if not symmetric:
                zeros[:, which] = low + scale * middle
        for (which, group), (_, its_codes) in zip(groups(weight, group_size), groups(codes, group_size), strict=True):
            first = zeros[:, which, None] - scales[:, which, None] * middle  # (O, N, 1): what code 0 stands for
            its_codes[...] = np.clip(np.rint((group - first) / scales[:, which, None]), number(0), highest)
    return QuantizedWeight(
        _packed(codes, bits), scales, None if symmetric else zeros, bits, group_size, (rows, columns)
    )


def _packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """(O, I) codes as bytes: themselves, or two in a byte."""
    if bits == 8:
        return codes
    if codes.shape[1] % 2:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    return codes[:, ::2] | codes[:, 1::2] << 4  # (O, ⌈I / 2⌉)
