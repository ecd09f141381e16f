"""LlamaTokenizer: text to ids and back, with the names and the two behaviours that Hugging Face's class has.

    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.encode("Hello world")                  # [1, 15043, 3186]
    tokenizer.decode([1, 15043, 3186])               # "<s> Hello world"
    tokenizer(["Hi", "Hello world"], padding=True, return_tensors="np").attention_mask

The way of a text: cut out added tokens (added_tokens.py), write its spaces as ▁ and put one in front, merge
(bpe.py), add <s>. The way back: stream_decoder.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken, AddedTokens
from numpy_llama.tokenizer.batch import BatchEncoding, checked_side, collect, lengths, pad_rows, truncate
from numpy_llama.tokenizer.bpe import SPACE, BytePairEncoding, MergeListBPE, SentencePieceBPE
from numpy_llama.tokenizer.sentencepiece_model import PieceType, SentencePieceModel
from numpy_llama.tokenizer.stream_decoder import (
    Spelling,
    StreamDecoder,
    sentencepiece_spelling,
    tokenizers_spelling,
)

NO_LIMIT = int(1e30)  # Hugging Face's model_max_length of a tokenizer that has none
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


class LlamaTokenizer:
    """The tokenizer of Llama 1 and 2, of Mistral 7B, and of every model with a BPE tokenizer.model.

    legacy=True   sentencepiece exactly: what Meta's own Llama and llama.cpp do, and what Llama was trained with
    legacy=False  what transformers 5 makes of the same tokenizer.model; the default here as there

    They agree on single-spaced text, and differ in three things. With Llama 2's vocabulary:

                        legacy=True                           legacy=False
        "  hi"          a space is put before every text:     only where it has none in front, so it stays
                        "   hi" is 259 7251 (▁▁ ▁hi)          "  hi", 259 2918 (▁▁ hi)
        "a  b"          runs of spaces merge last, as their   first, as the low numbers of those pieces say:
                        low scores say: 263 29871 289         263 259 29890 (▁a ▁▁ b)
                        (▁a ▁ ▁b)
        "<s>"           plain text: 529 29879 29958           the token <s>, id 1: text is cut at special tokens

    (The second goes away where the folder has a tokenizer.json with the order by score; see tokenizer_json.py.)

    Going there and back gives the same text, decode(encode(s), skip_special_tokens=True) == s, for every s in
    legacy mode without ▁ (U+2581), which decodes to a space. In the newer mode it can't hold for a text that
    begins with a space (decode takes that for the added one), nor for one that contains a special token or ▁.
    Both need byte fallback, as Llama's vocabulary has it: without it a character that the vocabulary lacks is
    lost.

    model             the vocabulary, as read_sentencepiece_model() gives it
    add_prefix_space  False: put no space before a text, and take none away when decoding. None: as the class
                      does in transformers (True), or as the file says (legacy)
    add_bos_token, add_eos_token   whether encode adds them; plain attributes that can be set later
    bos_token, …      names of special tokens; None takes the file's own. Settable. They must be in the
                      vocabulary or in added_tokens
    added_tokens      tokens beside the file's own. One that the vocabulary lacks gets the next free id, in
                      this order
    padding_side, truncation_side, model_max_length   as in transformers
    merges            pairs of pieces, best first, as a tokenizer.json lists them; legacy=True has no use for them.
                      None: the order that transformers makes of a tokenizer.model alone
    kept              fields of tokenizer_config.json that aren't used here but are saved again

    raises  LlamaError where a special token has no id, or a setting has a value that there isn't

    Source: LlamaTokenizer of transformers 5; SentencePieceProcessor of sentencepiece.
    """

    def __init__(
        self,
        model: SentencePieceModel,
        *,
        legacy: bool = False,
        add_prefix_space: bool | None = None,
        add_bos_token: bool = True,
        add_eos_token: bool = False,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = None,
        unk_token: str | AddedToken | None = None,
        pad_token: str | AddedToken | None = None,
        added_tokens: Iterable[AddedToken] = (),
        padding_side: str = "left",
        truncation_side: str = "right",
        model_max_length: int = NO_LIMIT,
        merges: Sequence[tuple[str, str]] | None = None,
        kept: Mapping[str, Any] | None = None,
    ):
        self.model = model
        self.legacy = bool(legacy)
        self.add_prefix_space = (
            (model.add_dummy_prefix if legacy else True) if add_prefix_space is None else bool(add_prefix_space)
        )
        self.add_bos_token = bool(add_bos_token)
        self.add_eos_token = bool(add_eos_token)
        self.padding_side = checked_side("padding_side", padding_side)
        self.truncation_side = checked_side("truncation_side", truncation_side)
        self.model_max_length = model_max_length
        self.merges = merges
        self.tokenizer_json: bytes | None = None  # as it was read, for saving
        self.kept = dict(kept or {})

        self._id_of = {piece: index for index, piece in enumerate(model.pieces)}
        self._tokens = list(model.pieces)
        self._added: dict[int, AddedToken] = {}
        named = {
            "bos_token": bos_token or _piece(model, model.bos_id),
            "eos_token": eos_token or _piece(model, model.eos_id),
            "unk_token": unk_token or _piece(model, model.unk_id),
            "pad_token": pad_token or _piece(model, model.pad_id),
        }
        for token in added_tokens:
            self._add(token)
        for value in named.values():
            if value is not None:
                self._add(value if isinstance(value, AddedToken) else AddedToken(value))
        for index in model.ids_of(PieceType.CONTROL):
            self._add(AddedToken(model.pieces[index]))
        for index in model.ids_of(PieceType.USER_DEFINED):
            self._add(AddedToken(model.pieces[index], special=False))
        self._names = {key: value.content if isinstance(value, AddedToken) else value for key, value in named.items()}

    # From and to files

    @classmethod
    def from_pretrained(cls, folder: str | Path, **overrides: Any) -> "LlamaTokenizer":
        """The tokenizer in a folder (or a tokenizer.model itself), with its settings; see
        tokenizer_folder.py.

        overrides  settings that go before those in the folder: legacy=True, add_bos_token=False, …
        raises     LlamaError where a file is missing, damaged, or asks for something this package doesn't do
        """
        from numpy_llama.tokenizer.tokenizer_folder import read_folder  # it needs the class that it fills

        return read_folder(cls, Path(folder), overrides)

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write tokenizer.model, tokenizer_config.json and special_tokens_map.json; each is whole or not
        there.

        returns  the paths written
        """
        from numpy_llama.tokenizer.tokenizer_folder import write_folder

        return write_folder(self, Path(folder))

    # The vocabulary

    @property
    def vocab_size(self) -> int:
        """Pieces in the file, without added tokens."""
        return len(self.model.pieces)

    def __len__(self) -> int:
        """Ids in all: 0 to len − 1."""
        return len(self._tokens)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return (
            f"LlamaTokenizer({self.model.source}, {len(self)} tokens, legacy={self.legacy}, "
            f"add_bos_token={self.add_bos_token}, add_eos_token={self.add_eos_token}, "
            f"bos={self.bos_token!r}, eos={self.eos_token!r}, unk={self.unk_token!r}, pad={self.pad_token!r})"
        )

    def get_vocab(self) -> dict[str, int]:
        """{token: id}, with the added ones."""
        return dict(self._id_of)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """{id: token} of all that are cut out of a text in the newer mode."""
        return dict(sorted(self._added.items()))

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Token to id, or list to list. What isn't in the vocabulary is the unknown token."""
        if isinstance(tokens, str):
            return self._id_of.get(tokens, self.unk_token_id)
        return [self._id_of.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Id to token, or list to list, as the vocabulary writes them ("▁Hello").

        raises  LlamaError where an id isn't in the vocabulary
        """
        if _is_int(ids):
            return self._tokens[self._checked([ids])[0]]
        skip = self._special_ids() if skip_special_tokens else frozenset()
        return [self._tokens[token_id] for token_id in self._checked(ids) if token_id not in skip]

    # Text to ids

    def encode(self, text: str, add_special_tokens: bool = True, **options: Any) -> Any:
        """The ids of a text: a list of int; with return_tensors="np" an array (1, T), as a model takes it.

        add_special_tokens  False: don't add the first and last token, whatever add_bos_token and
                            add_eos_token say
        options             padding, truncation, max_length, … as in a call
        raises              LlamaError where text is no string, or no text (it has a lone surrogate)
        """
        if options:
            encoded = self([text], add_special_tokens=add_special_tokens, **options)["input_ids"]
            return encoded if options.get("return_tensors") is not None else encoded[0]
        ids = self._text_ids(text)
        return self.build_inputs_with_special_tokens(ids) if add_special_tokens else ids

    def tokenize(self, text: str, add_special_tokens: bool = False) -> list[str]:
        """The pieces of a text: "Hello world" → ["▁Hello", "▁world"]."""
        return [self._tokens[token_id] for token_id in self.encode(text, add_special_tokens)]

    def build_inputs_with_special_tokens(self, ids: Sequence[int], more_ids: Sequence[int] | None = None) -> list[int]:
        """[bos] ids [eos], or [bos] ids [eos] [bos] more_ids [eos]; only what add_…_token says."""
        before, after = self._around()
        built = [*before, *ids, *after]
        return built if more_ids is None else [*built, *before, *more_ids, *after]

    def get_special_tokens_mask(
        self,
        ids: Sequence[int],
        more_ids: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for each special token, 0 for each other.

        already_has_special_tokens  False: the mask of build_inputs_with_special_tokens(ids, more_ids). True:
                                    of ids as they are
        """
        if already_has_special_tokens:
            if more_ids is not None:
                raise LlamaError("a second sequence, but the first is already formatted", where="more_ids")
            special = self._special_ids()
            return [int(token_id in special) for token_id in self._checked(ids)]
        before, after = self._around()
        mask = [1] * len(before) + [0] * len(ids) + [1] * len(after)
        return mask if more_ids is None else mask + [1] * len(before) + [0] * len(more_ids) + [1] * len(after)

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool = True,
        return_special_tokens_mask: bool = False,
        padding_side: str | None = None,
    ) -> BatchEncoding:
        """One text or several, encoded.

        padding         True or "longest": fill up to the longest row; "max_length": to max_length
        truncation      True: cut to max_length (with bos and eos inside it). None: cut where max_length is
                        given and padding isn't, as transformers does
        max_length      defaults to model_max_length; without either, nothing is cut or filled
        return_tensors  "np": int64 arrays (B, T), B = 1 for one text. None: lists; one text gives flat lists
        raises          LlamaError where there is no pad token, no room for bos and eos, no text, or no
                        rectangle
        """
        single = isinstance(text, str)
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, list | tuple) or not texts:
            found = type(texts).__name__ if not isinstance(texts, list | tuple) else "an empty list"
            raise LlamaError("no text", where="text", expected="a str or a list of str", found=found)
        if return_tensors not in (None, "np"):
            raise LlamaError("no such tensors", where="return_tensors", expected="'np' or None", found=return_tensors)
        cut, fill_to = lengths(padding, truncation, max_length, self.model_max_length)
        pad_id = self._pad_id() if fill_to is not None else 0
        before, after = self._around() if add_special_tokens else ([], [])
        rows = []
        for one in texts:
            ids = self._text_ids(one)
            if cut is not None:
                ids = truncate(ids, cut - len(before) - len(after), self.truncation_side)
            row = {"input_ids": [*before, *ids, *after]}
            if return_attention_mask:
                row["attention_mask"] = [1] * len(row["input_ids"])
            if return_special_tokens_mask:
                row["special_tokens_mask"] = [1] * len(before) + [0] * len(ids) + [1] * len(after)
            rows.append(row)
        if fill_to is not None:
            length = fill_to or max(len(row["input_ids"]) for row in rows)
            fill = {"input_ids": pad_id, "attention_mask": 0, "special_tokens_mask": 1}
            pad_rows(rows, fill, length, checked_side("padding_side", padding_side or self.padding_side))
        if single and return_tensors is None:
            return BatchEncoding(rows[0])
        return collect(rows, return_tensors)

    # Ids to text

    def decode(self, ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False) -> Any:
        """The text of ids.

        ids      an int, a list or array (T,) of them; or a batch (B, T), which gives a list of B texts
        skip_special_tokens  leave out <s>, </s>, <unk>, padding. sentencepiece (legacy) never writes <s> and
                             </s>
        clean_up_tokenization_spaces  accepted and ignored, as transformers 5 does: it would corrupt a BPE
                                      text
        raises   LlamaError where an id isn't in the vocabulary
        """
        if _is_int(ids):
            ids = [ids]
        elif len(ids) and not _is_int(ids[0]):
            return self.batch_decode(ids, skip_special_tokens)
        decoder = self.stream_decoder(skip_special_tokens)
        return "".join([decoder.push(token_id) for token_id in self._checked(ids)]) + decoder.finish()

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[str]:
        """decode() of each of several sequences."""
        return [self.decode(ids, skip_special_tokens, **options) for ids in sequences]

    def stream_decoder(self, skip_special_tokens: bool = False) -> StreamDecoder:
        """A decoder that takes one id at a time: push(id) gives the text that is certain by now, finish() the
        rest.

        Together they give what decode() gives.
        """
        return StreamDecoder(self._spelling, self._special_ids() if skip_special_tokens else ())

    # Special tokens

    @property
    def bos_token(self) -> str | None:
        """The token that begins a sequence."""
        return self._names["bos_token"]

    @bos_token.setter
    def bos_token(self, token: str | None) -> None:
        self._rename("bos_token", token)

    @property
    def eos_token(self) -> str | None:
        """The token that ends a sequence; generation stops there."""
        return self._names["eos_token"]

    @eos_token.setter
    def eos_token(self, token: str | None) -> None:
        self._rename("eos_token", token)

    @property
    def unk_token(self) -> str | None:
        """The token for what the vocabulary lacks."""
        return self._names["unk_token"]

    @unk_token.setter
    def unk_token(self, token: str | None) -> None:
        self._rename("unk_token", token)

    @property
    def pad_token(self) -> str | None:
        """The token that fills short rows of a batch. Llama has none: set one before padding."""
        return self._names["pad_token"]

    @pad_token.setter
    def pad_token(self, token: str | None) -> None:
        self._rename("pad_token", token)

    @property
    def bos_token_id(self) -> int | None:
        """The id of bos_token; None where there is none."""
        return self._named_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of eos_token; None where there is none."""
        return self._named_id("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        """The id of unk_token; None where there is none."""
        return self._named_id("unk_token")

    @property
    def pad_token_id(self) -> int | None:
        """The id of pad_token; None where there is none."""
        return self._named_id("pad_token")

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """{"bos_token": "<s>", …}, those that are set."""
        return {name: token for name, token in self._names.items() if token is not None}

    @property
    def all_special_ids(self) -> list[int]:
        """The ids that skip_special_tokens leaves out, ascending."""
        return sorted(self._special_ids())

    # Inside

    def _add(self, token: AddedToken) -> None:
        if not token.content:
            raise LlamaError("an added token is empty", where=self.model.source)
        if token.content not in self._id_of:
            self._id_of[token.content] = len(self._tokens)
            self._tokens.append(token.content)
        self._added.setdefault(self._id_of[token.content], token)

    def _named_id(self, name: str) -> int | None:
        token = self._names[name]
        return None if token is None else self._id_of[token]

    def _rename(self, name: str, token: str | None) -> None:
        if token is not None and token not in self._id_of:
            raise LlamaError(
                "not in the vocabulary", where=name, expected="a token that has an id", found=repr(token)[:80]
            )
        self._names[name] = token

    def _special_ids(self) -> frozenset[int]:
        named = (self._named_id(name) for name in NAMES)
        return frozenset(index for index, token in self._added.items() if token.special) | frozenset(
            index for index in named if index is not None
        )

    def _around(self) -> tuple[list[int], list[int]]:
        """What goes before and after a text."""
        bos, eos = self.bos_token_id, self.eos_token_id
        before = [bos] if self.add_bos_token and bos is not None else []
        after = [eos] if self.add_eos_token and eos is not None else []
        return before, after

    @cached_property
    def _bpe(self) -> BytePairEncoding:
        return SentencePieceBPE(self.model) if self.legacy else MergeListBPE(self.model, self.merges)

    @cached_property
    def _added_tokens(self) -> AddedTokens:
        return AddedTokens(self._added)

    @cached_property
    def _spelling(self) -> Spelling:
        if self.legacy:
            added = self._tokens[len(self.model.pieces) :]
            return sentencepiece_spelling(self.model, added, self.add_prefix_space)
        return tokenizers_spelling(self._tokens, self.add_prefix_space)

    def _text_ids(self, text: str) -> list[int]:
        """Ids of a text without bos and eos."""
        if not isinstance(text, str):
            raise LlamaError("no text", where="text", expected="a str", found=type(text).__name__)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise LlamaError(
                "a lone surrogate is no character",
                where=f"text, character {error.start}",
                found=repr(text[error.start]),
            ) from None
        if self.legacy:
            marked = text.replace(" ", SPACE)
            return self._bpe.encode(SPACE + marked if marked and self.add_prefix_space else marked)
        ids: list[int] = []
        for offset, part in self._added_tokens.split(text):
            if isinstance(part, int):
                ids.append(part)
                continue
            marked = part.replace(" ", SPACE)
            if self.add_prefix_space and offset == 0 and not marked.startswith(SPACE):
                marked = SPACE + marked
            ids += self._bpe.encode(marked)
        return ids

    def _pad_id(self) -> int:
        if self.pad_token_id is None:
            raise LlamaError(
                "asked to pad, but this tokenizer has no padding token",
                where="pad_token",
                expected="one to be set: tokenizer.pad_token = tokenizer.eos_token",
            )
        return self.pad_token_id

    def _checked(self, ids: Any) -> list[int]:
        """A list of ints, each of them an id."""
        checked = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        size = len(self)
        for position, token_id in enumerate(checked):
            if not _is_int(token_id):
                raise LlamaError(
                    "not a token id",
                    where=f"ids, position {position}",
                    expected="an int",
                    found=repr(token_id)[:80],
                )
            if not 0 <= token_id < size:
                raise LlamaError(
                    "no such token id",
                    where=f"ids, position {position}",
                    expected=f"0 to {size - 1}",
                    found=token_id,
                )
        return checked


def _is_int(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and np.issubdtype(value.dtype, np.integer)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _piece(model: SentencePieceModel, index: int) -> str | None:
    return model.pieces[index] if index >= 0 else None
