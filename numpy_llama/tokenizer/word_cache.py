"""Words that came before needn't be merged again: most of a text is words that it has had already."""

from collections.abc import Callable, Iterable

CACHED_WORDS = 1 << 16
CACHED_LENGTH = 32  # characters; longer words hardly come twice


class WordCache:
    """The ids of words, remembered.

    encode_word  the ids of a word that isn't remembered
    """

    def __init__(self, encode_word: Callable[[str], list[int]]):
        self._encode_word = encode_word
        self._ids: dict[str, list[int]] = {}

    def __len__(self) -> int:
        """How many words are remembered."""
        return len(self._ids)

    def ids_of(self, words: Iterable[str]) -> list[int]:
        """The ids of all the words, one after the other."""
        ids: list[int] = []
        for word in words:
            found = self._ids.get(word)
            if found is None:
                found = self._encode_word(word)
                if len(word) <= CACHED_LENGTH:
                    if len(self._ids) >= CACHED_WORDS:
                        self._ids.clear()  # bounded memory, at the price of a little work
                    self._ids[word] = found
            ids += found
        return ids
