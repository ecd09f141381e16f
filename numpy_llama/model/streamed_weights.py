"""Streamed weights: a model larger than memory, one layer of it in memory at a time.

The checkpoint stays on disk, mapped into memory by the operating system, in the dtype it is stored in. Before a layer
computes, its matrices are widened to the compute dtype, into a buffer that the layer before has used already:

    bfloat16 on disk  ─►  float32 in the buffer  ─►  the layer  ─►  the next layer, in the same buffer

While a layer computes, a thread fetches the next one from the disk. A matrix of a prompt of T tokens takes 2·T
operations for each weight, and to widen it takes one. So a prompt of a hundred tokens runs about as fast as if the
model were loaded; a single token waits for its weights.

The layer computes with ordinary arrays, laid out as a loaded layer's are: results are the same to the last bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from numpy_llama.blocks.quantized_weight import QuantizedWeight, dequantize
from numpy_llama.model.streamed_tensor import Reused, StreamedTensor
from numpy_llama.model.weights import LayerWeights, room_for_weights


class StreamedLayers(Sequence[LayerWeights]):
    """The layers of a model, each widened when its turn comes.

    A loop over it yields one LayerWeights after the other, all in the same memory: each is valid until the next one is
    asked for. `layers[3]` is a layer in memory of its own.

    tensors  of a LlamaModel
    count    L, how many layers there are
    """

    def __init__(self, tensors: Mapping[str, Any], count: int):
        self._tensors: list[dict[str, Any]] = [{} for _ in range(count)]
        for name, tensor in tensors.items():
            if name.startswith("layers."):
                _, layer, rest = name.split(".", 2)
                self._tensors[int(layer)][rest] = tensor
        self._buffer = Reused(lambda: _Layer(self._tensors[0]))

    def __len__(self) -> int:
        return len(self._tensors)

    def __iter__(self) -> Iterator[LayerWeights]:
        with self._buffer.room() as layer:
            for tensors, fetched in zip(self._tensors, self._fetched(), strict=True):
                yield layer.filled_with(tensors, fetched)

    def _fetched(self) -> Iterator[Mapping[str, np.ndarray]]:
        """What is stored of each layer; while one is in use, the next is read from the disk."""
        if not any(isinstance(tensor, StreamedTensor) for tensor in self._tensors[0].values()):
            yield from ({} for _ in self._tensors)  # nothing is on the disk
            return
        from concurrent.futures import ThreadPoolExecutor  # its import takes a while, and few models stream

        with ThreadPoolExecutor(max_workers=1) as reader:
            coming = reader.submit(_fetch, self._tensors[0])
            for tensors in self._tensors[1:]:
                fetched, coming = coming.result(), reader.submit(_fetch, tensors)
                yield fetched
            yield coming.result()

    def __getitem__(self, layer: Any) -> Any:
        if isinstance(layer, slice):
            return [self[index] for index in range(len(self))[layer]]
        tensors = self._tensors[layer]
        return _Layer(tensors).filled_with(tensors, _fetch(tensors))


class _Layer:
    """Arrays that hold one layer, any one: they are all of the same shapes."""

    def __init__(self, tensors: Mapping[str, Any]):
        shapes = {f"layers.0.{name}": tensor.shape for name, tensor in tensors.items()}
        self._arrays = room_for_weights(shapes, next(iter(tensors.values())).dtype)
        self._weights = LayerWeights.from_tensors(self._arrays, 0)

    def filled_with(self, tensors: Mapping[str, Any], fetched: Mapping[str, np.ndarray]) -> LayerWeights:
        """The layer of these tensors, in place of the one before.

        fetched  what _fetch gave of those that are on disk
        """
        for name, tensor in tensors.items():
            array = self._arrays[f"layers.0.{name}"]
            if isinstance(tensor, StreamedTensor):
                tensor.stored.widen_into(array, fetched[name])
            elif isinstance(tensor, QuantizedWeight):
                dequantize(tensor, out=array)
            else:
                np.copyto(array, tensor)
        return self._weights


def _fetch(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Those of a layer's tensors that are on disk, as they are stored."""
    return {name: one.stored.fetch() for name, one in tensors.items() if isinstance(one, StreamedTensor)}


def layers_of(tensors: dict[str, Any], count: int) -> Sequence[LayerWeights]:
    """The layers of a LlamaModel: in memory where its tensors are, else streamed, or dequantized in turn."""
    if any(isinstance(tensor, StreamedTensor | QuantizedWeight) for tensor in tensors.values()):
        return StreamedLayers(tensors, count)
    return [LayerWeights.from_tensors(tensors, layer) for layer in range(count)]


def in_memory(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors of a model, those that are streamed widened all at once, which takes the memory of a loaded model."""
    return {name: np.asarray(one) if isinstance(one, StreamedTensor) else one for name, one in tensors.items()}
