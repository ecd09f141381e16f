"""Hints for the exercises, from a nudge to nearly the answer. `numpy-llama grade FILE --hint 1` prints the first."""

HINTS: dict[str, tuple[str, ...]] = {
    "rms_norm": (
        "Write the three steps of the formula as three lines: the mean of the squares, the length to divide by, the "
        "product with the weight. Try it by hand on (1, 7), whose squares have the mean 25.",
        "The mean is taken over the last axis alone, one for each vector. `axis=-1, keepdims=True` keeps that axis as "
        "one of length 1, (…, E) → (…, 1), so that the division lines up again. eps is added before the root is taken.",
        "float16 can't hold the square of 300, and a sum in bfloat16 stops growing early. Two-byte numbers are widened "
        "first: `wide = x if x.dtype.itemsize > 2 else x.astype(np.float32)`. Then everything up to the division is "
        "done in `wide`.",
        "The result has x's dtype, and nothing on the way may be promoted: turn eps into `wide.dtype.type(eps)`, and "
        "bring the normed vector back with `.astype(x.dtype)` before it is multiplied by the weight.",
    ),
}
