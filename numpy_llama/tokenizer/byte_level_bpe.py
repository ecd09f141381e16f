"""Byte-pair encoding of bytes: 256 symbols spell every text there is, so nothing is ever unknown.

    "é!"    →    bytes C3 A9 21    →    Ã © !    →    Ã© !    →    ids

A vocabulary file can't hold bytes, so each byte has a character that stands for it: the printable ones of Latin-1 are
themselves, the other 68 are the characters from U+0100 on. The space becomes Ġ, the newline Ċ: " the" is "Ġthe".

A text is first cut into words (pre_tokenizers.py); then each word is merged on its own, by the same loop as
SentencePiece's (bpe.py). Which pair goes first is again all that the vocabulary decides:

    rank_by_list       bpe.py       a list of merges, best first: Hugging Face's tokenizer.json, GGUF
    rank_by_number     this file    the number of what the two make together: tiktoken, Meta's Llama 3

In a list a token that can be made of two pairs has two places, in Meta's file one number; texts in which that
matters hardly occur ("aaa" as aa a or a aa), and then each file is read as its own library reads it.

Sources: Radford et al. 2019, section 2.2; BPE of the `tokenizers` library; `tiktoken`.
"""

from collections.abc import Iterable, Mapping

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.bpe import Rank, merge
from numpy_llama.tokenizer.word_cache import WordCache


def _byte_characters() -> list[str]:
    """The character that stands for each byte, by byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (chr(number) for number in range(0x100, 0x200))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


BYTE_CHARACTERS = _byte_characters()
CHARACTER_BYTES = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}


def characters_of(data: bytes) -> str:
    """Bytes written in the characters that stand for them: b" the" → "Ġthe"."""
    return "".join([BYTE_CHARACTERS[byte] for byte in data])


def bytes_of(token: str) -> bytes:
    """What a token spells: "Ġthe" → b" the". One with a character that stands for no byte spells itself, in UTF-8.

    (Only an added token has such characters. And an added "é" spells the byte E9, not the character: so do tokenizers.)
    """
    try:
        return bytes([CHARACTER_BYTES[character] for character in token])
    except KeyError:
        return token.encode("utf-8")


def rank_by_number(id_of: Mapping[str, int]) -> Rank:
    """tiktoken's order: the pair that makes the token with the lowest number, wherever it is cut in two."""
    return lambda left, right: id_of.get(left + right)


class ByteLevelBPE:
    """Words to ids.

    id_of           {token, in characters that stand for bytes: id}
    rank            which pair is merged first, see bpe.py
    whole_words     a word that is a token is that token, whatever the merges would make of it (ignore_merges in a
                    tokenizer.json; tiktoken always)
    unknown         the token for a byte that the vocabulary lacks; None: such a byte is dropped without a trace, as
                    tokenizers does. (Llama 3 lacks none; SmolLM2 lacks the 13 that are never in UTF-8, two that begin
                    characters without a use yet, and six control characters)
    fuse_unknown    a run of such bytes is one unknown token
    never           ids that no text turns into: their tokens are neither looked up nor merged into

    raises          LlamaError where `unknown` isn't in the vocabulary, or one of `never` is a single byte
    """

    def __init__(
        self,
        id_of: Mapping[str, int],
        rank: Rank,
        *,
        whole_words: bool = False,
        unknown: str | None = None,
        fuse_unknown: bool = False,
        never: Iterable[int] = (),
    ):
        if unknown is not None and unknown not in id_of:
            raise LlamaError("not in the vocabulary", where="unk_token", found=repr(unknown)[:80])
        banned = frozenset(never)
        forbidden = {token for token, index in id_of.items() if index in banned} if banned else frozenset()
        single = next((token for token in forbidden if token in CHARACTER_BYTES), None)
        if single is not None:
            raise LlamaError("a special token that is a single byte can't be split", found=repr(single))
        self._id_of = id_of
        self._forbidden = forbidden
        self._longest = max(map(len, id_of), default=0)
        self._rank: Rank = rank
        if forbidden:
            self._rank = lambda left, right: None if left + right in forbidden else rank(left, right)
        self._whole_words = whole_words
        self._unknown = unknown
        self._fuse_unknown = fuse_unknown
        self._cache = WordCache(self.encode_word)

    def encode(self, words: Iterable[str]) -> list[int]:
        """The ids of a text that was cut into words. A word that came before needn't be merged again."""
        return self._cache.ids_of(words)

    def encode_word(self, word: str) -> list[int]:
        """The ids of one word: its bytes, merged until no two neighbours can be. n log n steps for n bytes."""
        data = word.encode("utf-8")
        if self._whole_words and len(data) <= self._longest:
            whole = characters_of(data)
            if whole in self._id_of and whole not in self._forbidden:
                return [self._id_of[whole]]
        symbols = self._known([BYTE_CHARACTERS[byte] for byte in data])
        return [self._id_of[symbol] for symbol in merge(symbols, self._rank)]

    def _known(self, symbols: list[str]) -> list[str]:
        """The same symbols, with the unknown token, or nothing, in the place of those that the vocabulary lacks."""
        if all(symbol in self._id_of for symbol in set(symbols)):
            return symbols
        known: list[str] = []
        run = False
        for symbol in symbols:
            if symbol in self._id_of:
                known.append(symbol)
            elif self._unknown is not None and not (run and self._fuse_unknown):
                known.append(self._unknown)
            run = symbol not in self._id_of
        return known
