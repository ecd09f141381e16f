"""KV cache: keys and values of past tokens, kept so that a new token costs one token's work.

Buffers are larger than what they hold and double when they are full, so a past token is never copied to make room for
one new token, and over a whole text each is copied less than once on average. A fixed cache (static, in Transformers'
words) never grows: its memory is known beforehand, and a text that doesn't fit is an error.
"""

import numpy as np

from numpy_llama.errors import LlamaError


class KVCache:
    """The keys and values of every layer, growing.

        cache = KVCache(num_hidden_layers)
        keys, values = cache.update(key, value, layer_index)

    One cache belongs to one text (or one batch of texts). Its length is that of its last layer: a call of the model
    grows the layers one after the other.

    capacity  tokens that there is room for at first
    fixed     whether there will never be room for more
    raises    LlamaError where a number of layers or tokens is no positive integer
    source    DynamicCache and (fixed) StaticCache in Transformers: `update`, `get_seq_length` and `reorder_cache` have
              their names and meaning. A StaticCache hands out its empty places, too, and masks them; ours doesn't
    """

    def __init__(self, num_hidden_layers: int, capacity: int = 128, fixed: bool = False):
        for name, count in (("num_hidden_layers", num_hidden_layers), ("capacity", capacity)):
            if not isinstance(count, int | np.integer) or count < 1:
                raise LlamaError("impossible value", where=name, expected="a positive integer", found=repr(count))
        self._layers = [_LayerCache(capacity) for _ in range(num_hidden_layers)]
        self._capacity = capacity if fixed else None

    @property
    def num_hidden_layers(self) -> int:
        """L."""
        return len(self._layers)

    def __len__(self) -> int:
        """How many tokens are held."""
        return self._layers[-1].length if self._layers else 0

    def get_seq_length(self) -> int:
        """How many tokens are held; Transformers' name for len(cache)."""
        return len(self)

    @property
    def max_cache_len(self) -> int | None:
        """How many tokens a fixed cache can hold; None for one that grows."""
        return self._capacity

    @property
    def batch_size(self) -> int | None:
        """B of what is held; None while the cache is empty."""
        return self._layers[0].keys.shape[0] if len(self) else None

    @property
    def kind(self) -> tuple[int, int, np.dtype] | None:
        """(K, D, dtype) of what is held; None while the cache is empty."""
        keys = self._layers[0].keys
        return (keys.shape[1], keys.shape[3], keys.dtype) if len(self) else None

    @property
    def nbytes(self) -> int:
        """Bytes that the held keys and values take, without the room kept free for later ones."""
        return sum(2 * layer.keys[:, :, : layer.length].nbytes for layer in self._layers)

    def update(self, key: np.ndarray, value: np.ndarray, layer_index: int) -> tuple[np.ndarray, np.ndarray]:
        """Put the keys and values of new tokens after the past ones of a layer.

        key, value   (B, K, T, D), rotated keys
        layer_index  0 … L − 1
        returns      (B, K, S, D) each, past and new: views into the cache, to read from only
        raises       LlamaError where a fixed cache has no room for them
        """
        layer = self._layers[layer_index]
        if self._capacity is not None:
            self.check_room(layer.length + key.shape[2])
        return layer.append(key, value)

    def check_room(self, total: int) -> None:
        """raises  LlamaError where `total` tokens are more than a fixed cache can hold"""
        if self._capacity is not None and total > self._capacity:
            raise LlamaError(
                "static cache is full",
                where="past_key_values",
                expected=f"room for {total} tokens",
                found=f"a fixed capacity of {self._capacity}, {len(self)} of them held",
            )

    def reorder_cache(self, rows: np.ndarray) -> None:
        """Let row b go on from what row rows[b] has seen: beam search keeps some beams twice and drops others.

        rows    (B,), integers; their number may differ from the number of rows held
        raises  LlamaError where a row isn't held; an empty cache has nothing to reorder
        """
        if not len(self):
            return
        rows, held = np.asarray(rows), len(self._layers[0].keys)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size or rows.min() < 0 or rows.max() >= held:
            raise LlamaError("no such rows", where="rows", expected=f"a list of 0 … {held - 1}", found=rows)
        for layer in self._layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def crop(self, length: int) -> None:
        """Forget every token after the first `length`; the last −length tokens, where it is negative.

        raises  LlamaError where length is no integer
        """
        if not isinstance(length, int | np.integer):
            raise LlamaError("wrong type", where="length", expected="an integer", found=repr(length))
        keep = int(length) if length >= 0 else max(len(self) + int(length), 0)
        for layer in self._layers:
            layer.length = min(layer.length, keep)


class _LayerCache:
    def __init__(self, capacity: int):
        self.length = 0
        self.keys = np.empty((0, 0, capacity, 0))  # the first append knows B, K, D and the dtype
        self.values = self.keys

    def append(self, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        B, K, T, D = key.shape
        past, total = self.length, self.length + T
        if past == 0 or total > self.keys.shape[2]:
            capacity = max(self.keys.shape[2], 2 * total if past else total)
            keys = _grown(self.keys[:, :, :past], (B, K, capacity, D), key.dtype)
            values = _grown(self.values[:, :, :past], (B, K, capacity, D), value.dtype)
            self.keys, self.values = keys, values  # both or, where memory runs out, neither
        self.keys[:, :, past:total] = key
        self.values[:, :, past:total] = value
        self.length = total
        return self.keys[:, :, :total], self.values[:, :, :total]  # (B, K, S, D)


def _grown(held: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new buffer that begins with what was held."""
    buffer = np.empty(shape, dtype)
    if held.size:
        buffer[:, :, : held.shape[2]] = held
    return buffer
