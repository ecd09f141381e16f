"""Generation settings: how long to go on, when to stop, how to choose each token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from numpy_llama.blocks.sampler import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    scale_temperature,
)
from numpy_llama.errors import LlamaError
from numpy_llama.model.config import LlamaConfig, as_ids

LogitsRule = Callable[[np.ndarray], np.ndarray]


# Settings of Transformers' generate that change tokens where they aren't at these values, and that we don't have.
_NOT_OURS: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "guidance_scale": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    **dict.fromkeys(
        "min_new_tokens bad_words_ids suppress_tokens begin_suppress_tokens forced_bos_token_id forced_eos_token_id "
        "sequence_bias exponential_decay_length_penalty penalty_alpha max_time stop_strings watermarking_config "
        "top_h constraints force_words_ids prompt_lookup_num_tokens".split(),
        (),
    ),
}


def ignored_settings(generation_config: Mapping[str, Any]) -> list[str]:
    """Settings of a generation_config.json that would change tokens in Transformers, and don't here."""
    return [
        name
        for name, value in generation_config.items()
        if name in _NOT_OURS and value is not None and value not in _NOT_OURS[name]
    ]


@dataclass(frozen=True)
class GenerationSettings:
    """Names and defaults are those of Transformers' GenerationConfig.

    max_new_tokens      how many tokens at most; where it isn't given, max_length counts prompt and new tokens together
    do_sample           draw from the distribution; otherwise take the likeliest token (greedy)
    temperature, top_k, top_p, min_p    narrow or widen the distribution, with do_sample alone; None switches one off
    repetition_penalty  above 1, tokens that were there already become less likely
    eos_token_id        a row ends with one of these; the config's unless given; None for no end
    pad_token_id        fills a row that has ended, until all have; the first eos unless given
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    do_sample: bool = False
    temperature: float | None = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    repetition_penalty: float | None = 1.0
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None

    @classmethod
    def gather(
        cls, config: LlamaConfig, generation_config: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> "GenerationSettings":
        """What the caller says counts first, then generation_config.json, then the special tokens of config.json.

        raises  LlamaError for a setting that we don't have, or a value that can't be
        """
        names = {f.name for f in fields(cls)}
        for name in settings:
            if name not in names:
                raise LlamaError(
                    "no such setting",
                    where=f"generate({name}=…)",
                    expected="one of " + ", ".join(sorted(names)),
                )
        special = {name: getattr(config, name) for name in ("eos_token_id", "pad_token_id", "bos_token_id")}
        stored = {name: value for name, value in generation_config.items() if name in names and value is not None}
        gathered = cls(**{**special, **stored, **settings})
        gathered._check()
        return gathered

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends a row."""
        return as_ids(self.eos_token_id)

    def new_tokens(self, prompt_length: int) -> int:
        """How many tokens at most follow a prompt of this length.

        raises  LlamaError where max_length leaves no room for any
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is None:
            return 20  # as Transformers, where nothing is said
        room = self.max_length - prompt_length
        if room <= 0:
            raise LlamaError(
                "no room for new tokens",
                where="max_length",
                expected=f"more than the prompt's {prompt_length} tokens (or give max_new_tokens)",
                found=self.max_length,
            )
        return room

    def rules(self) -> list[Callable[[np.ndarray, np.ndarray], np.ndarray]]:
        """What is done to the logits before a token is chosen, in Transformers' order: rule(logits, ids so far)."""
        rules: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = []
        if self.repetition_penalty not in (None, 1.0):
            rules.append(partial(penalize_repetition, penalty=self.repetition_penalty))
        if self.do_sample:
            rules += [_without_ids(rule) for rule in self._narrowing()]
        return rules

    def _narrowing(self) -> list[LogitsRule]:
        rules: list[LogitsRule] = []
        if self.temperature not in (None, 1.0):
            rules.append(partial(scale_temperature, temperature=self.temperature))
        if self.top_k:
            rules.append(partial(keep_top_k, top_k=self.top_k))
        if self.top_p is not None and self.top_p < 1.0:
            rules.append(partial(keep_top_p, top_p=self.top_p))
        if self.min_p:
            rules.append(partial(keep_min_p, min_p=self.min_p))
        return rules

    def _check(self) -> None:
        def require(name: str, holds: bool, expected: str) -> None:
            if not holds:
                raise LlamaError("impossible value", where=name, expected=expected, found=repr(getattr(self, name)))

        def number(value: object) -> bool:
            return isinstance(value, int | float | np.number) and not isinstance(value, bool)

        def count(value: object) -> bool:
            return isinstance(value, int | np.integer) and not isinstance(value, bool)

        for name in ("max_new_tokens", "max_length"):
            value = getattr(self, name)
            require(name, value is None or (count(value) and value > 0), "a positive integer")
        require("do_sample", isinstance(self.do_sample, bool), "true or false")
        for name in ("temperature", "repetition_penalty"):
            value = getattr(self, name)
            # Further out, float32 logits overflow, and infinities become NaN.
            require(
                name, value is None or (number(value) and 1e-30 <= value <= 1e30), "a positive number, 1e-30 … 1e30"
            )
        require(
            "top_k",
            self.top_k is None or (count(self.top_k) and self.top_k >= 0),
            "a positive integer, or 0 for off",
        )
        for name in ("top_p", "min_p"):
            value = getattr(self, name)
            require(name, value is None or (number(value) and 0 <= value <= 1), "a number in 0 … 1")
        for name in ("eos_token_id", "pad_token_id", "bos_token_id"):
            value = getattr(self, name)
            several = name == "eos_token_id" and isinstance(value, list | tuple)
            require(
                name, all(count(i) for i in value) if several else value is None or count(value), "a token id, or None"
            )


def _without_ids(rule: LogitsRule) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda logits, ids: rule(logits)
