"""KV cache: keys and values of past tokens, kept so that a new token costs one token's work.

Buffers are larger than what they hold and double when they are full, so a past token is never copied to make room for
one new token, and over a whole text each is copied less than once on average.
"""

import numpy as np


class KVCache:
    """The keys and values of every layer, growing.

        cache = KVCache(num_hidden_layers)
        keys, values = cache.update(key, value, layer_index)

    One cache belongs to one text (or one batch of texts). Its length is that of its last layer: a call of the model
    grows the layers one after the other.

    source  DynamicCache in Transformers: `update` and `get_seq_length` have its names and meaning
    """

    def __init__(self, num_hidden_layers: int, capacity: int = 128):
        self._layers = [_LayerCache(capacity) for _ in range(num_hidden_layers)]

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
        """
        return self._layers[layer_index].append(key, value)

    def crop(self, length: int) -> None:
        """Forget every token after the first `length`."""
        for layer in self._layers:
            layer.length = min(layer.length, length)


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
            self.keys = _grown(self.keys[:, :, :past], (B, K, capacity, D), key.dtype)
            self.values = _grown(self.values[:, :, :past], (B, K, capacity, D), value.dtype)
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
