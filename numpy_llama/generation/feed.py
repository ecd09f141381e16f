"""What the model is given at each step: the tokens that it hasn't seen, with their mask and positions."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from numpy_llama.blocks.kv_cache import KVCache
from numpy_llama.model.outputs import CausalLMOutputWithPast

if TYPE_CHECKING:
    from numpy_llama.model.causal_lm import LlamaForCausalLM


class Feed:
    """Ids so far in, logits of the next token out.

        output = feed(ids)            # the whole prompt
        output = feed(longer_ids)     # with a cache, the new tokens alone

    model    a LlamaForCausalLM
    cache    what it has seen; None to run everything again at each step
    mask     (B, S), 1 for a token, 0 for padding, over cache and prompt; None where nothing is padded
    embeds   (B, S, E) that stand for the prompt in the first call; they may have no ids
    past     positions that stand for no id: those of embeds without ids, or tokens that are in the cache alone
    copies   rows that each prompt becomes. A prompt is run once, and its cache copied
    outputs  names of what else the model shall return: "output_hidden_states", …
    """

    def __init__(
        self,
        model: "LlamaForCausalLM",
        cache: KVCache | None,
        mask: np.ndarray | None = None,
        embeds: np.ndarray | None = None,
        past: int = 0,
        copies: int = 1,
        outputs: tuple[str, ...] = (),
    ):
        self.cache = cache
        self._model, self._mask, self._embeds, self._past, self._copies = model, mask, embeds, past, copies
        self._outputs: dict[str, Any] = dict.fromkeys(outputs, True)

    def __call__(self, ids: np.ndarray) -> CausalLMOutputWithPast:
        """The model's output for ids (R, S); its logits are (R, 1, V)."""
        if self._copies == 1:
            return self._run(ids)
        output = self._run(ids[:: self._copies])
        rows = np.arange(len(ids)) // self._copies  # (R,), the prompt of each row
        self._copies = 1
        self._mask = None if self._mask is None else self._mask[rows]
        self.reorder(rows)
        return replace(output, logits=output.logits[rows])

    @property
    def vocab_size(self) -> int:
        """V."""
        return self._model.config.vocab_size

    @property
    def dtype(self) -> np.dtype:
        """The dtype that the model computes in."""
        return self._model.dtype

    def reorder(self, rows: np.ndarray) -> None:
        """Let row r go on from what row rows[r] has seen."""
        if self.cache is not None:
            self.cache.reorder_cache(rows)

    def _run(self, ids: np.ndarray) -> CausalLMOutputWithPast:
        total = ids.shape[1] + self._past
        seen = 0 if self.cache is None else len(self.cache)
        new: np.ndarray | None = ids[:, max(seen - self._past, 0) :]
        more = self._outputs
        if self._embeds is not None:
            new, more = None, {**more, "inputs_embeds": self._embeds[:, seen:]}
            self._embeds = None
        mask = positions = None
        if self._mask is not None:
            mask = np.ones((len(self._mask), total), self._mask.dtype)  # whatever was chosen is no padding
            mask[:, : self._mask.shape[1]] = self._mask[:, :total]
            positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, seen:]
        return self._model(
            new,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=self.cache is not None,
            logits_to_keep=1,
            return_dict=True,
            **more,
        )
