"""How a text becomes ids, in parts that can each be got wrong: the text, the tokenizer, what goes around the ids."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.bpe import SPACE
from numpy_llama.tokenizer.byte_level_bpe import BYTE_CHARACTERS
from numpy_llama.tokenizer.byte_level_tokenizer import ByteLevelTokenizer

Pieces = Callable[[list[str]], list[str]]  # the symbols of a word, in the pieces that they are put together to
Fallback = Callable[[str], list[int]]  # the ids of a piece that isn't in the vocabulary


@dataclass(frozen=True)
class Encoding:
    """A tokenizer, and what is done before it and after it.

    tokenizer  a stretch of text to ids
    before     applied to the text, one after the other
    after      applied to the ids, one after the other
    around     whether special tokens are put around the text, as the tokenizer's settings say
    split      whether special tokens in the text are read as plain text; None: as the settings say
    """

    tokenizer: Tokenizer
    before: tuple[Callable[[str], str], ...] = ()
    after: tuple[Callable[[list[int]], list[int]], ...] = ()
    around: bool = True
    split: bool | None = None

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        for change in self.before:
            text = change(text)
        options: dict[str, Any] = {} if self.split is None else {"split_special_tokens": self.split}
        ids = list(self.tokenizer.encode(text, add_special_tokens=self.around, **options))
        for rewrite in self.after:
            ids = rewrite(ids)
        return ids

    def text_changed(self, change: Callable[[str], str]) -> "Encoding":
        """The same on another text."""
        return replace(self, before=(*self.before, change))

    def ids_changed(self, change: Callable[[list[int]], list[int]]) -> "Encoding":
        """The same with other ids coming out."""
        return replace(self, after=(*self.after, change))

    def tokenizer_changed(self, **parts: Any) -> "Encoding":
        """The same with a tokenizer that has other attributes, or other functions in the place of its own."""
        changed = copy(self.tokenizer)
        changed.__dict__.update({"_mergers": {}} | parts)  # those that were built for the old attributes are forgotten
        return replace(self, tokenizer=changed)

    def merging_changed(self, pieces: Pieces, fallback: Fallback | None = None) -> "Encoding":
        """The same with words put together in another way."""
        merger = Merger(self.tokenizer, pieces, fallback)
        return self.tokenizer_changed(_merging=lambda never: merger)


class Merger:
    """In the place of a tokenizer's own merging: words to ids, by another way to put pieces together.

    pieces    the symbols of a word (characters, or bytes written as characters) to pieces
    fallback  what becomes of a piece that isn't in the vocabulary; as the tokenizer does it unless given
    """

    def __init__(self, tokenizer: Tokenizer, pieces: Pieces, fallback: Fallback | None = None):
        self._id_of, self._pieces = plain_vocabulary(tokenizer), pieces
        self._bytes = isinstance(tokenizer, ByteLevelTokenizer)
        self._fallback = fallback or spelled_in_bytes(tokenizer)

    def encode(self, text: str | Sequence[str]) -> list[int]:
        """The ids of a text with ▁ for its spaces, or of words."""
        ids: list[int] = []
        for word in words(text) if isinstance(text, str) else text:
            symbols = [BYTE_CHARACTERS[byte] for byte in word.encode("utf-8")] if self._bytes else list(word)
            for piece in self._pieces(symbols):
                ids += [self._id_of[piece]] if piece in self._id_of else self._fallback(piece)
        return ids


def words(text: str) -> list[str]:
    """A text with ▁ for its spaces, cut before each of them that follows another character."""
    found: list[str] = []
    for character in text:
        if not found or (character == SPACE and not found[-1].endswith(SPACE)):
            found.append("")
        found[-1] += character
    return found


def plain_vocabulary(tokenizer: Tokenizer) -> Mapping[str, int]:
    """piece → id, without special tokens and the pieces that stand for bytes."""
    special = set(tokenizer.all_special_ids)
    return {
        piece: index
        for piece, index in tokenizer.get_vocab().items()
        if index not in special and not (piece.startswith("<0x") and len(piece) == 6)
    }


def spelled_in_bytes(tokenizer: Tokenizer) -> Fallback:
    """A piece as the vocabulary's byte pieces, or nothing where it lacks them."""
    id_of = tokenizer.get_vocab()

    def spell(piece: str) -> list[int]:
        names = [f"<0x{byte:02X}>" for byte in piece.encode("utf-8")]
        return [id_of[name] for name in names] if all(name in id_of for name in names) else []

    return spell
