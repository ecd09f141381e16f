"""Ids back to text, one at a time, for a reader who watches a text grow.

    push(15043) → "Hello"     push(29871) → " "     push(243), push(162), push(155) → ""     push(131) → "😀"

A text comes out only once no later id can change it. Three things make that less than obvious:

- the first space is the one that encode put before the text, and is left out;
- a character may be spelled in bytes, one byte a piece, and is nothing until its last byte is there;
- bytes that are no UTF-8 become U+FFFD, and the libraries disagree on how many. sentencepiece (legacy) judges
  byte by byte. tokenizers, under transformers, judges a whole run of byte pieces: one wrong byte, and each
  byte of the run becomes U+FFFD. So in the newer behaviour a run of bytes is held back until it ends.

decode() is the same decoder fed with all ids, so what was streamed always adds up to what decode() returns.
"""

import re
from collections.abc import Container
from dataclasses import dataclass

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.bpe import SPACE
from numpy_llama.tokenizer.sentencepiece_model import PieceType, SentencePieceModel

UNREADABLE = "\ufffd"
BYTE_NAME = re.compile("<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True)
class Spelling:
    """How the ids of a vocabulary are written out. All three lists are as long as the vocabulary.

    text    what an id adds to a text
    first   the same for the id that begins one
    byte    the byte that an id stands for, or None where it stands for text
    legacy  sentencepiece's rules for bytes, not tokenizers'
    strip   a space that begins a text goes, even one spelled as a byte (the newer behaviour)
    """

    text: list[str]
    first: list[str]
    byte: list[int | None]
    legacy: bool
    strip: bool


def sentencepiece_spelling(model: SentencePieceModel, added: list[str], strip: bool) -> Spelling:
    """sentencepiece's: control pieces are invisible, the unknown piece looks like nothing in the vocabulary.

    added  tokens beyond the model's, which sentencepiece knows nothing of: written as they are called
    strip  the first piece loses the ▁ that it begins with
    """
    text = [piece.replace(SPACE, " ") for piece in model.pieces] + added
    first = list(text)
    byte: list[int | None] = [None] * len(text)
    if strip:
        first[: len(model.pieces)] = [piece.removeprefix(SPACE).replace(SPACE, " ") for piece in model.pieces]
    for index in model.ids_of(PieceType.CONTROL):
        text[index] = first[index] = ""
    text[model.unk_id] = first[model.unk_id] = model.unk_surface
    for index in model.ids_of(PieceType.BYTE):
        byte[index] = int(model.pieces[index][3:5], 16)
    return Spelling(text, first, byte, legacy=True, strip=False)


def tokenizers_spelling(tokens: list[str], strip: bool) -> Spelling:
    """tokenizers': every token is written as it is called, and what is called like a byte is one."""
    text = [token.replace(SPACE, " ") for token in tokens]
    first = [token.removeprefix(" ") for token in text] if strip else text
    byte = [int(token[3:5], 16) if BYTE_NAME.fullmatch(token) else None for token in tokens]
    return Spelling(text, first, byte, legacy=False, strip=strip)


class StreamDecoder:
    """Takes ids, gives text that is final."""

    def __init__(self, spelling: Spelling, skip: Container[int] = ()):
        self._spelling = spelling
        self._skip = skip
        self._bytes = bytearray()  # of characters that aren't complete yet
        self._at_start = True

    def push(self, token_id: int) -> str:
        """What is certain about the text after one more id; "" as long as that is nothing new.

        raises  LlamaError where the id isn't in the vocabulary
        """
        if not 0 <= token_id < len(self._spelling.text):
            raise LlamaError("no such token id", expected=f"0 to {len(self._spelling.text) - 1}", found=repr(token_id))
        if token_id in self._skip:
            return ""
        byte = self._spelling.byte[token_id]
        if byte is not None:
            self._bytes.append(byte)
            return self._complete_characters() if self._spelling.legacy else ""
        text = self._flush() if self._bytes else ""
        return text + self._written(token_id)

    def finish(self) -> str:
        """What was still held back. A character that never became complete is U+FFFD now."""
        return self._flush() if self._bytes else ""

    def _written(self, token_id: int) -> str:
        text = self._spelling.text[token_id]
        if self._at_start and text:
            self._at_start = False
            return self._spelling.first[token_id]
        return text

    def _complete_characters(self) -> str:
        """sentencepiece's rule: a byte that begins no character is U+FFFD, and the next has its chance."""
        text = ""
        while self._bytes:
            length = _announced_length(self._bytes[0])
            if len(self._bytes) < length:
                break
            text += self._take(length)
        self._at_start = self._at_start and not text
        return text

    def _take(self, length: int) -> str:
        try:
            character = self._bytes[:length].decode("utf-8")
        except UnicodeDecodeError:
            character, length = UNREADABLE, 1
        del self._bytes[:length]
        return character

    def _flush(self) -> str:
        if self._spelling.legacy:
            text = ""
            while self._bytes:  # the run ends in the middle of a character
                text += self._take(_announced_length(self._bytes[0]))
        else:
            try:
                text = self._bytes.decode("utf-8")
            except UnicodeDecodeError:
                text = UNREADABLE * len(self._bytes)
            self._bytes.clear()
            if self._at_start and self._spelling.strip:
                text = text.removeprefix(" ")
        self._at_start = False
        return text


def _announced_length(byte: int) -> int:
    """How many bytes a UTF-8 character has that begins with this one; 1 where none does."""
    return 4 if 0xF0 <= byte < 0xF8 else 3 if 0xE0 <= byte < 0xF0 else 2 if 0xC0 <= byte < 0xE0 else 1
