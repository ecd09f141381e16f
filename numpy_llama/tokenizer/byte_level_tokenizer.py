"""ByteLevelTokenizer: Llama 3, SmolLM2 and the others whose vocabulary is made of bytes.

    tokenizer = ByteLevelTokenizer.from_pretrained(folder)       # with a tokenizer.json, or Meta's tokenizer.model
    tokenizer.encode("Hello world")                              # [128000, 9906, 1917]
    tokenizer.decode([9906, 1917])                               # "Hello world"

The way of a text: cut out added tokens (added_tokens.py), normalize, cut into words (pre_tokenizers.py), merge each
word's bytes (byte_level_bpe.py), put <|begin_of_text|> before it (template.py). The way back: put the bytes together,
and read them as UTF-8.

**Special tokens in a text.** "<|eot_id|>" in a text becomes the control token, as in transformers. In a chat that would
let what a user types end the user's turn. Two ways to rule it out:

    tokenizer.encode(text, split_special_tokens=True)    no special token is looked for, and none can come about
    tokenizer.plain_ids(text)                            nor any other added token

Both hold for every text, where transformers' `split_special_tokens` has a hole: if a special token is in the
vocabulary itself, its spelling may still be merged together. Here its pieces stay apart. (One that is a single byte has
no pieces; such a vocabulary is refused where this is asked for.)
"""

import codecs
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken, AddedTokens
from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.bpe import Rank, rank_by_list
from numpy_llama.tokenizer.byte_level_bpe import ByteLevelBPE, bytes_of, rank_by_number
from numpy_llama.tokenizer.piece_list import checked_merges, piece_list
from numpy_llama.tokenizer.pre_tokenizers import GPT2, PreTokenizer, read_pre_tokenizer


class ByteLevelTokenizer(Tokenizer):
    """The tokenizer of Llama 3 and of every model with a byte-level BPE vocabulary.

    decode(encode(s, add_special_tokens=False)) == s for every s, where the vocabulary has all 256 bytes (Llama 3's has)
    and neither nfc nor add_prefix_space nor an added token that takes the spaces around it changes the text.

    vocab           {token: id}, or a list of tokens by id; each byte is written as the character that stands for it
    merges          pairs of tokens, best first ("Ġ t" or ("Ġ", "t")). None: the pair goes first that makes the token
                    with the lowest id, as in tiktoken
    pre_tokenizer   how a text is cut into words, as a tokenizer.json describes it; see pre_tokenizers.py
    nfc             bring a text to Unicode's form NFC first: e + ´ becomes é
    ignore_merges   a word that is a token is that token, whatever the merges would make of it
    unknown         the token for a byte that the vocabulary lacks; None: the byte is dropped (what unk_token is called
                    has no influence on that)
    fuse_unknown    a run of such bytes is one token
    bos_token, …    names of special tokens
    added_tokens    what texts are cut at. One that the vocabulary lacks gets the next free id, in this order
    settings        as in Tokenizer

    raises  LlamaError where the vocabulary has gaps or a token twice, a merge isn't of tokens, or the pre-tokenizer is
            none that is known here

    Source: the `tokenizers` library's pipeline for Llama 3; Meta's Llama 3; llama.cpp
    """

    def __init__(
        self,
        vocab: Mapping[str, int] | Sequence[str],
        merges: Sequence[Any] | None = None,
        *,
        pre_tokenizer: Mapping[str, Any] = GPT2,
        nfc: bool = False,
        ignore_merges: bool = False,
        unknown: str | None = None,
        fuse_unknown: bool = False,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = None,
        unk_token: str | AddedToken | None = None,
        pad_token: str | AddedToken | None = None,
        added_tokens: Iterable[AddedToken] = (),
        source: str = "vocabulary",
        **settings: Any,
    ):
        tokens = piece_list(vocab, source).pieces
        self.merges = None if merges is None else checked_merges(merges, tokens, f"{source}: merges")
        self.pre_tokenizer = dict(pre_tokenizer)
        self.nfc = bool(nfc)
        self.ignore_merges = bool(ignore_merges)
        self.unknown = unknown
        self.fuse_unknown = bool(fuse_unknown)
        self._cut: PreTokenizer = read_pre_tokenizer(self.pre_tokenizer, f"{source}: pre_tokenizer")
        self._mergers: dict[frozenset[int], ByteLevelBPE] = {}  # by the ids that may not come about
        self._vocabulary = {token: index for index, token in enumerate(tokens)}
        if unknown is not None and unknown not in self._vocabulary:
            raise LlamaError("not in the vocabulary", where=f"{source}: unk_token", found=repr(unknown)[:80])
        named = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        settings = {"add_bos_token": False} | settings
        super().__init__(tokens, added=added_tokens, named=named, source=source, **settings)

    # From and to files

    @classmethod
    def from_pretrained(cls, folder: str | Path, **overrides: Any) -> "ByteLevelTokenizer":
        """The tokenizer in a folder, with its settings; or from a tokenizer.json or Meta's tokenizer.model itself.

        overrides  settings that go before those in the folder: add_bos_token=False, pad_token="<|eot_id|>", …
        raises     LlamaError where a file is missing, damaged, or asks for something this package doesn't do
        """
        from numpy_llama.tokenizer.byte_level_folder import read_byte_level_folder  # it needs the class that it fills

        return read_byte_level_folder(cls, Path(folder), overrides)

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json; each is whole or not there.

        returns  the paths written
        """
        from numpy_llama.tokenizer.byte_level_folder import write_byte_level_folder

        return write_byte_level_folder(self, Path(folder))

    # Text to ids

    def _stretch_ids(self, text: str, at_start: bool, never: frozenset[int]) -> list[int]:
        return self._merging(never).encode(self._cut([self._normalized(text)]))

    def _normalized(self, text: str) -> str:
        return unicodedata.normalize("NFC", text) if self.nfc else text

    # Ids to text

    def token_bytes(self, token_id: int) -> bytes:
        """What a token adds to a text: b" world" for Ġworld; often a part of a character.

        raises  LlamaError where the id isn't in the vocabulary
        """
        return bytes_of(self.convert_ids_to_tokens(token_id))

    def _decoder(self, skip: frozenset[int]) -> "ByteStreamDecoder":
        return ByteStreamDecoder(self._tokens, skip)

    # Worked out when it is asked for

    @cached_property
    def _rank(self) -> Rank:
        return rank_by_number(self._vocabulary) if self.merges is None else rank_by_list(self.merges)

    def _merging(self, never: frozenset[int]) -> ByteLevelBPE:
        if never not in self._mergers:
            self._mergers[never] = ByteLevelBPE(
                self._vocabulary,
                self._rank,
                whole_words=self.ignore_merges,
                unknown=self.unknown,
                fuse_unknown=self.fuse_unknown,
                never=never,
            )
        return self._mergers[never]

    @cached_property
    def _added_tokens(self) -> AddedTokens:
        return AddedTokens(self._added, self._normalized)

    def _forget(self) -> None:
        super()._forget()
        self._mergers.clear()


class ByteStreamDecoder:
    """Takes ids, gives text that is final: what is still the beginning of a character is held back.

    Bytes that are no UTF-8 become U+FFFD, one for each stretch that a character could have begun with, as Unicode
    recommends and tokenizers does.
    """

    def __init__(self, tokens: Sequence[str], skip: frozenset[int] = frozenset()):
        self._tokens = tokens
        self._skip = skip
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """What is certain about the text after one more id; "" as long as that is nothing new.

        raises  LlamaError where the id isn't in the vocabulary
        """
        if not 0 <= token_id < len(self._tokens):
            raise LlamaError("no such token id", expected=f"0 to {len(self._tokens) - 1}", found=repr(token_id))
        return "" if token_id in self._skip else self._utf8.decode(bytes_of(self._tokens[token_id]))

    def finish(self) -> str:
        """What was still held back. A character that never became complete is U+FFFD now."""
        return self._utf8.decode(b"", final=True)
