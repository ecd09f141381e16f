"""What the KV cache must do."""

import numpy as np
from hypothesis import strategies as st

from numpy_llama.conformance.draws import Draw, double, dtypes, numbers
from numpy_llama.conformance.port import Port
from numpy_llama.conformance.rounding import equal, holds, is_array

pieces = st.lists(st.integers(1, 3), min_size=1, max_size=6)  # how many tokens each call adds
LONG = st.sampled_from((1, 3, 100))  # times so many: past any first capacity


def filled(port: Port, draw: Draw, layers: int = 1) -> tuple[object, np.ndarray, np.ndarray, list[tuple]]:
    """A cache filled piece by piece; all keys and values; what every update returned (of layer 0)."""
    dtype = draw("dtype", dtypes)
    times = draw("times", LONG)
    steps = [n * times for n in draw("pieces", pieces)]
    total = sum(steps)
    first = draw("numbers", numbers((2, 3, 1, 2), dtype))  # (B, K, 1, D), the same for every token but for its index
    index = (np.arange(total) % 100).reshape(1, 1, total, 1)
    keys = (double(first) + index).astype(dtype)  # (B, K, S, D)
    values = (double(first) - index).astype(dtype)
    cache, start, returned = port.kv_cache(layers), 0, []
    for n in steps:
        new = slice(start, start + n)
        for layer in range(layers):
            back = cache.update(keys[:, :, new] + dtype.type(layer), values[:, :, new], layer)
            if layer == 0:
                returned.append(back)
        start += n
    return cache, keys, values, returned


def any_split_gives_the_concatenation(port: Port, draw: Draw) -> None:
    """Keys and values put in piece by piece come out as one, oldest first, in every split and dtype."""
    _, keys, values, returned = filled(port, draw)
    for got, expected, name in zip(returned[-1], (keys, values), ("keys", "values"), strict=True):
        is_array(got, expected.shape, name, expected.dtype)
        equal(got, double(expected), f"all {name}, in order")


def every_update_returns_past_and_present(port: Port, draw: Draw) -> None:
    """After each piece, update returns what has been put in so far, and an earlier answer stays what it was."""
    _, keys, values, returned = filled(port, draw)
    for got_keys, got_values in returned:
        so_far = got_keys.shape[2]
        equal(got_keys, double(keys)[:, :, :so_far], f"the first {so_far} keys")
        equal(got_values, double(values)[:, :, :so_far], f"the first {so_far} values")


def layers_are_apart(port: Port, draw: Draw) -> None:
    """What one layer puts in, no other layer finds: layer l holds its own keys."""
    cache, keys, values, _ = filled(port, draw, layers=2)
    dtype = keys.dtype
    for layer in range(2):
        got, _ = cache.update(keys[:, :, :1], values[:, :, :1], layer)  # type: ignore[attr-defined]
        expected = double(np.concatenate((keys + dtype.type(layer), keys[:, :, :1]), axis=2))
        equal(got, expected, f"the keys of layer {layer}")


def its_length_counts_tokens(port: Port, draw: Draw) -> None:
    """len(cache) is the number of tokens put in; a fresh cache has none."""
    holds(len(port.kv_cache(1)) == 0, "a fresh cache is empty")
    cache, keys, _, _ = filled(port, draw, layers=2)
    length = len(cache)  # type: ignore[arg-type]
    holds(length == keys.shape[2], "len(cache) counts the tokens", np.array(keys.shape[2]), np.array(length))


def crop_forgets_the_end(port: Port, draw: Draw) -> None:
    """After crop(n) the next tokens follow token n − 1, as if those in between had never been there."""
    cache, keys, values, _ = filled(port, draw)
    keep = draw("n", st.integers(0, 3)) % (keys.shape[2] + 1)
    cache.crop(keep)  # type: ignore[attr-defined]
    holds(len(cache) == keep, "len(cache) after crop", np.array(keep), np.array(len(cache)))  # type: ignore[arg-type]
    got, _ = cache.update(keys[:, :, :2], values[:, :, :2], 0)  # type: ignore[attr-defined]
    equal(got, double(np.concatenate((keys[:, :, :keep], keys[:, :, :2]), axis=2)), "what was kept, and what is new")


PROPERTIES = (
    any_split_gives_the_concatenation,
    every_update_returns_past_and_present,
    layers_are_apart,
    its_length_counts_tokens,
    crop_forgets_the_end,
)
