"""LlamaTokenizer: text to ids and back, with the names and the two behaviours that Hugging Face's class has.

    tokenizer = LlamaTokenizer.from_pretrained(folder)
    tokenizer.encode("Hello world")                  # [1, 15043, 3186]
    tokenizer.decode([1, 15043, 3186])               # "<s> Hello world"
    tokenizer(["Hi", "Hello world"], padding=True, return_tensors="np").attention_mask

The way of a text: cut out added tokens (added_tokens.py), write its spaces as ▁ and put one in front, merge
(bpe.py), put <s> before it (template.py). The way back: stream_decoder.py. What isn't Llama's own is in base.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.base import NO_LIMIT as NO_LIMIT
from numpy_llama.tokenizer.base import Tokenizer
from numpy_llama.tokenizer.bpe import SPACE, BytePairEncoding, MergeListBPE, SentencePieceBPE
from numpy_llama.tokenizer.piece_list import PieceList, checked_merges, piece_list
from numpy_llama.tokenizer.sentencepiece_model import PieceType, SentencePieceModel
from numpy_llama.tokenizer.stream_decoder import (
    BYTE_NAME,
    Spelling,
    StreamDecoder,
    sentencepiece_spelling,
    tokenizers_spelling,
)

PREPEND = {  # before which stretch of a text, between special tokens, a ▁ is put
    "first": "the one that begins the text, if it doesn't begin with a space: the class LlamaTokenizer",
    "always": "each that doesn't begin with a space",
    "every": "each, whatever it begins with: a tokenizer.json that transformers 4 wrote, taken as it stands",
}
Vocabulary = SentencePieceModel | PieceList | Mapping[str, int] | Sequence[str]


class LlamaTokenizer(Tokenizer):
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

    vocab             the vocabulary: as read_sentencepiece_model() gives it; or {piece: id}; or a list of pieces by id.
                      None: <unk>, <s>, </s> alone
    merges            pairs of pieces, best first, as a tokenizer.json lists them ("a b" or ("a", "b")); legacy=True has
                      no use for them. None: of a SentencePieceModel the order that transformers makes of a
                      tokenizer.model alone; of other vocabularies no merges
    add_prefix_space  False: put no space before a text, and take none away when decoding. None: as the class
                      does in transformers (True), or as the file says (legacy)
    add_bos_token, add_eos_token   whether encode adds them; plain attributes that can be set later
    bos_token, …      names of special tokens; None takes the file's own. Settable. They must be in the
                      vocabulary or in added_tokens
    added_tokens      tokens beside the file's own. One that the vocabulary lacks gets the next free id, in
                      this order
    prepend           "first", "always" or "every": see PREPEND; legacy=True has no use for it
    use_default_system_prompt  whether a chat begins with Llama 2's default system prompt
    other settings    as in Tokenizer

    raises  LlamaError where a special token has no id, or a setting has a value that there isn't

    Source: LlamaTokenizer of transformers 5; SentencePieceProcessor of sentencepiece.
    """

    def __init__(
        self,
        vocab: Vocabulary | None = None,
        merges: Sequence[Any] | None = None,
        *,
        legacy: bool = False,
        add_prefix_space: bool | None = None,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = None,
        unk_token: str | AddedToken | None = None,
        pad_token: str | AddedToken | None = None,
        added_tokens: Iterable[AddedToken] = (),
        prepend: str = "first",
        use_default_system_prompt: bool = False,
        **settings: Any,
    ):
        given = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        if isinstance(vocab, SentencePieceModel):
            self.model: SentencePieceModel | None = vocab
            pieces: SentencePieceModel | PieceList = vocab
            numbers = (vocab.bos_id, vocab.eos_id, vocab.unk_id, vocab.pad_id)
            own = dict(zip(given, [vocab.pieces[i] if i >= 0 else None for i in numbers], strict=True))
            named = {name: value or own[name] for name, value in given.items()}
            added = [
                *added_tokens,
                *(value if isinstance(value, AddedToken) else AddedToken(value) for value in named.values() if value),
                *(AddedToken(vocab.pieces[index]) for index in vocab.ids_of(PieceType.CONTROL)),
                *(AddedToken(vocab.pieces[index], False) for index in vocab.ids_of(PieceType.USER_DEFINED)),
            ]
        else:
            self.model = None
            own = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None}
            named = {name: value or own[name] for name, value in given.items()}
            names = [named[name] for name in ("unk_token", "bos_token", "eos_token")]
            default = [value.content if isinstance(value, AddedToken) else value for value in names if value]
            pieces = piece_list(default if vocab is None else vocab)
            merges = checked_merges(merges or (), pieces.pieces, "merges")
            added = list(added_tokens)
            if legacy:
                expected = "a SentencePieceModel, which has scores"
                raise LlamaError("sentencepiece can't merge by such a vocabulary", where="legacy", expected=expected)
        if prepend not in PREPEND:
            raise LlamaError("no such way", where="prepend", expected=", ".join(PREPEND), found=repr(prepend)[:80])
        self.prepend = prepend
        self._pieces = pieces
        self._mergers: dict[frozenset[int], BytePairEncoding] = {}
        self.merges = merges
        self.has_json = False  # whether it comes from a tokenizer.json, and is saved as one
        self.legacy = bool(legacy)
        from_model = pieces.add_dummy_prefix if isinstance(pieces, SentencePieceModel) and legacy else True
        self.add_prefix_space = from_model if add_prefix_space is None else bool(add_prefix_space)
        self.use_default_system_prompt = bool(use_default_system_prompt)
        super().__init__(pieces.pieces, added=added, named=named, source=pieces.source, **settings)

    # From and to files

    @classmethod
    def from_pretrained(cls, folder: str | Path, **overrides: Any) -> "LlamaTokenizer":
        """The tokenizer in a folder (or a tokenizer.model or tokenizer.json itself), with its settings; see
        tokenizer_folder.py.

        overrides  settings that go before those in the folder: legacy=True, add_bos_token=False, …
        raises     LlamaError where a file is missing, damaged, or asks for something this package doesn't do
        """
        from numpy_llama.tokenizer.tokenizer_folder import read_folder  # it needs the class that it fills

        return read_folder(cls, Path(folder), overrides)

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write tokenizer.model or tokenizer.json or both, as it was read, tokenizer_config.json and
        special_tokens_map.json; each is whole or not there.

        returns  the paths written
        """
        from numpy_llama.tokenizer.tokenizer_folder import write_folder

        return write_folder(self, Path(folder))

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + f", legacy={self.legacy})"

    # What is Llama's own

    def token_bytes(self, token_id: int) -> bytes:
        """What a token adds to a text, in UTF-8 and inside a text: b" world" for ▁world, one byte for <0xE2>.

        raises  LlamaError where the id isn't in the vocabulary
        """
        token: str = self.convert_ids_to_tokens(token_id)
        return bytes([int(token[3:5], 16)]) if BYTE_NAME.fullmatch(token) else token.replace(SPACE, " ").encode()

    def _text_ids(self, text: str, split_special_tokens: bool | None = None) -> list[int]:
        return self.plain_ids(text) if self.legacy else super()._text_ids(text, split_special_tokens)

    def _stretch_ids(self, text: str, at_start: bool, never: frozenset[int]) -> list[int]:
        marked = text.replace(" ", SPACE)
        # sentencepiece puts a space before every text, transformers only where there is none.
        always = self.legacy or self.prepend == "every"
        if self.add_prefix_space and (at_start or self.prepend != "first"):
            marked = SPACE + marked if always or not marked.startswith(SPACE) else marked
        return self._merging(frozenset() if self.legacy else never).encode(marked)

    def _merging(self, never: frozenset[int]) -> BytePairEncoding:
        if never not in self._mergers:
            if self.legacy and self.model is not None:  # which never makes a control piece
                self._mergers[never] = SentencePieceBPE(self.model)
            else:
                self._mergers[never] = MergeListBPE(self._pieces, self.merges, never)
        return self._mergers[never]

    def _decoder(self, skip: frozenset[int]) -> StreamDecoder:
        return StreamDecoder(self._spelling, skip)

    @cached_property
    def _spelling(self) -> Spelling:
        if self.legacy and self.model is not None:
            added = self._tokens[len(self.model.pieces) :]
            return sentencepiece_spelling(self.model, added, self.add_prefix_space)
        return tokenizers_spelling(self._tokens, self.add_prefix_space)

    def _forget(self) -> None:
        super()._forget()
        self.__dict__.pop("_spelling", None)
        self._mergers.clear()
