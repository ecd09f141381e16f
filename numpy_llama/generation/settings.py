"""Generation settings: how long to go on, when to stop, how to choose each token."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from numpy_llama.errors import LlamaError, LlamaWarning
from numpy_llama.generation.processors import LogitsRule, logits_rules
from numpy_llama.generation.settings_checks import check_settings
from numpy_llama.model.config import LlamaConfig, as_ids
from numpy_llama.model.generation_config import SPECIAL_TOKENS

DEFAULT_NEW_TOKENS = 20  # as Transformers, where nothing is said

# Settings of Transformers' generate that change tokens where they aren't at these values, and that we don't have.
_NOT_OURS: dict[str, tuple[Any, ...]] = {
    "guidance_scale": (1.0,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "token_healing": (False,),
    **dict.fromkeys(
        "top_h penalty_alpha dola_layers constraints force_words_ids watermarking_config prompt_lookup_num_tokens "
        "assistant_early_exit".split(),
        (),
    ),
}


# What a generation_config.json also says, and no token depends on.
_WITHOUT_EFFECT = frozenset(
    "transformers_version decoder_start_token_id is_assistant assistant_confidence_threshold use_mtp cache_config "
    "num_assistant_tokens num_assistant_tokens_schedule max_matching_ngram_size assistant_lookbehind target_lookbehind "
    "assistant_ensemble_weight speculation_type compile_config disable_compile continuous_batching_config low_memory "
    "prefill_chunk_size".split()
)


def ignored_settings(generation_config: Mapping[str, Any]) -> list[str]:
    """Settings of a generation_config.json that would change tokens in Transformers, and don't here."""
    return [
        name
        for name, value in generation_config.items()
        if name in _NOT_OURS and value is not None and value not in _NOT_OURS[name]
    ]


@dataclass(frozen=True)
class GenerationSettings:
    """Names and defaults are those of Transformers' GenerationConfig. None switches a rule off.

    How long:
    max_new_tokens      how many tokens at most; goes before max_length
    max_length          the same, prompt included; where neither is given, 20 new tokens, within the trained context
    min_new_tokens, min_length    so long no end token is chosen
    eos_token_id        a row ends with this token, or with one of several
    stop_strings        a row ends as soon as its text contains this, or one of several; needs the tokenizer
    max_time            seconds, after which no token is begun

    How a token is chosen:
    do_sample           draw from the distribution; otherwise take the likeliest token (greedy)
    num_beams           above 1: keep the so many likeliest texts instead of one (beam search)
    temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff
                        narrow or widen the distribution, with do_sample alone
    repetition_penalty, encoder_repetition_penalty, no_repeat_ngram_size, encoder_no_repeat_ngram_size
                        what was there already; `encoder` for the prompt alone, which the first of them makes likelier
    bad_words_ids, suppress_tokens, begin_suppress_tokens, sequence_bias, forced_bos_token_id, forced_eos_token_id,
    exponential_decay_length_penalty, remove_invalid_values, renormalize_logits
                        single tokens or sequences, made likelier, less likely or impossible

    Beam search:
    length_penalty      a finished text's log-probability is divided by its new tokens to this power
    early_stopping      True: as soon as there are num_beams finished texts; False: once a better one is unlikely;
                        "never": once a better one is impossible
    num_return_sequences  texts for each prompt: the best beams, or so many draws

    Special tokens:
    pad_token_id        fills a row that has ended, until all have; the first eos unless given
    bos_token_id        what an empty prompt begins with

    Cache and result:
    use_cache           keep keys and values of past tokens; without, all is computed again for each token
    cache_implementation  "dynamic", which grows, or "static", of a fixed capacity
    max_cache_len       capacity of the static cache, where that is more than the text can need
    return_dict_in_generate  return an object: sequences, and what the next four ask for
    output_scores, output_logits, output_attentions, output_hidden_states
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    eos_token_id: int | list[int] | None = None
    stop_strings: str | list[str] | None = None
    max_time: float | None = None

    do_sample: bool = False
    num_beams: int = 1
    temperature: float | None = 1.0
    top_k: int | None = 50
    top_p: float | None = 1.0
    min_p: float | None = None
    typical_p: float | None = 1.0
    epsilon_cutoff: float | None = 0.0
    eta_cutoff: float | None = 0.0
    repetition_penalty: float | None = 1.0
    encoder_repetition_penalty: float | None = 1.0
    no_repeat_ngram_size: int | None = 0
    encoder_no_repeat_ngram_size: int | None = 0
    bad_words_ids: list[list[int]] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    sequence_bias: Any = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    remove_invalid_values: bool = False
    renormalize_logits: bool = False

    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1

    pad_token_id: int | None = None
    bos_token_id: int | None = None

    use_cache: bool = True
    cache_implementation: str | None = None
    max_cache_len: int | None = None
    return_dict_in_generate: bool = False
    output_scores: bool = False
    output_logits: bool = False
    output_attentions: bool = False
    output_hidden_states: bool = False

    @classmethod
    def gather(
        cls, config: LlamaConfig, generation_config: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> "GenerationSettings":
        """What the caller says goes first, then generation_config.json, then the defaults above.

        Without generation_config.json (ours is empty then, or marked `_from_model_config`) config.json speaks in its
        place: special tokens, and in older checkpoints more. A file stands for itself: where it names no end token,
        there is none, whatever config.json says.

        raises  LlamaError for a setting that we don't have, or a value that can't be; it says where a stored one stood
        warns   LlamaWarning where the caller's max_length has no effect beside a stored max_new_tokens
        source  GenerationMixin._prepare_generation_config and GenerationConfig.from_model_config of Transformers
        """
        names = {f.name for f in fields(cls)}
        for name in settings.keys() - names:
            what = "setting that isn't implemented" if name in _NOT_OURS else "no such setting"
            raise LlamaError(what, where=f"generate({name}=…)", expected="one of " + ", ".join(sorted(names)))
        settings = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in settings.items()}
        source, stored = "generation_config.json", dict(generation_config)
        if not stored or stored.get("_from_model_config"):
            said_there = generation_defaults(config)
            if (
                stored
            ):  # its special tokens were taken when the model was made; what was done to the config since, isn't
                said_there = {name: value for name, value in said_there.items() if name not in SPECIAL_TOKENS}
            source, stored = "config.json", {**said_there, **stored}
        stored = {name: value for name, value in stored.items() if name in names and value is not None}
        if stored.get("cache_implementation") == "hybrid":
            del stored["cache_implementation"]  # as Transformers: older checkpoints name a cache that is no more
        # None from the caller switches a rule off; where there is nothing to switch off it means the default.
        defaults = {f.name: f.default for f in fields(cls) if "None" not in str(f.type)}
        said = {name: defaults.get(name) if value is None else value for name, value in settings.items()}
        gathered = cls(**{**stored, **said})
        check_settings(gathered, lambda name: f"{source}: {name}" if name in stored.keys() - said.keys() else name)
        if said.get("max_length") is not None and gathered.max_new_tokens is not None:
            message = f"max_length={gathered.max_length} has no effect beside max_new_tokens={gathered.max_new_tokens}"
            warnings.warn(message, LlamaWarning, stacklevel=5)
        return gathered

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends a row."""
        return as_ids(self.eos_token_id)

    @property
    def fill_token_id(self) -> int | None:
        """What fills a row that has ended, until all have; None without end tokens: as in Transformers, a row that
        has come to a stop string goes on until the others have, too.
        """
        if not self.eos_token_ids:
            return None
        return self.eos_token_ids[0] if self.pad_token_id is None else self.pad_token_id

    def new_tokens(self, prompt_length: int, trained_length: int | None = None) -> int:
        """How many tokens at most follow a prompt of this length.

        trained_length  of the model's context; where nobody says how long to go on, that is where it ends
        raises          LlamaError where max_length, or the context, leaves no room for any
        """
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is not None:
            where, end = "max_length", self.max_length
        else:
            where, end = "max_position_embeddings", prompt_length + DEFAULT_NEW_TOKENS
            end = end if trained_length is None else min(end, trained_length)
        if end <= prompt_length:
            raise LlamaError(
                "no room for new tokens",
                where=where,
                expected=f"more than the prompt's {prompt_length} tokens (or give max_new_tokens)",
                found=end,
            )
        return end - prompt_length

    def rules(
        self, prompt: np.ndarray | None = None, padding: np.ndarray | None = None, max_length: int | None = None
    ) -> list[LogitsRule]:
        """What is done to the logits before a token is chosen, in order; see logits_rules."""
        return logits_rules(self, prompt, padding, max_length)


def check_names(generation_config: Mapping[str, Any]) -> None:
    """raises  LlamaError where a caller's generation_config names a setting that neither we nor Transformers know"""
    known = {f.name for f in fields(GenerationSettings)} | _NOT_OURS.keys() | _WITHOUT_EFFECT
    for name in generation_config:
        if name not in known and not name.startswith("_"):
            raise LlamaError("no such setting", where=f"generation_config: {name}", expected="a setting of generate")


def generation_defaults(config: LlamaConfig) -> dict[str, Any]:
    """What a config.json says about generation, for a checkpoint without generation_config.json.

    source  GenerationConfig.from_model_config of Transformers
    """
    names = {f.name for f in fields(GenerationSettings)} | _NOT_OURS.keys()
    said = {name: value for name, value in config.extra.items() if name in names}
    said |= {name: getattr(config, name) for name in (*SPECIAL_TOKENS, "use_cache")}
    return {name: value for name, value in said.items() if value is not None}
