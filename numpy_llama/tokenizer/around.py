"""The special tokens that a tokenizer puts around a text's ids, or around those of two texts: often <s> before each.

What they are is said by add_bos_token and add_eos_token, or by the template that came with a tokenizer.json.
"""

from collections.abc import Sequence
from typing import Any

from numpy_llama.errors import LlamaError
from numpy_llama.tokenizer.template import Template
from numpy_llama.tokenizer.token_table import TokenTable


class AroundTexts(TokenTable):
    """A table of tokens that knows what goes around a text.

    add_bos_token, add_eos_token   whether a text gets them; setting one goes before a template
    template                       what goes around a text, as a tokenizer.json says it; None: what these two say
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        add_bos_token: bool = True,
        add_eos_token: bool = False,
        template: Template | None = None,
        **table: Any,
    ):
        super().__init__(tokens, **table)
        self._add_bos_token = bool(add_bos_token)
        self._add_eos_token = bool(add_eos_token)
        self.template = template

    @property
    def add_bos_token(self) -> bool:
        """Whether bos_token goes before a text."""
        return self._add_bos_token

    @add_bos_token.setter
    def add_bos_token(self, value: bool) -> None:
        self._add_bos_token = bool(value)
        self.update_post_processor()

    @property
    def add_eos_token(self) -> bool:
        """Whether eos_token goes behind a text."""
        return self._add_eos_token

    @add_eos_token.setter
    def add_eos_token(self, value: bool) -> None:
        self._add_eos_token = bool(value)
        self.update_post_processor()

    def update_post_processor(self) -> None:
        """Put around texts what bos_token, eos_token, add_bos_token and add_eos_token say now.

        Needed where a tokenizer.json brought its own template: that one goes before bos_token and eos_token until this
        is called, or add_bos_token or add_eos_token is set. A token that there isn't can't be added: then add_bos_token
        or add_eos_token is False from here on.
        """
        self.template = None
        self._add_bos_token = self._add_bos_token and self.bos_token is not None
        self._add_eos_token = self._add_eos_token and self.eos_token is not None

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens are put around a text, or around a pair."""
        return self._template().added(pair)

    def build_inputs_with_special_tokens(self, ids: Sequence[int], more_ids: Sequence[int] | None = None) -> list[int]:
        """Ids with what goes around them: [bos] ids [eos], or [bos] ids [eos] [bos] more_ids [eos]."""
        return self._template().fill(ids, more_ids).ids

    def create_token_type_ids_from_sequences(
        self, ids: Sequence[int], more_ids: Sequence[int] | None = None
    ) -> list[int]:
        """Of the same ids: 0 for what belongs to the first text, 1 for the second."""
        return self._template().fill(ids, more_ids).types

    def get_special_tokens_mask(
        self,
        token_ids_0: Sequence[int],
        token_ids_1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 for each special token, 0 for each other.

        token_ids_0, token_ids_1    ids of a text and, where there is one, of its pair
        already_has_special_tokens  False: the mask of build_inputs_with_special_tokens(token_ids_0, token_ids_1), as
                                    transformers documents it (and leaves out since version 5). True: of token_ids_0 as
                                    they are
        raises                      LlamaError where formatted ids come with a second sequence
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise LlamaError("a second sequence, but the first is already formatted", where="token_ids_1")
            special = self._special_ids()
            return [int(token_id in special) for token_id in self._checked(token_ids_0)]
        return self._template().fill(token_ids_0, token_ids_1).special

    def _template(self) -> Template:
        if self.template is not None:
            return self.template
        bos, eos = self.bos_token_id, self.eos_token_id
        before = [bos] if self.add_bos_token and bos is not None else []
        after = [eos] if self.add_eos_token and eos is not None else []
        return Template.around(before, after)
