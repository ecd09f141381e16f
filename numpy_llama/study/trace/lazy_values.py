"""Values that are read only when they are asked for."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np


class LazyValues(Mapping[str, np.ndarray]):
    """Names, and how each value is read.

    readers  name → function that reads the value
    """

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]):
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def add(self, name: str, reader: Callable[[], np.ndarray]) -> None:
        """One more value, read by `reader`."""
        self._readers[name] = reader

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the value
        return name in self._readers
