"""Tokens and their ids, the same for every kind of tokenizer: the vocabulary, what was added to it, what is special.

tokens    0 … V − 1    the pieces of the vocabulary, as its file numbers them
          V, V + 1, …  added tokens that the vocabulary lacks
added     tokens that are cut out of a text before it is split further (added_tokens.py): the control tokens of the
          vocabulary itself, and those beyond it
named     bos_token, eos_token, unk_token, pad_token: which of them plays which part
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.added_tokens import AddedToken, AddedTokens

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
EXTRA = ("additional_special_tokens", "extra_special_tokens")


class TokenTable:
    """Which token has which id, and which tokens are special.

    tokens  the vocabulary by id
    added   tokens to be cut out of texts; one that the vocabulary lacks gets the next free id, in this order
    named   bos_token, …: token or None; they are added tokens, too
    source  where the vocabulary comes from, for error messages

    raises  LlamaError where an added token is empty, or no text
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        added: Iterable[AddedToken] = (),
        named: Mapping[str, str | AddedToken | None],
        source: str = "vocabulary",
    ):
        self._source = source
        self._tokens = list(tokens)
        self._base_size = len(self._tokens)
        self._id_of = {token: index for index, token in enumerate(self._tokens)}
        self._added: dict[int, AddedToken] = {}
        for token in added:
            self._add(token)
        for value in named.values():
            if value is not None:
                self._add(value if isinstance(value, AddedToken) else AddedToken(value))
        self._names = {name: None if (value := named.get(name)) is None else _content(value) for name in NAMES}

    # The vocabulary

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary, without added ones beyond it."""
        return self._base_size

    def __len__(self) -> int:
        """Ids in all: 0 to len − 1."""
        return len(self._tokens)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """{token: id}, with the added ones."""
        return dict(self._id_of)

    @property
    def vocab(self) -> dict[str, int]:
        """get_vocab() by the name of an attribute."""
        return self.get_vocab()

    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> Any:
        """Token to id, or list to list. What isn't in the vocabulary is the unknown token."""
        if isinstance(tokens, str):
            return self._id_of.get(tokens, self.unk_token_id)
        return [self._id_of.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Id to token, or list to list, as the vocabulary writes them ("▁Hello").

        raises  LlamaError where an id isn't in the vocabulary
        """
        if is_id(ids):
            return self._tokens[self._checked([ids])[0]]
        skip = self._special_ids() if skip_special_tokens else frozenset()
        return [self._tokens[token_id] for token_id in self._checked(ids) if token_id not in skip]

    # Added tokens

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """{id: token} of all that are cut out of a text."""
        return dict(sorted(self._added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """{token: id} of the same."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """{token: id} of the same, as a method."""
        return self.added_tokens_encoder

    def add_tokens(
        self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        """Add tokens that texts are cut at; the model's embedding table has to grow with them.

        special_tokens  make them special: decode can leave them out, split_special_tokens reads over them
        returns         how many are new
        raises          LlamaError where one is empty, or no token
        """
        listed = [new_tokens] if isinstance(new_tokens, str | AddedToken) else list(new_tokens or ())
        new = 0
        for value in listed:
            if not isinstance(value, str | AddedToken):
                raise LlamaError("no token", where="new_tokens", expected="a str or AddedToken", found=repr(value)[:80])
            token = value if isinstance(value, AddedToken) else AddedToken(value, False, normalized=not special_tokens)
            if special_tokens and not token.special:
                token = replace(token, special=True)
            known = self._id_of.get(token.content)
            new += known is None or known not in self._added
            if special_tokens and known is not None:
                self._added.pop(known, None)  # it becomes special
            self._add(token)
        self._forget()
        return new

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Set bos_token, eos_token, unk_token, pad_token, and add them where the vocabulary lacks them.

        special_tokens_dict  {"pad_token": "<pad>", "extra_special_tokens": ["<a>", "<b>"]}
        returns              how many are new
        raises               LlamaError where a key is none of these, or a value no token
        """
        new = 0
        for name, value in special_tokens_dict.items():
            if name not in (*NAMES, *EXTRA):
                expected = ", ".join((*NAMES, *EXTRA))
                raise LlamaError("no such special token", where="special_tokens_dict", expected=expected, found=name)
            if not isinstance(value, list | tuple if name in EXTRA else str | AddedToken):
                raise LlamaError("no token", where=name, expected="a str", found=repr(value)[:80])
        for name, value in special_tokens_dict.items():
            new += self.add_tokens(value, special_tokens=True)
            if name in NAMES:
                self._names[name] = _content(value)
        return new

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

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens with these ids."""
        return [self._tokens[index] for index in self.all_special_ids]

    # Inside

    @cached_property
    def _added_tokens(self) -> AddedTokens:
        return AddedTokens(self._added)

    def _add(self, token: AddedToken) -> None:
        if not token.content:
            raise LlamaError("an added token is empty", where=self._source)
        if any("\ud800" <= character <= "\udfff" for character in token.content):
            found = repr(token.content)[:80]
            raise LlamaError("a lone surrogate is no character", where=f"{self._source}: added tokens", found=found)
        if token.content not in self._id_of:
            self._id_of[token.content] = len(self._tokens)
            self._tokens.append(token.content)
        self._added.setdefault(self._id_of[token.content], token)

    def _forget(self) -> None:
        """Drop what was worked out from the table, since it has changed."""
        self.__dict__.pop("_added_tokens", None)

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

    def _checked(self, ids: Any) -> list[int]:
        """A list of ints, each of them an id."""
        checked = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        size = len(self)
        for position, token_id in enumerate(checked):
            where = f"ids, position {position}"
            if not is_id(token_id):
                raise LlamaError("not a token id", where=where, expected="an int", found=repr(token_id)[:80])
            if not 0 <= token_id < size:
                raise LlamaError("no such token id", where=where, expected=f"0 to {size - 1}", found=token_id)
        return checked


def is_id(value: object) -> bool:
    """Whether a value is one integer: Python's, NumPy's, or an array without axes."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and np.issubdtype(value.dtype, np.integer)
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _content(token: str | AddedToken) -> str:
    return token.content if isinstance(token, AddedToken) else token
