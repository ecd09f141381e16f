"""Tokenizer: what every kind of tokenizer does, whatever its vocabulary.

    text → cut out added tokens → ids of each stretch between them → put special tokens around → cut, fill up, batch
                                  └── the one step that differs

A kind of tokenizer is a subclass with four methods:

    _stretch_ids(text, at_start, never)   ids of a text in which no added token is left to be found
    _decoder(skip)                        ids back to text, one at a time: push(id) and finish()
    token_bytes(token_id)                 what a token adds to a text
    save_pretrained(folder)               its files

LlamaTokenizer merges SentencePiece's pieces, ByteLevelTokenizer merges bytes. Below this class is what has no need of
texts: tokens and their ids (token_table.py), and what is put around a text's ids (around.py).

source  PreTrainedTokenizerBase and TokenizersBackend of Transformers
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken
from numpy_llama.tokenizer.around import AroundTexts
from numpy_llama.tokenizer.batch import (
    FILL,
    BatchEncoding,
    checked_side,
    checked_tensors,
    collect,
    lengths,
    pad_encoded,
    pad_rows,
    padded_length,
    truncate,
    truncate_pair,
)
from numpy_llama.tokenizer.template import Template
from numpy_llama.tokenizer.token_table import is_id

NO_LIMIT = int(1e30)  # Hugging Face's model_max_length of a tokenizer that has none
Text = str | tuple[str, str]


class TextStream(Protocol):
    """Takes ids, gives text that is final."""

    def push(self, token_id: int) -> str:
        """What is certain about the text after one more id."""
        ...

    def finish(self) -> str:
        """What was still held back."""
        ...


class Tokenizer(AroundTexts):
    """Text to ids and back. The settings, plain attributes that can be set later:

    tokens, added, named, source   see TokenTable
    add_bos_token, add_eos_token, template   see AroundTexts
    split_special_tokens  False: "<s>" in a text is the token <s>, as in transformers. True: it is text like any other,
                      and no text becomes a special token. Each call can say it, too. (transformers' setting has a hole:
                      what looks like <s> may be merged to <s>. Here its pieces stay apart)
    padding_side, truncation_side, model_max_length   as in transformers
    clean_up_tokenization_spaces  kept, and without effect: transformers ignores it for BPE vocabularies, whose text it
                      would corrupt
    chat_template     a Jinja template, or None
    kept              fields of tokenizer_config.json that aren't used here but are saved again

    raises  LlamaError where a special token has no id, or a setting has a value that there isn't
    """

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        added: Iterable[AddedToken] = (),
        named: Mapping[str, str | AddedToken | None],
        source: str = "vocabulary",
        add_bos_token: bool = True,
        add_eos_token: bool = False,
        template: Template | None = None,
        split_special_tokens: bool = False,
        padding_side: str = "left",
        truncation_side: str = "right",
        model_max_length: int = NO_LIMIT,
        clean_up_tokenization_spaces: bool = False,
        chat_template: str | None = None,
        kept: Mapping[str, Any] | None = None,
    ):
        super().__init__(
            tokens,
            add_bos_token=add_bos_token,
            add_eos_token=add_eos_token,
            template=template,
            added=added,
            named=named,
            source=source,
        )
        self.split_special_tokens = bool(split_special_tokens)
        self.padding_side = checked_side("padding_side", padding_side)
        self.truncation_side = checked_side("truncation_side", truncation_side)
        self.model_max_length = model_max_length
        self.clean_up_tokenization_spaces = bool(clean_up_tokenization_spaces)
        self.kept = dict(kept or {})
        if chat_template is not None:
            self.chat_template = chat_template

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of a chat; of several, the one called default. None where there is none."""
        found = self.kept.get("chat_template")
        if isinstance(found, list):  # [{"name": …, "template": …}]
            named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default")
        elif isinstance(found, dict):
            found = found.get("default")
        return found if isinstance(found, str) else None

    @chat_template.setter
    def chat_template(self, template: str | None) -> None:
        if template is not None and not isinstance(template, str):
            raise LlamaError("no template", where="chat_template", expected="a str", found=type(template).__name__)
        self.kept["chat_template"] = template

    # What a kind of tokenizer adds

    def _stretch_ids(self, text: str, at_start: bool, never: frozenset[int]) -> list[int]:
        """Ids of a valid, non-empty text, with no look at added tokens.

        at_start  it begins the whole text
        never     ids that may not come about, though they are in the vocabulary and text could be merged to them
        """
        raise NotImplementedError

    def _decoder(self, skip: frozenset[int]) -> TextStream:
        """A fresh decoder that leaves out the ids in `skip`."""
        raise NotImplementedError

    def token_bytes(self, token_id: int) -> bytes:
        """What a token adds to a text, in UTF-8 and inside a text: b" world" for ▁world, one byte for <0xE2>.

        raises  LlamaError where the id isn't in the vocabulary
        """
        raise NotImplementedError

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write the tokenizer's files into a folder; each is whole or not there.

        returns  the paths written
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._source}, {len(self)} tokens, add_bos_token={self.add_bos_token}, "
            f"add_eos_token={self.add_eos_token}, bos={self.bos_token!r}, eos={self.eos_token!r}, "
            f"unk={self.unk_token!r}, pad={self.pad_token!r})"
        )

    # Text to ids

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = True,
        return_token_type_ids: bool | None = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        padding_side: str | None = None,
        split_special_tokens: bool | None = None,
    ) -> BatchEncoding:
        """One text or several, encoded; or pairs of texts: a question and the text that answers it.

        text            a str; a list of str; a list of pairs (str, str)
        text_pair       the second text of the pair, or a list of them
        add_special_tokens  False: don't put anything around the texts
        padding         True or "longest": fill up to the longest row; "max_length": to max_length
        truncation      True or "longest_first": cut to max_length (special tokens inside it), of two texts the longer
                        first; "only_first", "only_second": this one. None: cut where max_length is given and padding
                        isn't, as transformers does
        max_length      defaults to model_max_length; without either, nothing is cut or filled
        pad_to_multiple_of  rows are filled up to a multiple of it, where padding is on
        return_tensors  "np": int64 arrays (B, T), B = 1 for one text. None: lists; one text gives flat lists
        return_token_type_ids  0 for the first text, 1 for the second; no Llama reads them
        return_length   the length of each row
        split_special_tokens  True: what looks like a special token in a text is text; None: as the tokenizer is set
        raises          LlamaError where there is no pad token, no room for the special tokens, no text, or no rectangle
        """
        single = isinstance(text, str)
        pairs = _pairs(text, text_pair)
        checked_tensors(return_tensors)
        cut, fill_to = lengths(padding, truncation, max_length, self.model_max_length, pad_to_multiple_of)
        pad_id = self._pad_id() if fill_to is not None else 0
        template = self._template() if add_special_tokens else Template()
        rows = []
        for first, second in pairs:
            ids = self._text_ids(first, split_special_tokens)
            more_ids = None if second is None else self._text_ids(second, split_special_tokens)
            if cut is not None:
                room = cut - template.added(pair=more_ids is not None)
                if more_ids is None:
                    ids = truncate(ids, room, self.truncation_side, truncation)
                else:
                    ids, more_ids = truncate_pair(ids, more_ids, room, self.truncation_side, truncation)
            filled = template.fill(ids, more_ids)
            row = {"input_ids": filled.ids}
            if return_token_type_ids:
                row["token_type_ids"] = filled.types
            if return_attention_mask is not False:
                row["attention_mask"] = [1] * len(filled.ids)
            if return_special_tokens_mask:
                row["special_tokens_mask"] = filled.special
            rows.append(row)
        if fill_to is not None:
            longest = max(len(row["input_ids"]) for row in rows)
            length = padded_length(fill_to or longest, pad_to_multiple_of)
            side = checked_side("padding_side", padding_side or self.padding_side)
            pad_rows(rows, {"input_ids": pad_id, **FILL}, length, side)
        if single and return_tensors is None:
            one = BatchEncoding(rows[0])
            return BatchEncoding({**one, "length": [len(one.input_ids)]}) if return_length else one
        lengths_of_rows = [len(row["input_ids"]) for row in rows]
        return collect(rows, return_tensors, {"length": lengths_of_rows} if return_length else {})

    def encode(self, text: str, text_pair: str | None = None, add_special_tokens: bool = True, **options: Any) -> Any:
        """The ids of a text, or of a pair: a list of int; with return_tensors="np" an array (1, T) for a model.

        add_special_tokens  False: put nothing around the text, whatever add_bos_token and add_eos_token say
        options             padding, truncation, max_length, split_special_tokens, … as in a call
        raises              LlamaError where text is no string, or no text (it has a lone surrogate)
        """
        if not isinstance(text, str):
            raise LlamaError("no text", where="text", expected="a str", found=type(text).__name__)
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)["input_ids"]

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The tokens of a text: "Hello world" → ["▁Hello", "▁world"]."""
        return [self._tokens[token_id] for token_id in self.encode(text, pair, add_special_tokens, **options)]

    def plain_ids(self, text: str) -> list[int]:
        """The ids of a text in which nothing is looked for: no special token, no other added token, nothing around.

        What a stranger typed, in a prompt whose control tokens are ours: none of the ids is that of an added token.
        (split_special_tokens=True reads over special tokens alone, and still cuts out added ones that aren't special.)

        raises  LlamaError where text is no string, or no text
        """
        self._check_text(text)
        return self._stretch_ids(text, True, frozenset(self._added)) if text else []

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Fill up what is encoded already: one encoding, several, or a list of them (as a data loader hands them out).

        arguments as in a call; input_ids, attention_mask, token_type_ids and special_tokens_mask are filled
        raises  LlamaError where there are no input_ids or no pad token, or rows don't go together
        """
        checked_tensors(return_tensors)
        _, fill_to = lengths(padding, False, max_length, self.model_max_length, pad_to_multiple_of)
        pad_id = self._pad_id() if fill_to is not None else 0
        side = checked_side("padding_side", padding_side or self.padding_side)
        mask = return_attention_mask is not False
        return pad_encoded(encoded_inputs, pad_id, fill_to, pad_to_multiple_of, side, mask, return_tensors)

    # Ids to text

    def decode(
        self, ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """The text of ids.

        ids      an int, a list or array (T,) of them; or a batch (B, T), which gives a list of B texts
        skip_special_tokens  leave out <s>, </s>, <unk>, padding
        clean_up_tokenization_spaces  accepted and ignored, as transformers 5 does: it would corrupt a BPE text
        raises   LlamaError where an id isn't in the vocabulary
        """
        if is_id(ids):
            ids = [int(ids)]
        elif len(ids) and not is_id(ids[0]):
            return self.batch_decode(ids, skip_special_tokens)
        decoder = self.stream_decoder(skip_special_tokens)
        return "".join([decoder.push(token_id) for token_id in self._checked(ids)]) + decoder.finish()

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **options: Any) -> list[str]:
        """decode() of each of several sequences."""
        return [self.decode(ids, skip_special_tokens, **options) for ids in sequences]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of tokens: ["▁Hello", "▁world"] → "Hello world"."""
        return str(self.decode(self.convert_tokens_to_ids(list(tokens))))

    def stream_decoder(self, skip_special_tokens: bool = False) -> TextStream:
        """A decoder that takes one id at a time: push(id) gives the text that is certain by now, finish() the rest.

        Together they give what decode() gives.
        """
        return self._decoder(self._special_ids() if skip_special_tokens else frozenset())

    # Chats

    def apply_chat_template(
        self,
        conversation: Sequence[Any],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Mapping[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        **more: Any,
    ) -> Any:
        """A chat, or several, as the model was trained to read them.

        conversation    messages: dicts with "role" ("system", "user", "assistant") and "content"; or a list of chats
        tools           JSON schemas of functions that the model may call; documents, {"title", "text"}, that it may
                        read: where the template knows what to do with them
        chat_template   Jinja; or "llama2", "llama3", "chatml", "smollm2". None: the tokenizer's own; without one, that
                        of its control tokens
        add_generation_prompt   end with the header of the answer that is to come
        continue_final_message  end inside the last message, which the model goes on with
        tokenize        False: the text
        sanitize_control_tokens  True: "<|im_end|>" in a message is text. A stranger's words need this
        padding, truncation, max_length, return_tensors   as in a call
        return_dict     True: a BatchEncoding with input_ids and attention_mask. False: the ids alone
        more            tokenizer_kwargs of `pad`; any other name is handed to the template
        returns         as in transformers: flat lists for one chat, a list a chat for several; arrays (B, T) of int64
        raises          LlamaError where there is no template, messages don't fit it (naming its line), or it takes too
                        long, too much memory, or what it has no right to
        """
        from numpy_llama.tokenizer.chat_template import apply_chat_template  # which needs the helpers of this floor

        return apply_chat_template(
            self,
            conversation,
            tools=tools,
            documents=documents,
            chat_template=chat_template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tokenize=tokenize,
            sanitize_control_tokens=sanitize_control_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            return_tensors=return_tensors,
            return_dict=return_dict,
            **more,
        )

    def get_chat_template(self, chat_template: str | None = None, tools: Sequence[Any] | None = None) -> str:
        """The template that apply_chat_template would use.

        raises  LlamaError where there is none
        """
        from numpy_llama.tokenizer.chat_template import chosen_template

        return chosen_template(self, chat_template, tools is not None)

    # Inside

    def _text_ids(self, text: str, split_special_tokens: bool | None = None) -> list[int]:
        """Ids of a text, added tokens cut out, with nothing around."""
        self._check_text(text)
        split = self.split_special_tokens if split_special_tokens is None else bool(split_special_tokens)
        never = frozenset(index for index, token in self._added.items() if token.special) if split else frozenset()
        ids: list[int] = []
        for offset, part in self._added_tokens.split(text, keep_special=not split):
            ids += [part] if isinstance(part, int) else self._stretch_ids(part, offset == 0, never)
        return ids

    def _check_text(self, text: object) -> None:
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

    def _pad_id(self) -> int:
        if self.pad_token_id is None:
            raise LlamaError(
                "asked to pad, but this tokenizer has no padding token",
                where="pad_token",
                expected="one to be set: tokenizer.pad_token = tokenizer.eos_token",
            )
        return self.pad_token_id


def _pairs(text: object, text_pair: object) -> list[tuple[Any, Any]]:
    """(first, second or None) of each row, by transformers' rules: an empty second text beside a single first is none.

    raises  LlamaError where there is no text, or texts and pairs don't go together
    """
    if isinstance(text, str):
        if not isinstance(text_pair, str | None):
            raise LlamaError("no text", where="text_pair", expected="a str", found=type(text_pair).__name__)
        return [(text, text_pair or None)]
    if not isinstance(text, list | tuple) or not text:
        found = type(text).__name__ if not isinstance(text, list | tuple) else "an empty list"
        raise LlamaError("no text", where="text", expected="a str or a list of str", found=found)
    if text_pair is None:
        return [_pair(one) for one in text]
    if not isinstance(text_pair, list | tuple) or len(text_pair) != len(text):
        found = f"{len(text_pair)}" if isinstance(text_pair, list | tuple) else type(text_pair).__name__
        raise LlamaError("no pairs", where="text_pair", expected=f"a list of {len(text)} texts", found=found)
    return list(zip(text, text_pair, strict=True))


def _pair(one: object) -> tuple[Any, Any]:
    if not isinstance(one, list | tuple):
        return one, None
    if len(one) != 2:
        raise LlamaError("no text", where="text", expected="a str, or a pair of them", found=f"{len(one)} of them")
    return one[0], one[1]
